//! Calls that no signal interrupts untraced. A notification can be interrupted until it is
//! received (seccomp_unotify(2)): the call has not begun then, and is made again.

use core::ffi::{c_char, c_int, c_void};
use core::mem::transmute;

use crate::call::call;
use crate::libc;
use crate::number::GETSOCKOPT;

type Path = *const c_char;

const EINTR: c_int = 4;
const ENOSYS: c_int = 38;

/// Whether a call has failed before it began.
pub(crate) fn is_interrupted(result: c_int) -> bool {
    result == -1 && libc::errno() == EINTR
}

/// Defines functions of libc's which are called until they are not interrupted, or `until`
/// says that it was not before they began.
macro_rules! again {
    ($($name:ident($($argument:ident: $type:ty),*) while $begins:expr;)*) => {
        nexts!(called, $($name),*);

        /// Finds what is behind.
        pub(crate) fn find() {
            called::all();
        }

        $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            let next = libc::or_own(called::$name(), concat!(stringify!($name), "\0").as_bytes());
            if next == 0 {
                libc::set_errno(ENOSYS);
                return -1;
            }
            loop {
                // SAFETY: libc's function of this name takes these arguments.
                let result = unsafe {
                    transmute::<usize, unsafe extern "C" fn($($type),*) -> c_int>(next)($($argument),*)
                };
                if !is_interrupted(result) || !$begins {
                    return result;
                }
            }
        }
        )*
    };
}

again! {
    rename(from: Path, to: Path) while true;
    renameat(from_at: c_int, from: Path, to_at: c_int, to: Path) while true;
    renameat2(from_at: c_int, from: Path, to_at: c_int, to: Path, flags: u32) while true;
    link(from: Path, to: Path) while true;
    linkat(from_at: c_int, from: Path, to_at: c_int, to: Path, flags: c_int) while true;
    unlink(path: Path) while true;
    unlinkat(at: c_int, path: Path, flags: c_int) while true;
    rmdir(path: Path) while true;
    remove(path: Path) while true;
    truncate(path: Path, length: i64) while true;
    truncate64(path: Path, length: i64) while true;
    fork() while true;
    connect(socket: c_int, address: *const c_void, length: u32) while is_closed(socket);
}

/// Whether a TCP socket has not begun to connect (tcp(7), TCP_INFO).
fn is_closed(socket: c_int) -> bool {
    const IPPROTO_TCP: usize = 6;
    const TCP_INFO: usize = 11;
    const TCP_CLOSE: u8 = 7;
    let mut state = 0u8;
    let mut length = 1u32;
    let (at, size) = (&raw mut state as usize, &raw mut length as usize);
    // SAFETY: fills one byte.
    let told = unsafe {
        call(
            GETSOCKOPT,
            [socket as usize, IPPROTO_TCP, TCP_INFO, at, size, 0],
        )
    };
    libc::set_errno(EINTR);
    told == 0 && state == TCP_CLOSE
}
