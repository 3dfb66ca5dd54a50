//! Numbers of the system calls that the accelerator makes (x86-64), and of the working
//! directory in their arguments.

pub(crate) const AT_FDCWD: usize = -100isize as usize;

pub(crate) const CLOSE: usize = 3;
pub(crate) const FSTAT: usize = 5;
pub(crate) const MMAP: usize = 9;
pub(crate) const MUNMAP: usize = 11;
pub(crate) const MADVISE: usize = 28;
pub(crate) const GETPID: usize = 39;
pub(crate) const GETSOCKOPT: usize = 55;
pub(crate) const READLINK: usize = 89;
pub(crate) const GETTID: usize = 186;
pub(crate) const OPENAT: usize = 257;
pub(crate) const NEWFSTATAT: usize = 262;
pub(crate) const STATX: usize = 332;
pub(crate) const OPENAT2: usize = 437;
