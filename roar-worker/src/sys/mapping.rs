//! Memory shared with other processes: whole 64-bit words, read and written atomically.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checked;

/// A shared mapping that lives until it is dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is only accessed as atomic words or by the kernel.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Anonymous zeroed memory, shared with processes forked later, in memory at once.
    pub fn anonymous(length: usize) -> io::Result<Self> {
        Self::map(length, libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1)
    }

    /// The first `length` bytes of a file.
    pub fn of(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::map(length, 0, file.as_raw_fd())
    }

    fn map(length: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no other.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }

    /// The aligned word at `offset` (bytes), if there is one.
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.length {
            return None;
        }
        // SAFETY: in bounds, aligned (mappings start at a page), and alive as long as
        // `self`; other processes change it only as memory, never its mapping.
        Some(unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }

    /// The word at `offset`, 0 when out of bounds.
    pub fn load(&self, offset: usize) -> u64 {
        self.word(offset)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores a word; out of bounds it does nothing.
    pub fn store(&self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Bytes from `offset` on, at most `length`: copied word by word, since the other
    /// side may write at the same time.
    pub fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let first = offset / 8 * 8;
        let mut bytes = Vec::with_capacity(length + 16);
        let mut at = first;
        while at < offset.saturating_add(length) {
            let Some(word) = self.word(at) else { break };
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            at += 8;
        }
        bytes.drain(..(offset - first).min(bytes.len()));
        bytes.truncate(length);
        bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Maps a file's first page as instructions, for a moment.
///
/// Errors: EACCES or EPERM where a security module forbids it.
pub fn try_to_execute(file: BorrowedFd<'_>) -> io::Result<()> {
    const PAGE: usize = 4096;
    let (protection, fd) = (libc::PROT_READ | libc::PROT_EXEC, file.as_raw_fd());
    // SAFETY: a new mapping at an address of the kernel's choice touches no other, and
    // nobody knows it when it is removed.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            protection,
            libc::MAP_PRIVATE,
            fd,
            0,
        );
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(at, PAGE);
    }
    Ok(())
}

/// A file in memory, close-on-exec (memfd_create(2)).
pub fn memory_file(name: &std::ffi::CStr, length: usize) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; the result is a new descriptor of ours.
    let fd = unsafe {
        let fd = checked(libc::memfd_create(
            name.as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))?;
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: plain call on a descriptor that is open.
    checked(unsafe { libc::ftruncate(fd.as_fd().as_raw_fd(), length as libc::off_t) })?;
    Ok(fd)
}

/// The same, of a size that nobody can change: to map it does no harm.
pub fn sealed_file(name: &std::ffi::CStr, length: usize) -> io::Result<OwnedFd> {
    let file = memory_file(name, length)?;
    seal(file.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW)?;
    Ok(file)
}

/// Forbids what the seals say (`F_SEAL_*`, fcntl(2)) to everybody, and to remove them.
pub fn seal(file: BorrowedFd<'_>, seals: libc::c_int) -> io::Result<()> {
    let seals = seals | libc::F_SEAL_SEAL;
    // SAFETY: plain call on a descriptor that is open.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_of_one_memory_file_agree() {
        let file = memory_file(c"test", 4096).unwrap();
        let one = Mapping::of(file.as_fd(), 4096).unwrap();
        let other = Mapping::of(file.as_fd(), 4096).unwrap();
        one.store(8, u64::from_le_bytes(*b"abcdefgh"));
        assert_eq!(other.bytes(10, 5), b"cdefg");
        assert_eq!(other.load(8), u64::from_le_bytes(*b"abcdefgh"));
        assert_eq!(one.load(4096), 0);
        assert!(one.word(4).is_none());
    }
}
