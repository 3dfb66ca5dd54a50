//! One open: exempt, or not.

use core::ffi::{c_char, c_int};

use crate::call::call;
use crate::libc;
use crate::number::*;
use crate::own;
use crate::ring;

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

/// The result of an open that needs no notification: that of open(2), errno set. None where
/// it needs one.
pub(crate) unsafe fn exempt(path: *const c_char, flags: c_int) -> Option<c_int> {
    // SAFETY: open(2) takes a C string.
    if flags & NEVER != 0 || unsafe { !is_eligible(path.cast()) } {
        return None;
    }
    let ready = own::ready()?;
    // A thread that waits may be cancelled, which is libc's to notice.
    if unsafe { !libc::is_only_thread() && !leads_to_a_file(path as usize) } {
        return None;
    }
    let stamp = libc::now();
    // SAFETY: a call of openat(2) as libc would make it.
    let fd = unsafe { through_gate(path as usize, flags as usize, ready.secret) };
    if fd < 0 {
        libc::set_errno(-fd as c_int);
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
    // SAFETY: open(2) has read the C string.
    let is_known = told == 0
        && (!stat.is_regular() || unsafe { ring::record(&ready, stamp, &stat, path.cast()) });
    if !is_known {
        // Once more, notified.
        // SAFETY: a descriptor of ours, which nobody knows yet.
        unsafe { call(CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
        return None;
    }
    Some(fd as c_int)
}

/// Whether a path leads to a regular file or nowhere, where opening never waits.
unsafe fn leads_to_a_file(path: usize) -> bool {
    let mut stat = Stat([0; 18]);
    let at = stat.0.as_mut_ptr() as usize;
    // SAFETY: fills the structure; stat(2) takes a C string.
    let found = unsafe { call(NEWFSTATAT, [AT_FDCWD, path, at, 0, 0, 0]) };
    found != 0 || stat.is_regular()
}

/// Absolute, and not what may be more than a file, or another's: below /dev, /proc and /sys.
unsafe fn is_eligible(path: *const u8) -> bool {
    // SAFETY: a C string is read no further than its end.
    unsafe {
        if path.is_null() || *path != b'/' {
            return false;
        }
        let begins = |at: usize, name: &[u8]| (0..name.len()).all(|n| *path.add(at + n) == name[n]);
        if [&b"dev/"[..], b"proc/", b"sys/"]
            .iter()
            .any(|name| begins(1, name))
        {
            return false;
        }
        let mut at = 0;
        while *path.add(at) != 0 {
            if begins(at, b"//") || begins(at, b"/.") && (begins(at, b"/./") || begins(at, b"/.."))
            {
                return false;
            }
            at += 1;
        }
        true
    }
}

// At the beginning of a page, since the filter knows where in a page it is.
core::arch::global_asm!(
    ".pushsection .text.roar_gate, \"ax\", @progbits",
    ".balign 4096",
    ".hidden roar_gate",
    ".globl roar_gate",
    ".type roar_gate, @function",
    "roar_gate:",
    "endbr64",
    "syscall",
    "ret",
    ".size roar_gate, . - roar_gate",
    ".popsection"
);

unsafe extern "C" {
    fn roar_gate();
}

/// openat(2) by the instruction at the gate: the secret is where a sixth argument would be,
/// and is not left there.
unsafe fn through_gate(path: usize, flags: usize, secret: usize) -> isize {
    let result: isize;
    // SAFETY: as the caller says; the gate returns, and changes what a system call does.
    unsafe {
        core::arch::asm!(
            "call {gate}", "xor r9d, r9d", gate = sym roar_gate,
            inlateout("rax") OPENAT => result, in("rdi") AT_FDCWD, in("rsi") path,
            in("rdx") flags, in("r10") 0usize, in("r8") 0usize, inlateout("r9") secret => _,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// Opens a magic path, notified: the kernel's answer. The path is shorter than 64 bytes.
pub(crate) unsafe fn magic(path: &[u8], flags: usize) -> isize {
    let mut name = [0u8; 64];
    name[..path.len()].copy_from_slice(path);
    // SAFETY: a C string.
    unsafe { call(OPENAT, [AT_FDCWD, name.as_ptr() as usize, flags, 0, 0, 0]) }
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
    libc::set_errno(-fd as c_int);
    -1
}
