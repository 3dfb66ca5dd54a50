//! Calls that signals hardly interrupt untraced. A notification can be interrupted until it is
//! received (seccomp_unotify(2)): the call has not begun then, and is made again. One that has
//! lasted was interrupted by itself: a lease is broken, a FUSE server takes its time.
//!
//! Another library may have a function of such a name, of whatever type: the six registers that
//! integers are in go through, and nothing is made again.

use core::ffi::c_int;
use core::mem::transmute;

use crate::call::call;
use crate::libc;
use crate::next::Next;
use crate::number::GETSOCKOPT;

const EINTR: c_int = 4;
const ENOSYS: c_int = 38;

type Registers = [usize; 6];

/// Finds what is behind, once libc was looked for.
pub(crate) fn find() {
    for next in called::ALL {
        next.compare(libc::own);
    }
}

/// How long a notification may take to be received (nanoseconds).
const PATIENCE: u64 = 50_000_000;

/// When a call begins; 0: it is not libc's, or nobody can tell.
pub(crate) fn begin(next: &Next) -> u64 {
    if next.is_libcs() { libc::now() } else { 0 }
}

/// Whether a call has failed before it began in earnest.
pub(crate) fn is_interrupted(result: c_int, began: u64) -> bool {
    result == -1 && began != 0 && libc::errno() == EINTR && libc::now() - began < PATIENCE
}

/// Defines functions that call those of the same name behind them until they are not
/// interrupted before they begin.
macro_rules! again {
    ($($name:ident while $has_not_begun:expr;)*) => {
        nexts!(called, $($name),*);

        $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            a: usize, b: usize, c: usize, d: usize, e: usize, f: usize,
        ) -> usize {
            // SAFETY: the caller's own arguments.
            unsafe { repeated(&called::$name, [a, b, c, d, e, f], $has_not_begun) }
        }
        )*
    };
}

again! {
    rename while always;
    renameat while always;
    renameat2 while always;
    link while always;
    linkat while always;
    unlink while always;
    unlinkat while always;
    rmdir while always;
    remove while always;
    truncate while always;
    truncate64 while always;
    fork while always;
    connect while is_closed;
}

unsafe fn repeated(
    next: &Next,
    registers: Registers,
    has_not_begun: fn(&Registers) -> bool,
) -> usize {
    let address = next.or(libc::own);
    if address == 0 {
        libc::set_errno(ENOSYS);
        return usize::MAX;
    }
    let [a, b, c, d, e, f] = registers;
    loop {
        let began = begin(next);
        // SAFETY: a function that takes its arguments from these registers, and perhaps fewer.
        let result = unsafe {
            transmute::<
                usize,
                unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> usize,
            >(address)(a, b, c, d, e, f)
        };
        if !is_interrupted(result as c_int, began) || !has_not_begun(&registers) {
            return result;
        }
    }
}

fn always(_: &Registers) -> bool {
    true
}

/// Whether a TCP socket has not begun to connect (tcp(7), TCP_INFO).
fn is_closed(registers: &Registers) -> bool {
    const IPPROTO_TCP: usize = 6;
    const TCP_INFO: usize = 11;
    const TCP_CLOSE: u8 = 7;
    let (mut state, mut length) = (0u8, 1u32);
    let (at, size) = (&raw mut state as usize, &raw mut length as usize);
    // SAFETY: fills one byte; errno stays as it is.
    let told = unsafe {
        call(
            GETSOCKOPT,
            [registers[0], IPPROTO_TCP, TCP_INFO, at, size, 0],
        )
    };
    told == 0 && state == TCP_CLOSE
}
