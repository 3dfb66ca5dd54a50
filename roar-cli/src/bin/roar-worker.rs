//! `roar-worker`.
fn main() {}
