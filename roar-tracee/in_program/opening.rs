//! One open: exempt, or not.

use core::ffi::{c_char, c_int};

use crate::call::call;
use crate::layout::GATE;
use crate::number::*;
use crate::own;
use crate::ring;

// Weak: a libc without them, or a program without libc, starts as well.
core::arch::global_asm!(
    ".weak __errno_location",
    ".weak clock_gettime",
    ".weak __libc_single_threaded"
);

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
    fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
    static __libc_single_threaded: u8;
}

const CLOCK_BOOTTIME: c_int = 7;
const AT_FDCWD: usize = -100isize as usize;
/// Flags of calls that create or change something, or that the filter lets pass anyway:
/// O_ACCMODE, O_CREAT, O_TRUNC, O_DIRECTORY, O_PATH, and what O_TMPFILE has.
pub(crate) const NEVER: c_int = 3 | 0o100 | 0o1000 | 0o200_000 | 0o10_000_000 | 0o20_000_000;

/// `struct stat` of the kernel (asm/stat.h, x86-64), in words.
pub(crate) struct Stat(pub(crate) [u64; 18]);

impl Stat {
    fn is_regular(&self) -> bool {
        self.0[3] as u32 & 0o170_000 == 0o100_000
    }
}

/// Nanoseconds since the boot.
fn now() -> u64 {
    let mut time = [0; 2];
    // SAFETY: fills two words (struct timespec).
    unsafe { clock_gettime(CLOCK_BOOTTIME, &raw mut time) };
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}

/// The result of an open that needs no notification: that of open(2), errno set. None where
/// it needs one.
pub(crate) unsafe fn exempt(path: *const c_char, flags: c_int) -> Option<c_int> {
    // SAFETY: open(2) takes a C string.
    if flags & NEVER != 0 || unsafe { !is_eligible(path.cast()) } {
        return None;
    }
    if __errno_location as *const () as usize == 0 || clock_gettime as *const () as usize == 0 {
        return None;
    }
    let ready = own::ready()?;
    // A thread that waits may be cancelled, which is libc's to notice.
    if unsafe { !is_only_thread() && !leads_to_a_file(path as usize) } {
        return None;
    }
    let stamp = now();
    // SAFETY: the gate is mapped where rings are; a call of openat(2) as libc would make it.
    let fd = unsafe { through_gate(path as usize, flags as usize, ready.secret) };
    if fd < 0 {
        // SAFETY: libc's own place for it.
        unsafe { *__errno_location() = -fd as c_int };
        return Some(-1);
    }
    let mut stat = Stat([0; 18]);
    // SAFETY: fills the structure.
    let told = unsafe {
        call(
            FSTAT,
            [fd as usize, stat.0.as_mut_ptr() as usize, 0, 0, 0, 0],
        )
    };
    if told != 0 {
        ring::lose(&ready);
    } else if stat.is_regular() {
        // SAFETY: open(2) has read the C string.
        unsafe { ring::record(&ready, stamp, &stat, path.cast()) };
    }
    Some(fd as c_int)
}

/// Whether the process has never had another thread; where libc does not tell, no.
fn is_only_thread() -> bool {
    let flag = &raw const __libc_single_threaded;
    // SAFETY: libc's own flag, which is there when its address is.
    !flag.is_null() && unsafe { flag.read_volatile() } != 0
}

/// Whether a path leads to a regular file or nowhere, where opening never waits.
unsafe fn leads_to_a_file(path: usize) -> bool {
    let mut stat = Stat([0; 18]);
    let at = stat.0.as_mut_ptr() as usize;
    // SAFETY: fills the structure; stat(2) takes a C string.
    let found = unsafe { call(NEWFSTATAT, [AT_FDCWD, path, at, 0, 0, 0]) };
    found != 0 || stat.is_regular()
}

/// Absolute, and not what may be more than a file, or another's: below /dev and /proc.
unsafe fn is_eligible(path: *const u8) -> bool {
    // SAFETY: a C string is read no further than its end.
    unsafe {
        if path.is_null() || *path != b'/' {
            return false;
        }
        let starts_with = |name: &[u8]| (0..name.len()).all(|at| *path.add(1 + at) == name[at]);
        !(starts_with(b"dev/") || starts_with(b"proc/") || starts_with(b"/") || starts_with(b"."))
    }
}

/// openat(2) by the instruction at the gate: the secret is where a sixth argument would be.
unsafe fn through_gate(path: usize, flags: usize, secret: usize) -> isize {
    let result: isize;
    // SAFETY: as the caller says; the gate returns, and changes what a system call does.
    unsafe {
        core::arch::asm!(
            "call {gate}", gate = in(reg) GATE, inlateout("rax") OPENAT => result,
            in("rdi") AT_FDCWD, in("rsi") path, in("rdx") flags, in("r10") 0usize,
            in("r8") 0usize, in("r9") secret, lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// open(2) without libc, notified.
pub(crate) unsafe fn plain(at: c_int, path: *const c_char, flags: c_int, mode: u32) -> c_int {
    let args = [
        at as usize,
        path as usize,
        flags as usize,
        mode as usize,
        0,
        0,
    ];
    // SAFETY: as libc would call it.
    let fd = unsafe { call(OPENAT, args) };
    if fd >= 0 {
        return fd as c_int;
    }
    if __errno_location as *const () as usize != 0 {
        // SAFETY: libc's own place for it.
        unsafe { *__errno_location() = -fd as c_int };
    }
    -1
}
