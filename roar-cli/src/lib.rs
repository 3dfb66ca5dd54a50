//! The command line of roar.
