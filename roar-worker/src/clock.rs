//! The two clocks of a record.

use roar_lineage::model::{Stamp, WallTime};

use crate::sys::file::clock;

/// Now, for ordering: `CLOCK_BOOTTIME`.
pub fn stamp() -> Stamp {
    clock(libc::CLOCK_BOOTTIME).unsigned_abs()
}

/// Now, for people: `CLOCK_REALTIME`.
pub fn wall() -> WallTime {
    clock(libc::CLOCK_REALTIME)
}
