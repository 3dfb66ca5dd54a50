//! The command line of roar.

pub mod ray;
