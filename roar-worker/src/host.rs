//! Where this runs: names of the node and of the tracer.

use nix::sys::utsname::uname;
use roar_lineage::model::Tracer;

use crate::sys::process;

/// Host name of this node.
pub fn name() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |n| n.to_string_lossy().into())
}

/// Boot id of this node (random(4)): stamps of one boot can be compared.
pub fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

/// Release of the running kernel.
pub fn kernel() -> String {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    release.unwrap_or_default()
}

/// This tracer.
pub fn tracer() -> Tracer {
    Tracer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: crate::backend::NOTIFY.to_owned(),
        accel: false,
        kernel: kernel(),
    }
}

/// A name that nobody else has: 32 random hexadecimal digits.
pub fn unique_id() -> String {
    if let Ok(random) = process::random::<16>() {
        return format!("{:032x}", u128::from_ne_bytes(random));
    }
    roar_lineage::model::task_id(
        &std::process::id().to_string(),
        &crate::clock::wall().to_string(),
    )
}
