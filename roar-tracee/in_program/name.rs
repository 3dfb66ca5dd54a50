//! By which name a file is recorded: an absolute path as it was given; a relative one behind
//! the name of the directory that it starts from.

use core::ffi::c_int;
use core::mem::MaybeUninit;

use crate::directory::{self, Directory};

/// Longest name that is made of a relative path (bytes): a handler of signals may have a stack
/// of two kilobytes.
pub(crate) const LONGEST: usize = 512;

/// Bytes of a path: of one that the program gave, or of a `Room`.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) at: *const u8,
    pub(crate) length: usize,
}

/// Where such a name is made.
pub(crate) type Room = MaybeUninit<[u64; LONGEST / 8]>;

/// A path as it was given, without the `./` before it. `None`: one that is notified, since it
/// has `.` or `..` in it, or may be more than a file, or another's: below /dev, /proc and /sys.
pub(crate) unsafe fn given(path: *const u8) -> Option<Name> {
    // SAFETY: a C string is read no further than its end.
    unsafe {
        if path.is_null() {
            return None;
        }
        let begins = |at: usize, name: &[u8]| (0..name.len()).all(|n| *path.add(at + n) == name[n]);
        let mut start = 0;
        while begins(start, b"./") {
            start += 2;
        }
        let is_not = match *path.add(start) {
            0 => true,
            b'/' if start > 0 => true,
            b'/' => [&b"dev/"[..], b"proc/", b"sys/"]
                .iter()
                .any(|name| begins(1, name)),
            _ => begins(start, b"..") || begins(start, b".\0"),
        };
        if is_not {
            return None;
        }
        let mut end = start;
        while *path.add(end) != 0 {
            let is_odd = || match *path.add(end + 1) {
                b'/' => true,
                b'.' => matches!(*path.add(end + 2), b'/' | b'.'),
                _ => false,
            };
            if *path.add(end) == b'/' && is_odd() {
                return None;
            }
            end += 1;
        }
        let (at, length) = (path.add(start), end - start);
        Some(Name { at, length })
    }
}

impl Name {
    /// The name by which a file is recorded that was opened by this path, and of a relative
    /// one the directory that it started from. `None`: that has no name, or the whole is long.
    pub(crate) unsafe fn from(
        self,
        at: c_int,
        room: &mut Room,
    ) -> Option<(Self, Option<Directory>)> {
        // SAFETY: the path has a byte; what is written lies in the room.
        unsafe {
            if *self.at == b'/' {
                return Some((self, None));
            }
            let directory = directory::name(at, room)?;
            let mut length = directory.length;
            let name: *mut u8 = room.as_mut_ptr().cast();
            if length > 1 {
                *name.add(length) = b'/';
                length += 1;
            }
            if length + self.length > LONGEST {
                return None;
            }
            directory::copy(self.at, name.add(length), self.length);
            length += self.length;
            Some((Self { at: name, length }, Some(directory)))
        }
    }

    /// Whether it is a path of one name.
    pub(crate) unsafe fn is_single(self) -> bool {
        // SAFETY: the path is so long.
        unsafe { (0..self.length).all(|index| *self.at.add(index) != b'/') }
    }
}
