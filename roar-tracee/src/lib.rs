//! What is shared between a traced process and its supervisor.
//!
//! Everything here is layout: offsets, sizes and names, in no_std, so that the same
//! numbers serve the supervisor, the in-process accelerator and (as a table in
//! `docs/abi.md`) the Python shim.
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
pub mod ring;
