//! One open: exempt, or not.

use core::ffi::{c_char, c_int};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::call::call;
use crate::libc;
use crate::name::{self, Room};
use crate::number::*;
use crate::own;
use crate::ring;

/// Flags of calls that create or change something, or that the filter lets pass anyway:
/// O_ACCMODE, O_CREAT, O_TRUNC, O_DIRECTORY, O_PATH, and what O_TMPFILE has.
pub(crate) const NEVER: c_int = 3 | 0o100 | 0o1000 | 0o200_000 | 0o10_000_000 | 0o20_000_000;

const NOFOLLOW: c_int = 0o400_000;

/// `struct stat` of the kernel (asm/stat.h, x86-64), in words.
pub(crate) struct Stat(pub(crate) [u64; 18]);

impl Stat {
    fn is_regular(&self) -> bool {
        self.0[3] as u32 & 0o170_000 == 0o100_000
    }
}

/// The result of an open that needs no notification: that of openat(2), errno set. None
/// where it needs one.
pub(crate) unsafe fn exempt(at: c_int, path: *const c_char, flags: c_int) -> Option<c_int> {
    if flags & NEVER != 0 {
        return None;
    }
    // SAFETY: open(2) takes a C string.
    let given = unsafe { name::given(path.cast())? };
    let ready = own::ready()?;
    // A thread that waits may be cancelled, which is libc's to notice.
    if unsafe { !libc::is_only_thread() && !leads_to_a_file(at, path as usize) } {
        return None;
    }
    let stamp = libc::now();
    // SAFETY: a call of openat(2) as libc would make it.
    let (fd, is_resolved) = unsafe { open(at, path as usize, flags as usize, ready.secret) };
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
    let mut room = Room::uninit();
    // SAFETY: a descriptor of ours, and what open(2) has read.
    let mut is_recorded = || unsafe {
        let Some((name, from)) = given.from(at, &mut room) else {
            return false;
        };
        // In that directory, and no symbolic link.
        let is_in_it = || from.is_some() && flags & NOFOLLOW != 0 && given.is_single();
        let is_resolved = is_resolved || is_in_it();
        ring::record(&ready, stamp, &stat, name, is_resolved.then_some(from))
    };
    let is_known = told == 0 && (!stat.is_regular() || is_recorded());
    if !is_known {
        // Once more, notified.
        // SAFETY: a descriptor of ours, which nobody knows yet.
        unsafe { call(CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
        return None;
    }
    Some(fd as c_int)
}

/// Whether a path leads to a regular file or nowhere, where opening never waits.
pub(crate) unsafe fn leads_to_a_file(directory: c_int, path: usize) -> bool {
    let mut stat = Stat([0; 18]);
    let at = stat.0.as_mut_ptr() as usize;
    // SAFETY: fills the structure; stat(2) takes a C string.
    let found = unsafe { call(NEWFSTATAT, [directory as usize, path, at, 0, 0, 0]) };
    found != 0 || stat.is_regular()
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

/// `struct open_how` (linux/openat2.h).
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_SYMLINKS: u64 = 0x04;

/// Opens without a notification: openat(2)'s result, and whether no symbolic link was on the
/// way, so that the file is where the path says.
unsafe fn open(at: c_int, path: usize, flags: usize, secret: usize) -> (isize, bool) {
    // Where paths lead through links the next ones may too: so many calls are plain then, and
    // so many after the next that does.
    static PLAIN: AtomicUsize = AtomicUsize::new(0);
    static AFTER_LINK: AtomicUsize = AtomicUsize::new(0);
    let plain = PLAIN.load(Relaxed);
    // SAFETY: calls as libc would make them.
    unsafe {
        if plain > 0 {
            PLAIN.store(plain - 1, Relaxed);
        } else {
            let after_link = AFTER_LINK.load(Relaxed);
            let how = How {
                flags: flags as u64,
                mode: 0,
                resolve: RESOLVE_NO_SYMLINKS,
            };
            let (how, size) = (&raw const how as usize, size_of::<How>());
            let fd = through_gate(OPENAT2, [at as usize, path, how, size], secret);
            match -fd {
                // ELOOP; EPERM and ENOSYS, where it is not allowed, E2BIG and EINVAL.
                40 | 1 | 38 | 7 | 22 => {
                    PLAIN.store(after_link, Relaxed);
                    AFTER_LINK.store((2 * after_link + 1).min(63), Relaxed);
                }
                _ => {
                    AFTER_LINK.store(0, Relaxed);
                    return (fd, true);
                }
            }
        }
        let fd = through_gate(OPENAT, [at as usize, path, flags, 0], secret);
        (fd, false)
    }
}

/// A system call by the instruction at the gate: the secret is where a sixth argument would be,
/// and is not left there.
unsafe fn through_gate(number: usize, args: [usize; 4], secret: usize) -> isize {
    let result: isize;
    // SAFETY: as the caller says; the gate returns, and changes what a system call does.
    unsafe {
        core::arch::asm!(
            "call {gate}", "xor r9d, r9d", gate = sym roar_gate,
            inlateout("rax") number => result, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], in("r10") args[3], in("r8") 0usize, inlateout("r9") secret => _,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// Opens a magic path, notified: the kernel's answer. The path is shorter than 64 bytes.
pub(crate) unsafe fn magic(path: &[u8], flags: usize) -> isize {
    let mut name = [0u8; 64];
    for (to, from) in name.iter_mut().zip(path) {
        *to = *from;
    }
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
