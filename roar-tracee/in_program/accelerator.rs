//! The accelerator: opens for reading happen without a notification, and leave a record in
//! memory that the supervisor reads later.
//!
//! The filter lets an `openat` or `openat2` pass that comes from the gate, one instruction of
//! this library, with this run's secret in an argument that the kernel ignores. Its flags
//! create and change nothing, which of the former the filter sees. Whatever else is opened,
//! and by whatever else, is notified as ever: in doubt, the hooks leave a call to libc. No call
//! is both exempt and unrecorded.
//!
//! The library waits for nobody, allocates nothing, and imports all symbols weakly. Where
//! somebody else stands before libc's own functions, no call is exempt.
#![no_std]
#![no_builtins]
#![allow(non_snake_case)]

#[allow(dead_code)]
#[path = "../src/abi.rs"]
mod abi;
#[macro_use]
mod next;
mod again;
mod call;
mod directory;
#[allow(dead_code)]
#[path = "../src/ring.rs"]
mod layout;
mod libc;
mod name;
mod number;
mod opening;
mod own;
mod ring;

use core::ffi::{c_char, c_int};
use core::mem::transmute;

use number::AT_FDCWD;

type Path = *const c_char;

/// Defines functions of libc's that open a file: exempt where that may be, libc's own else.
macro_rules! opens {
    ($($name:ident($($at:ident,)? ; $($mode:ident)?);)*) => {
        nexts!(called, $($name),*);
        $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($at: c_int,)? path: Path, flags: c_int $(, $mode: u32)?) -> c_int {
            #[allow(unused_mut, unused_assignments)]
            let mut at = AT_FDCWD as c_int;
            $(at = $at;)?
            // SAFETY: open(2) takes a C string.
            if let Some(result) = unsafe { opening::exempt(at, path, flags) } {
                return result;
            }
            let next = called::$name.or(libc::own);
            #[allow(unused_mut, unused_assignments)]
            let mut mode = 0;
            $(mode = $mode;)?
            if next == 0 {
                // SAFETY: as above.
                return unsafe { opening::plain(at, path, flags, mode) };
            }
            // SAFETY: libc's function of this name takes these arguments; a variadic one
            // takes them where this one does.
            loop {
                let began = again::begin(&called::$name);
                let fd = unsafe {
                    transmute::<usize, unsafe extern "C" fn($(opens!(@int $at),)? Path, c_int $(, opens!(@mode $mode))?) -> c_int>(next)
                        ($($at,)? path, flags $(, $mode)?)
                };
                // SAFETY: as above.
                unsafe {
                    if again::is_interrupted(fd, began) && opening::leads_to_a_file(at, path as usize) {
                        continue;
                    }
                    own::notice_page(path, fd);
                }
                return fd;
            }
        }
        )*
    };
    (@int $at:ident) => { c_int };
    (@mode $mode:ident) => { u32 };
}

opens! {
    open(; mode);
    open64(; mode);
    openat(at, ; mode);
    openat64(at, ; mode);
    __open_2(;);
    __open64_2(;);
    __openat_2(at, ;);
    __openat64_2(at, ;);
}

nexts!(cancelling, pthread_cancel);

/// A thread that waits in an exempt open is not at a cancellation point: no call is exempt
/// once a program cancels threads.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cancel(thread: usize) -> c_int {
    own::give_up();
    let next = cancelling::pthread_cancel.or(libc::own);
    if next == 0 {
        return 38; // ENOSYS
    }
    // SAFETY: libc's function of this name; a pthread_t is a word.
    unsafe { transmute::<usize, unsafe extern "C" fn(usize) -> c_int>(next)(thread) }
}

extern "C" fn start() {
    libc::find();
    again::find();
    let mut are_libcs = true;
    for next in called::ALL.iter().chain(cancelling::ALL) {
        are_libcs &= next.compare(libc::own);
    }
    if are_libcs {
        own::begin();
    }
}

// SAFETY: the section holds pointers to functions of this type (ELF gABI, .init_array).
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;
