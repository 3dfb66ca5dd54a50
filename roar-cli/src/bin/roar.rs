//! `roar`.
fn main() {}
