//! What the library knows of its process: whether it has rings, and where.
//!
//! All of it that is one process's alone is in a page that the kernel empties in a child
//! (MADV_WIPEONFORK): a child asks for rings of its own, however it was made. The parent's
//! stay mapped, for a child that goes on amid a record, since a signal handler forked it. One
//! that shares its parent's memory (vfork(2)) is told by its process id, or by the supervisor.

use core::ffi::c_char;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use crate::abi;
use crate::call::call;
use crate::directory::Directories;
use crate::layout::{
    CONTROL_AT, EPOCH_AT, HAS_PAGE_AT, MAGIC, OFF_AT, PAGE, RING_PATH, RINGS_SIZE, SECRET_AT,
    VERSION, VERSION_AT,
};
use crate::libc;
use crate::number::*;
use crate::opening;

const READ: usize = 1;
const WRITE: usize = 2;
const SHARED: usize = 1;
const PRIVATE: usize = 2;
const ANONYMOUS: usize = 0x20;
const WIPEONFORK: usize = 18;
const CLOEXEC_READ_WRITE: usize = 0o2_000_002;

/// The page that is empty in a child; 0: there is none.
static OWN: AtomicUsize = AtomicUsize::new(0);
/// Where the header of the last rings is mapped, in a child too; 0: nowhere.
static HEADER: AtomicUsize = AtomicUsize::new(0);
static IS_OFF: AtomicBool = AtomicBool::new(false);

/// The page's words.
#[repr(C)]
struct Own {
    /// Where the rings are mapped; 0: nowhere yet.
    rings: AtomicUsize,
    /// Where the attribution page is mapped; 0: nowhere.
    page: AtomicUsize,
    /// 1 once somebody asks for rings.
    asked: AtomicUsize,
    /// Process id of whose page it is; 0 until it is asked for.
    pid: AtomicUsize,
    directories: Directories,
}

const _: () = assert!(size_of::<Own>() <= PAGE);

/// What a call needs that is to be exempt.
pub(crate) struct Ready {
    /// Where the rings are mapped.
    pub(crate) rings: usize,
    /// Where the attribution page is mapped, if there is one.
    pub(crate) page: usize,
    /// The secret.
    pub(crate) secret: usize,
}

/// A word of memory that others write too.
pub(crate) fn word(at: usize) -> &'static AtomicU64 {
    // SAFETY: callers give addresses of aligned words in mappings that are never removed.
    unsafe { &*(at as *const AtomicU64) }
}

/// At the program's start.
pub(crate) fn begin() {
    // SAFETY: a new mapping of ours.
    unsafe {
        let flags = PRIVATE | ANONYMOUS;
        let own = call(MMAP, [0, PAGE, READ | WRITE, flags, usize::MAX, 0]);
        if own <= 0 {
            return;
        }
        if call(MADVISE, [own as usize, PAGE, WIPEONFORK, 0, 0, 0]) != 0 {
            call(MUNMAP, [own as usize, PAGE, 0, 0, 0, 0]);
            return;
        }
        OWN.store(own as usize, Release);
    }
    // A child that shares this memory may be the first to ask.
    if let Some(own) = self::own() {
        // SAFETY: asks for a number.
        unsafe { own.is_of_caller() };
    }
}

fn own() -> Option<&'static Own> {
    let at = OWN.load(Acquire);
    // SAFETY: mapped by `begin`, zeroed, never removed.
    (at != 0).then(|| unsafe { &*(at as *const Own) })
}

/// The calling thread's id (gettid(2)): that of a process's only thread is the process's.
pub(crate) fn thread() -> usize {
    let known = own().map_or(0, |own| own.pid.load(Relaxed));
    if known != 0 && libc::is_only_thread() {
        return known;
    }
    // SAFETY: asks for a number.
    unsafe { call(GETTID, [0; 6]) as usize }
}

/// Names of directories that the process knows.
pub(crate) fn directories() -> Option<&'static Directories> {
    own().map(|own| &own.directories)
}

/// Names of directories are what they were while this is the same. The process has rings.
pub(crate) fn epoch() -> u64 {
    word(HEADER.load(Acquire) + EPOCH_AT).load(Acquire)
}

/// Whether these are the process's own rings, and not its parent's.
pub(crate) fn has(ready: &Ready) -> bool {
    own().is_some_and(|own| own.rings.load(Acquire) == ready.rings)
}

/// No call is exempt any more.
pub(crate) fn give_up() {
    IS_OFF.store(true, Relaxed);
}

/// What an exempt call needs. Asks for rings at the first.
pub(crate) fn ready() -> Option<Ready> {
    if IS_OFF.load(Relaxed) {
        return None;
    }
    let own = own()?;
    let header = HEADER.load(Acquire);
    if header != 0 && word(header + OFF_AT).load(Relaxed) != 0 {
        give_up();
        return None;
    }
    if own.rings.load(Acquire) == 0 {
        own.ask();
    }
    let rings = own.rings.load(Acquire);
    if rings == 0 {
        return None;
    }
    let header = HEADER.load(Acquire);
    let page = own.page.load(Acquire);
    if page == 0 && word(header + HAS_PAGE_AT).load(Relaxed) != 0 {
        return None;
    }
    let secret = word(header + SECRET_AT).load(Relaxed) as usize;
    Some(Ready {
        rings,
        page,
        secret,
    })
}

impl Own {
    /// Asks for rings, once. First of all by an open, which the program may make at any
    /// rate: the supervisor refuses one that has forbidden itself other calls.
    fn ask(&self) {
        if self.asked.swap(1, Relaxed) != 0 {
            return;
        }
        // SAFETY: a short path, a number, and new mappings at addresses of the kernel's
        // choice.
        unsafe {
            let fd = opening::magic(RING_PATH, CLOEXEC_READ_WRITE);
            if fd < 0 {
                return give_up();
            }
            let fd = fd as usize;
            if self.is_of_caller() {
                let rings = map_all(fd);
                self.rings.store(rings.unwrap_or(0), Release);
            } else {
                // The parent, whose memory this is, may ask.
                self.asked.store(0, Relaxed);
            }
            call(CLOSE, [fd, 0, 0, 0, 0, 0]);
        }
    }

    /// Whether it is the calling process's, and not that of the parent whose memory it shares.
    unsafe fn is_of_caller(&self) -> bool {
        // SAFETY: asks for a number.
        let pid = unsafe { call(GETPID, [0; 6]) } as usize;
        let known = self.pid.compare_exchange(0, pid, Relaxed, Relaxed);
        known == Ok(0) || known == Err(pid)
    }
}

unsafe fn map_all(fd: usize) -> Option<usize> {
    // SAFETY: as the caller says.
    unsafe {
        let header = mapped(PAGE, READ, fd, 0)?;
        if word(header).load(Acquire) != MAGIC || word(header + VERSION_AT).load(Relaxed) != VERSION
        {
            return None;
        }
        let rings = mapped(RINGS_SIZE, READ | WRITE, fd, CONTROL_AT)?;
        HEADER.store(header, Release);
        Some(rings)
    }
}

unsafe fn mapped(length: usize, protection: usize, fd: usize, offset: usize) -> Option<usize> {
    // SAFETY: as the caller says.
    let at = unsafe { call(MMAP, [0, length, protection, SHARED, fd, offset]) };
    (at > 0).then_some(at as usize)
}

/// Maps the attribution page that the process has just been given, if it has.
pub(crate) unsafe fn notice_page(path: *const c_char, fd: i32) {
    if fd < 0 || path.is_null() {
        return;
    }
    // SAFETY: open(2) has read the C string.
    let is_page = (0..abi::PAGE_PATH.len())
        .all(|at| unsafe { *path.cast::<u8>().add(at) } == abi::PAGE_PATH[at]);
    // Nothing else opens below a device node.
    let (true, Some(own)) = (is_page, own()) else {
        return;
    };
    // SAFETY: a new mapping at an address of the kernel's choice.
    unsafe {
        let page = mapped(abi::PAGE_SIZE, READ, fd as usize, 0);
        if let Some(page) = page {
            own.page.store(page, Release);
        }
    }
}
