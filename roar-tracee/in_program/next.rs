//! Standing before libc's functions: `dlsym`, weakly, gives libc's own.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

core::arch::global_asm!(".weak dlsym");

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Defines a function for each name, which gives libc's definition of it, and `all`.
/// `dlsym` takes a lock: it is asked at the start, not within a signal handler.
macro_rules! nexts {
    ($module:ident, $($name:ident),*) => {
        mod $module {
            use core::sync::atomic::AtomicUsize;

            $(
            pub(super) fn $name() -> usize {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                crate::next::next(&NEXT, concat!(stringify!($name), "\0").as_bytes())
            }
            )*

            pub(super) fn all() {
                $($name();)*
            }
        }
    };
}

/// The next definition of a symbol, remembered.
pub(crate) fn next(cache: &AtomicUsize, name: &'static [u8]) -> usize {
    const RTLD_NEXT: usize = usize::MAX;
    let found = cache.load(Relaxed);
    if found != 0 {
        return found;
    }
    if dlsym as *const () as usize == 0 {
        return 0;
    }
    // SAFETY: the name ends in a zero.
    let found = unsafe { dlsym(RTLD_NEXT as *mut c_void, name.as_ptr().cast()) } as usize;
    cache.store(found, Relaxed);
    found
}
