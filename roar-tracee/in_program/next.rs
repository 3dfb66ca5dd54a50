//! Standing before libc's functions: `dlsym`, weakly, gives what is behind.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

core::arch::global_asm!(".weak dlsym");

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// What comes behind a function of ours.
pub(crate) struct Next {
    name: &'static [u8],
    own: *const (),
    address: AtomicUsize,
    is_libcs: AtomicBool,
}

// SAFETY: the address of a function, and numbers.
unsafe impl Sync for Next {}

impl Next {
    /// Behind `own`, which stands before the function of this name, which ends in a zero.
    pub(crate) const fn new(name: &'static [u8], own: *const ()) -> Self {
        Self {
            name,
            own,
            address: AtomicUsize::new(0),
            is_libcs: AtomicBool::new(false),
        }
    }

    /// Its address, remembered; 0 where there is none, or a `dlsym` of the program's gives ours.
    pub(crate) fn address(&self) -> usize {
        const RTLD_NEXT: usize = usize::MAX;
        let found = self.address.load(Relaxed);
        if found != 0 {
            return found;
        }
        let found = symbol(RTLD_NEXT, self.name);
        if found == self.own as usize {
            return 0;
        }
        self.address.store(found, Relaxed);
        found
    }

    /// Whether it is what `libcs` gives, libc's own; remembered.
    #[allow(dead_code)]
    pub(crate) fn compare(&self, libcs: impl Fn(&'static [u8]) -> usize) -> bool {
        let address = self.address();
        let is_libcs = address != 0 && address == libcs(self.name);
        self.is_libcs.store(is_libcs, Relaxed);
        is_libcs
    }

    /// Whether it is known to be libc's own.
    #[allow(dead_code)]
    pub(crate) fn is_libcs(&self) -> bool {
        self.is_libcs.load(Relaxed)
    }

    /// Its address, or that of what `libcs` gives.
    #[allow(dead_code)]
    pub(crate) fn or(&self, libcs: impl Fn(&'static [u8]) -> usize) -> usize {
        match self.address() {
            0 => libcs(self.name),
            address => address,
        }
    }
}

/// Defines what comes behind the functions of these names, and a list of it. `dlsym` takes a
/// lock: it is asked at the start, not within a signal handler.
macro_rules! nexts {
    ($module:ident, $($name:ident),*) => {
        #[allow(non_upper_case_globals)]
        mod $module {
            use crate::next::Next;

            $(
            pub(super) static $name: Next = Next::new(
                concat!(stringify!($name), "\0").as_bytes(),
                super::$name as *const (),
            );
            )*

            pub(super) static ALL: &[&Next] = &[$(&$name),*];
        }
    };
}

/// A symbol by its name, which ends in a zero; 0 where there is none.
pub(crate) fn symbol(handle: usize, name: &'static [u8]) -> usize {
    if dlsym as *const () as usize == 0 {
        return 0;
    }
    // SAFETY: a C string.
    unsafe { dlsym(handle as *mut c_void, name.as_ptr().cast()) as usize }
}
