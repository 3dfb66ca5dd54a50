//! The only unsafe code of this crate: system calls and shared memory that no library
//! wraps as they are needed here, each behind a safe function.

pub mod file;
pub mod mapping;
pub mod net;
pub mod notify;
pub mod process;
pub mod ptrace;
pub mod socket;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static STARVED: AtomicBool = AtomicBool::new(false);

/// Notes an error that says nothing of what was asked for: this process has no
/// descriptors or no memory left.
pub fn note_starvation(error: &io::Error) {
    if let Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) = error.raw_os_error() {
        STARVED.store(true, Ordering::Relaxed);
    }
}

/// Whether such an error was met since this was last asked.
pub fn was_starved() -> bool {
    STARVED.swap(false, Ordering::Relaxed)
}

/// What errno says.
fn last_error() -> io::Error {
    let error = io::Error::last_os_error();
    note_starvation(&error);
    error
}

/// The result of a libc call that returns -1 and sets errno.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(result)
    }
}

/// The result of `syscall(2)`.
fn checked_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(result)
    }
}
