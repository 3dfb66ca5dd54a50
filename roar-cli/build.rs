//! Links the programs at a fixed address. What they bring is full of addresses (27 000 of them),
//! and to move it each start had to write to 270 pages, and each fork to copy them: an eighth of
//! all that a start costs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static program of musl's starts otherwise.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
