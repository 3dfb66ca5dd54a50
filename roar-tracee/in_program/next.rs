//! Standing before libc's functions: `dlsym`, weakly, gives what is behind.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

core::arch::global_asm!(".weak dlsym");

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Defines a function for each name, which gives the next definition of it, and `all`.
/// `dlsym` takes a lock: it is asked at the start, not within a signal handler.
macro_rules! nexts {
    ($module:ident, $($name:ident),*) => {
        mod $module {
            use core::sync::atomic::AtomicUsize;

            $(
            pub(super) fn $name() -> usize {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                let own = super::$name as *const () as usize;
                crate::next::next(&NEXT, concat!(stringify!($name), "\0").as_bytes(), own)
            }
            )*

            pub(super) fn all() {
                $($name();)*
            }

            /// Whether all of them are what `of` gives.
            #[allow(dead_code)]
            pub(super) fn are_all(of: impl Fn(&'static [u8]) -> usize) -> bool {
                true $(&& $name() == of(concat!(stringify!($name), "\0").as_bytes()))*
            }
        }
    };
}

/// The definition of a symbol that comes after our own, remembered; 0 where there is none, or
/// a `dlsym` of the program's gives ours.
pub(crate) fn next(cache: &AtomicUsize, name: &'static [u8], own: usize) -> usize {
    const RTLD_NEXT: usize = usize::MAX;
    let found = cache.load(Relaxed);
    if found != 0 {
        return found;
    }
    let found = symbol(RTLD_NEXT, name);
    if found != own {
        cache.store(found, Relaxed);
        return found;
    }
    0
}

/// A symbol by its name, which ends in a zero; 0 where there is none.
pub(crate) fn symbol(handle: usize, name: &'static [u8]) -> usize {
    if dlsym as *const () as usize == 0 {
        return 0;
    }
    // SAFETY: a C string.
    unsafe { dlsym(handle as *mut c_void, name.as_ptr().cast()) as usize }
}
