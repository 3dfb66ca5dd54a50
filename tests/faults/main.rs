//! What happens to a command when roar, or what it needs, breaks: nothing.

mod doctor;
mod first_run;
mod hashing;
mod limits;
mod many;
mod processes;
mod questions;
mod reproduce;
mod store;
mod tracer;
