//! The model of lineage and everything that needs no tracer: what was observed
//! ([`event`]), the state machine that turns it into tasks with inputs and outputs
//! ([`accumulate`]), the unit that travels ([`fragment`]), the [`store`] that keeps it,
//! and what is asked of it ([`query`]).
//!
//! Data flows one way: events → accumulate → fragment → merge → store → query. Nothing
//! in this crate touches a traced process, a terminal or the environment.
#![forbid(unsafe_code)]

pub mod accumulate;
pub mod category;
pub mod client;
pub mod composite;
pub mod digest;
pub mod digest_cache;
pub mod document;
pub mod event;
pub mod export;
pub mod fragment;
pub mod frame;
pub mod join;
pub mod mask;
pub mod model;
pub mod object;
pub mod query;
pub mod s3;
pub mod store;
