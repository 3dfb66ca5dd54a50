//! The only unsafe code of this crate: system calls and shared memory that no library
//! wraps as they are needed here, each behind a safe function.

pub mod file;
pub mod mapping;
pub mod notify;
pub mod process;
pub mod ptrace;
pub mod socket;

use std::io;

/// The result of a libc call that returns -1 and sets errno.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The result of `syscall(2)`.
fn checked_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
