//! By which name a file is recorded: an absolute path as it was given; for a relative one what
//! the kernel calls the descriptor.

use core::mem::MaybeUninit;

use crate::call::call;
use crate::number::READLINK;

/// Longest name of the kernel's that is taken (bytes): a handler of signals may have a stack of
/// two kilobytes.
const LONGEST: usize = 512;
/// Where a descriptor's number begins in `/proc/self/fd/N`.
const NUMBER_AT: usize = 14;

/// Bytes of a path: of one that the program gave, or of a `Room`.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) at: *const u8,
    pub(crate) length: usize,
}

/// Where the kernel's name for a descriptor goes.
pub(crate) type Room = MaybeUninit<[u8; LONGEST]>;

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
            if begins(end, b"//") || begins(end, b"/./") || begins(end, b"/..") {
                return None;
            }
            end += 1;
        }
        let (at, length) = (path.add(start), end - start);
        Some(Name { at, length })
    }
}

impl Name {
    /// The name by which a descriptor is recorded that was opened by this path. `None`: a
    /// relative one that led through a symbolic link, or whose name is not known.
    pub(crate) unsafe fn of(self, fd: usize, room: &mut Room) -> Option<Self> {
        let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        let at: *mut u8 = room.as_mut_ptr().cast();
        // SAFETY: the path has a byte; a descriptor's number has ten digits at most; what is
        // read lies in the two names.
        unsafe {
            if *self.at == b'/' {
                return Some(self);
            }
            let (mut digits, mut rest) = (1, fd);
            while rest >= 10 {
                rest /= 10;
                digits += 1;
            }
            rest = fd;
            let number = link.as_mut_ptr().add(NUMBER_AT);
            while digits > 0 {
                digits -= 1;
                *number.add(digits) = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let to = [link.as_ptr() as usize, at as usize, LONGEST, 0, 0, 0];
            let length = call(READLINK, to);
            if length <= self.length as isize || length >= LONGEST as isize || *at != b'/' {
                return None;
            }
            let length = length as usize;
            let before = length - self.length - 1;
            let is_same = |index: usize| *at.add(before + 1 + index) == *self.at.add(index);
            let is_it = *at.add(before) == b'/' && (0..self.length).all(is_same);
            is_it.then_some(Self { at, length })
        }
    }
}
