//! The preloaded library of the `preload` backend: before a dynamic program's call into libc
//! that names a file happens, the supervisor is told and has looked.
//!
//! No state but the supervisor's name: each call connects, tells, waits for the answer and
//! closes, by system calls of its own, so that threads, signal handlers and children of
//! fork(2) and vfork(2) need no care. Where nobody answers, the call happens unseen. Only
//! `dlsym` is asked of libc, and weakly.
#![no_std]
#![allow(non_snake_case)]

mod call;
#[macro_use]
mod next;

use core::ffi::{c_char, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use call::call;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CLOSE: usize = 3;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const SETSOCKOPT: usize = 54;
    pub const GETTID: usize = 186;
    pub const OPENAT: i32 = 257;
    pub const UNLINKAT: i32 = 263;
    pub const RENAMEAT2: i32 = 316;
    pub const LINKAT: i32 = 265;
    pub const TRUNCATE: i32 = 76;
    pub const SECCOMP: i64 = 317;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOSE: usize = 57;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETTID: usize = 178;
    pub const OPENAT: i32 = 56;
    pub const UNLINKAT: i32 = 35;
    pub const RENAMEAT2: i32 = 276;
    pub const LINKAT: i32 = 37;
    pub const TRUNCATE: i32 = 45;
    pub const SECCOMP: i64 = 277;
}

use number::*;

/// What the supervisor is told (`roar_worker::preload`).
#[repr(C)]
struct Message {
    nr: i32,
    tid: i32,
    args: [u64; 6],
}

/// An abstract address (unix(7)): a zero byte, then the name.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

static mut ADDRESS: Address = Address {
    family: 1,
    path: [0; 108],
};
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Where the supervisor's name is in the environment.
static NAME: AtomicUsize = AtomicUsize::new(0);

/// What is told that is no system call: a program starts; a file was made under a name.
const STARTS: i32 = -1;
const MADE: i32 = -2;

const VARIABLE: &[u8] = b"ROAR_PRELOAD=";
const SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
const NOSIGNAL: usize = 0x4000;
/// Patience with the supervisor: SOL_SOCKET, SO_RCVTIMEO.
const TIMEOUT: [i64; 2] = [5, 0];

/// The start of a program: finds the supervisor's name, and says hello.
extern "C" fn start(_argc: c_int, _argv: *const *const c_char, environ: *const *const c_char) {
    let mut variable = environ;
    // SAFETY: libc passes a null-terminated array of C strings; the address is written once,
    // before `LENGTH` says that it is there.
    unsafe {
        while !variable.is_null() && !(*variable).is_null() {
            let text = (*variable).cast::<u8>();
            if (0..VARIABLE.len()).all(|at| *text.add(at) == VARIABLE[at]) {
                let value = text.add(VARIABLE.len());
                let path = &raw mut ADDRESS.path;
                let mut length = 0;
                while length < 100 && *value.add(length) != 0 {
                    (*path)[1 + length] = *value.add(length);
                    length += 1;
                }
                if length > 0 {
                    NAME.store(value as usize, Relaxed);
                    LENGTH.store(3 + length, Relaxed);
                }
                break;
            }
            variable = variable.add(1);
        }
    }
    for next in [called::ALL, making::ALL, forbidding::ALL]
        .iter()
        .copied()
        .flatten()
    {
        next.address();
    }
    tell(STARTS, [0; 6]);
}

// SAFETY: the section holds pointers to functions of this type (ELF gABI, .init_array).
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = start;

/// Tells the supervisor of a call, and waits until it has looked.
fn tell(nr: i32, args: [u64; 6]) {
    let length = LENGTH.load(Relaxed);
    if length == 0 {
        return;
    }
    // SAFETY: all pointers are to locals, or to the address, which changes no more.
    unsafe {
        let socket = call(SOCKET, [1, SEQPACKET_CLOEXEC, 0, 0, 0, 0]);
        if socket < 0 {
            return;
        }
        let socket = socket as usize;
        let timeout = TIMEOUT.as_ptr() as usize;
        call(SETSOCKOPT, [socket, 1, 20, timeout, 16, 0]);
        let address = &raw const ADDRESS as usize;
        if call(CONNECT, [socket, address, length, 0, 0, 0]) == 0 {
            let tid = call(GETTID, [0; 6]) as i32;
            let message = Message { nr, tid, args };
            let at = &raw const message as usize;
            let sent = call(SENDTO, [socket, at, size_of::<Message>(), NOSIGNAL, 0, 0]);
            if sent > 0 {
                let mut answer = [0u8; 8];
                call(RECVFROM, [socket, answer.as_mut_ptr() as usize, 8, 0, 0, 0]);
            }
        }
        call(CLOSE, [socket, 0, 0, 0, 0, 0]);
    }
}

nexts!(forbidding, prctl, syscall);

/// Tells nothing any more, nor do the programs that this one starts: it is about to forbid
/// itself system calls, and may be killed for one of ours.
fn fall_silent() {
    LENGTH.store(0, Relaxed);
    let name = NAME.load(Relaxed) as *mut u8;
    if !name.is_null() {
        // SAFETY: a string of the environment that libc passed, which lasts as long as the
        // process.
        unsafe { *name = 0 };
    }
}

/// Defines a function of libc's: something before it, libc's own, something after it.
macro_rules! around {
    ($module:ident, $name:ident($($arg:ident: $type:ty),*) -> $result:ty, $failed:expr, $before:expr, $after:expr) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            let next = $module::$name.address();
            if next == 0 {
                return $failed;
            }
            $before;
            // SAFETY: libc's function of this name has this type.
            let result = unsafe {
                transmute::<usize, unsafe extern "C" fn($($type),*) -> $result>(next)($($arg),*)
            };
            $after(result);
            result
        }
    };
}

/// Defines functions of libc's: what is told of a call comes before it.
macro_rules! hooks {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty, $failed:expr, $nr:expr, [$($told:expr),*];)*) => {
        nexts!(called, $($name),*);
        $(around!(called, $name($($arg: $type),*) -> $result, $failed, {
            let mut args = [0u64; 6];
            let told = [$($told as u64),*];
            args[..told.len()].copy_from_slice(&told);
            tell($nr, args);
        }, |_| {});)*
    };
}

type Path = *const c_char;
type File = *mut c_void;
const CWD: c_int = -100;
const NONE: File = core::ptr::null_mut();

// On both architectures a variadic function takes these arguments where this one does.
hooks! {
    open(path: Path, flags: c_int, mode: u32) -> c_int, -1, OPENAT, [CWD, path, flags, mode];
    open64(path: Path, flags: c_int, mode: u32) -> c_int, -1, OPENAT, [CWD, path, flags, mode];
    openat(at: c_int, path: Path, flags: c_int, mode: u32) -> c_int, -1, OPENAT, [at, path, flags, mode];
    openat64(at: c_int, path: Path, flags: c_int, mode: u32) -> c_int, -1, OPENAT, [at, path, flags, mode];
    __open_2(path: Path, flags: c_int) -> c_int, -1, OPENAT, [CWD, path, flags];
    __open64_2(path: Path, flags: c_int) -> c_int, -1, OPENAT, [CWD, path, flags];
    __openat_2(at: c_int, path: Path, flags: c_int) -> c_int, -1, OPENAT, [at, path, flags];
    __openat64_2(at: c_int, path: Path, flags: c_int) -> c_int, -1, OPENAT, [at, path, flags];
    creat(path: Path, mode: u32) -> c_int, -1, OPENAT, [CWD, path, CREATES, mode];
    creat64(path: Path, mode: u32) -> c_int, -1, OPENAT, [CWD, path, CREATES, mode];
    fopen(path: Path, mode: Path) -> File, NONE, OPENAT, [CWD, path, flags_of(mode)];
    fopen64(path: Path, mode: Path) -> File, NONE, OPENAT, [CWD, path, flags_of(mode)];
    freopen(path: Path, mode: Path, file: File) -> File, NONE, OPENAT, [CWD, path, flags_of(mode)];
    freopen64(path: Path, mode: Path, file: File) -> File, NONE, OPENAT, [CWD, path, flags_of(mode)];
    rename(from: Path, to: Path) -> c_int, -1, RENAMEAT2, [CWD, from, CWD, to];
    renameat(a: c_int, from: Path, b: c_int, to: Path) -> c_int, -1, RENAMEAT2, [a, from, b, to];
    renameat2(a: c_int, from: Path, b: c_int, to: Path, flags: u32) -> c_int, -1, RENAMEAT2, [a, from, b, to, flags];
    unlink(path: Path) -> c_int, -1, UNLINKAT, [CWD, path];
    remove(path: Path) -> c_int, -1, UNLINKAT, [CWD, path];
    unlinkat(at: c_int, path: Path, flags: c_int) -> c_int, -1, UNLINKAT, [at, path, flags];
    link(from: Path, to: Path) -> c_int, -1, LINKAT, [CWD, from, CWD, to];
    linkat(a: c_int, from: Path, b: c_int, to: Path, flags: c_int) -> c_int, -1, LINKAT, [a, from, b, to, flags];
    truncate(path: Path, length: i64) -> c_int, -1, TRUNCATE, [path, length];
    truncate64(path: Path, length: i64) -> c_int, -1, TRUNCATE, [path, length];
}

/// Defines functions of libc's that choose a name: what is told is the file that they made.
macro_rules! makers {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        nexts!(making, $($name),*);
        $(around!(making, $name(template: Path $(, $arg: $type)*) -> c_int, -1, (), |made| {
            if made >= 0 {
                tell(MADE, [template as u64, 0, 0, 0, 0, 0]);
            }
        });)*
    };
}

makers! {
    mkstemp();
    mkstemp64();
    mkostemp(flags: c_int);
    mkostemp64(flags: c_int);
    mkstemps(suffix: c_int);
    mkstemps64(suffix: c_int);
    mkostemps(suffix: c_int, flags: c_int);
    mkostemps64(suffix: c_int, flags: c_int);
}

const PR_SET_SECCOMP: c_int = 22;

around!(forbidding, prctl(option: c_int, a: u64, b: u64, c: u64, d: u64) -> c_int, -1, {
    if option == PR_SET_SECCOMP {
        fall_silent();
    }
}, |_| {});

around!(forbidding, syscall(number: i64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64, -1, {
    if number == SECCOMP {
        fall_silent();
    }
}, |_| {});

const WRITES: c_int = 1;
const READS_AND_WRITES: c_int = 2;
const CREATE: c_int = 0o100;
const TRUNCATE_IT: c_int = 0o1000;
const APPEND: c_int = 0o2000;
const CREATES: c_int = WRITES | CREATE | TRUNCATE_IT;

/// The flags of open(2) that a mode of fopen(3) means.
fn flags_of(mode: Path) -> c_int {
    let mut letters = mode.cast::<u8>();
    let mut flags = 0;
    let mut first = 0;
    // SAFETY: a C string, as fopen(3) takes it.
    unsafe {
        if letters.is_null() {
            return 0;
        }
        while *letters != 0 && *letters != b',' {
            match *letters {
                b'w' if first == 0 => flags = CREATES,
                b'a' if first == 0 => flags = WRITES | CREATE | APPEND,
                b'+' => flags = (flags & !3) | READS_AND_WRITES,
                _ => {}
            }
            first = *letters;
            letters = letters.add(1);
        }
    }
    flags
}
