//! What the accelerator asks of libc, and whether it is libc that answers.

use core::ffi::{c_char, c_int};
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::next::symbol;

// Weak: a libc without them, or a program without libc, starts as well.
core::arch::global_asm!(
    ".weak dlopen",
    ".weak __errno_location",
    ".weak __libc_single_threaded"
);

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> usize;
    fn __errno_location() -> *mut c_int;
    static __libc_single_threaded: u8;
}

const RTLD_LAZY: c_int = 1;
const RTLD_NOLOAD: c_int = 4;
const CLOCK_BOOTTIME: c_int = 7;

type Clock = unsafe extern "C" fn(c_int, *mut [i64; 2]) -> c_int;

/// Its handle and its `clock_gettime`, once `find` has found them.
static LIBC: AtomicUsize = AtomicUsize::new(0);
static CLOCK: AtomicUsize = AtomicUsize::new(0);

/// Finds the libc that the program has, and what is asked of it: all of it, or no libc.
pub(crate) fn find() {
    if dlopen as *const () as usize == 0 || __errno_location as *const () as usize == 0 {
        return;
    }
    // SAFETY: a C string; nothing is loaded.
    let libc = unsafe { dlopen(c"libc.so.6".as_ptr(), RTLD_LAZY | RTLD_NOLOAD) };
    let clock = match libc {
        0 => 0,
        libc => symbol(libc, b"clock_gettime\0"),
    };
    if clock != 0 {
        CLOCK.store(clock, Relaxed);
        LIBC.store(libc, Relaxed);
    }
}

/// The symbol that libc defines itself, whoever stands before it; 0 where that is not known.
pub(crate) fn own(name: &'static [u8]) -> usize {
    match LIBC.load(Relaxed) {
        0 => 0,
        libc => symbol(libc, name),
    }
}

/// Nanoseconds since the boot. Called when `find` has found all.
pub(crate) fn now() -> u64 {
    let mut time = [0; 2];
    // SAFETY: libc's function of this type; it fills two words (struct timespec).
    unsafe { transmute::<usize, Clock>(CLOCK.load(Relaxed))(CLOCK_BOOTTIME, &raw mut time) };
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}

/// Says why a call failed.
pub(crate) fn set_errno(errno: c_int) {
    if __errno_location as *const () as usize != 0 {
        // SAFETY: libc's own place for it.
        unsafe { *__errno_location() = errno };
    }
}

/// Why a call failed; 0 where libc does not tell.
pub(crate) fn errno() -> c_int {
    match __errno_location as *const () as usize {
        0 => 0,
        // SAFETY: libc's own place for it.
        _ => unsafe { *__errno_location() },
    }
}

/// Whether the process has never had another thread; where libc does not tell, no.
pub(crate) fn is_only_thread() -> bool {
    let flag = &raw const __libc_single_threaded;
    // SAFETY: libc's own flag, which is there when its address is.
    !flag.is_null() && unsafe { flag.read_volatile() } != 0
}
