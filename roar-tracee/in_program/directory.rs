//! Names of the directories that relative paths start from: asked of the kernel once for each,
//! which takes longer than to open a file.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use crate::call::call;
use crate::name::{LONGEST, Room};
use crate::number::{AT_FDCWD, NEWFSTATAT, READLINK, STATX};
use crate::opening::Stat;
use crate::own;

/// Longest name of a directory (bytes): behind it there is room for a `Stat`.
const LONGEST_HERE: usize = LONGEST - size_of::<Stat>() - 8;
const COUNT: usize = 4;
const EMPTY_PATH: usize = 0x1000;
/// STATX_INO, STATX_MNT_ID.
const NEEDED: usize = 0x100 | 0x1000;
/// These, and STATX_BTIME.
const WANTED: usize = NEEDED | 0x800;
/// Where the first digit is in `/proc/thread-self/fd/N`.
const DIGITS_AT: usize = 21;

/// Names that are known: in a page that is empty in a child.
#[repr(C)]
pub(crate) struct Directories {
    lock: AtomicUsize,
    next: AtomicUsize,
    known: [Known; COUNT],
}

#[repr(C)]
struct Known {
    identity: [AtomicU64; 4],
    epoch: AtomicU64,
    /// Of the name (bytes); 0: nothing is here.
    length: AtomicUsize,
    name: UnsafeCell<[u8; LONGEST_HERE]>,
}

/// A directory.
#[derive(Clone, Copy)]
pub(crate) struct Directory {
    /// Its device number, as `Stat` has it.
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Of its name (bytes).
    pub(crate) length: usize,
}

/// Which directory it is: device, inode, when that was made, mount.
type Identity = [u64; 4];

/// Writes the name of a directory into a room. `None`: it has no name, or none so short.
pub(crate) unsafe fn name(at: c_int, room: &mut Room) -> Option<Directory> {
    // SAFETY: as the caller says.
    unsafe {
        let id = identity(at, room)?;
        let [dev, ino, ..] = id;
        let known = own::directories()?;
        let epoch = own::epoch();
        if let Some(length) = known.find(&id, epoch, room) {
            return Some(Directory { dev, ino, length });
        }
        let length = ask(at, (dev, ino), room)?;
        known.keep(&id, epoch, room, length);
        Some(Directory { dev, ino, length })
    }
}

impl Directories {
    fn find(&self, id: &Identity, epoch: u64, room: &mut Room) -> Option<usize> {
        self.locked(|| {
            let is_it = |known: &&Known| {
                let mut words = known.identity.iter().zip(id);
                known.length.load(Relaxed) != 0
                    && known.epoch.load(Relaxed) == epoch
                    && words.all(|(word, value)| word.load(Relaxed) == *value)
            };
            let known = self.known.iter().find(is_it)?;
            let length = known.length.load(Relaxed);
            // SAFETY: whoever has the lock reads it; both are so long.
            unsafe { copy(known.name.get().cast(), room.as_mut_ptr().cast(), length) };
            Some(length)
        })?
    }

    fn keep(&self, id: &Identity, epoch: u64, room: &Room, length: usize) {
        self.locked(|| {
            let next = self.next.load(Relaxed) % COUNT;
            self.next.store(next + 1, Relaxed);
            if let Some(known) = self.known.get(next) {
                for (word, value) in known.identity.iter().zip(id) {
                    word.store(*value, Relaxed);
                }
                known.epoch.store(epoch, Relaxed);
                known.length.store(length, Relaxed);
                // SAFETY: whoever has the lock writes it; both are so long.
                unsafe { copy(room.as_ptr().cast(), known.name.get().cast(), length) };
            }
        });
    }

    /// Nobody waits: what a signal handler interrupted, or another thread has, is left.
    fn locked<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        self.lock.compare_exchange(0, 1, Acquire, Relaxed).ok()?;
        let result = what();
        self.lock.store(0, Release);
        Some(result)
    }
}

/// Copies bytes: libc's function would be an import.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    let words = length / 8;
    // SAFETY: as the caller says; a word may be anywhere.
    unsafe {
        for index in 0..words {
            let word = from.cast::<u64>().add(index).read_unaligned();
            to.cast::<u64>().add(index).write_unaligned(word);
        }
        for index in words * 8..length {
            *to.add(index) = *from.add(index);
        }
    }
}

/// By statx(2). `None`: the kernel does not tell mounts apart (before 5.8).
unsafe fn identity(at: c_int, room: &mut Room) -> Option<Identity> {
    let words: *mut u64 = room.as_mut_ptr().cast();
    let empty = c"".as_ptr() as usize;
    let args = [at as usize, empty, EMPTY_PATH, WANTED, words as usize, 0];
    // SAFETY: `struct statx` is half as long as a room; offsets from linux/stat.h.
    unsafe {
        if call(STATX, args) != 0 || *words as usize & NEEDED != NEEDED {
            return None;
        }
        let [ino, born, born_nsec] = [4, 10, 11].map(|index| *words.add(index));
        let dev = *words.add(17);
        let (major, minor) = (dev & 0xffff_ffff, dev >> 32);
        // As in `Stat`: new_encode_dev of the kernel.
        let dev = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        let born = born.wrapping_mul(1_000_000_000) + (born_nsec & 0xffff_ffff);
        Some([dev, ino, born, *words.add(18)])
    }
}

/// The kernel's name for a directory, if that leads to it.
unsafe fn ask(at: c_int, directory: (u64, u64), room: &mut Room) -> Option<usize> {
    let mut link = *b"/proc/thread-self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let name: *mut u8 = room.as_mut_ptr().cast();
    // SAFETY: a descriptor's number has ten digits at most; the room is longer than a name
    // and a `Stat`, which begins at a word.
    unsafe {
        if at == AT_FDCWD as c_int {
            copy(c"cwd".as_ptr().cast(), link.as_mut_ptr().add(18), 4);
        } else {
            let (mut digits, mut rest) = (1, at as usize);
            while rest >= 10 {
                rest /= 10;
                digits += 1;
            }
            rest = at as usize;
            let number = link.as_mut_ptr().add(DIGITS_AT);
            while digits > 0 {
                digits -= 1;
                *number.add(digits) = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        let to = [link.as_ptr() as usize, name as usize, LONGEST_HERE, 0, 0, 0];
        let length = call(READLINK, to);
        if length <= 0 || length >= LONGEST_HERE as isize || *name != b'/' {
            return None;
        }
        let length = length as usize;
        *name.add(length) = 0;
        let stat: *mut Stat = name.add(LONGEST - size_of::<Stat>()).cast();
        let there = [AT_FDCWD, name as usize, stat as usize, 0, 0, 0];
        let is_it = call(NEWFSTATAT, there) == 0 && ((*stat).0[0], (*stat).0[1]) == directory;
        is_it.then_some(length)
    }
}
