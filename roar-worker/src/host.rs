//! Where this runs: names of the node and of the tracer.

use roar_lineage::model::Tracer;

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
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.unwrap_or_default().trim().to_owned()
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
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() == 32 {
        return digits;
    }
    roar_lineage::model::task_id(
        &std::process::id().to_string(),
        &crate::clock::wall().to_string(),
    )
}
