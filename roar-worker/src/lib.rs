//! Observes a process tree.
