//! The digest of an open file's content: by one thread, or of a large file by several, each
//! of which reads parts of it and hashes them as nodes of BLAKE3's tree.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use roar_lineage::digest::Digest;

use crate::pieces::{Piece, Runs};

/// Files from this size on are read by as many threads as there are CPUs, in parts of at
/// least the other size (bytes; a power of two, as is a node of the tree).
const LARGE: u64 = 32 << 20;
const PART: u64 = 4 << 20;
/// Most parts of a file.
const MAX_PARTS: u64 = 1 << 14;
/// What is read at once (bytes): it is hashed while it is in the cache of a CPU.
const BUFFER: usize = 256 << 10;

/// Asked after so many bytes more, whether to go on.
pub(crate) type GoesOn<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// How it ended.
pub(crate) enum Read {
    /// All of it was read.
    Digest(Digest),
    /// The file is shorter than it was.
    Short,
    /// It was given up.
    GivenUp,
}

/// The digest of what is at a path now, and its size (bytes). Symbolic links are followed, and
/// `progress` hears of every so many bytes more.
///
/// Errors: those of open(2) and read(2), and where it is no regular file or shrinks meanwhile.
pub fn of_path(path: &[u8], progress: impl Fn(u64) + Sync) -> io::Result<(Digest, u64)> {
    let mut options = OpenOptions::new();
    // A FIFO is not waited for.
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(OsStr::from_bytes(path))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("no regular file"));
    }
    let goes_on = |read| {
        progress(read);
        true
    };
    match together(&file, metadata.len(), &goes_on)? {
        Read::Digest(digest) => Ok((digest, metadata.len())),
        Read::Short | Read::GivenUp => Err(io::Error::other("it changes")),
    }
}

/// Reads a file of this size (bytes) in this thread. A longer one is read whole.
pub(crate) fn alone(file: &File, size: u64, goes_on: &GoesOn) -> io::Result<Read> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = buffer(size);
    loop {
        match read_at(file, &mut buffer, hasher.count())? {
            0 if hasher.count() < size => return Ok(Read::Short),
            0 => return Ok(Read::Digest(Digest(*hasher.finalize().as_bytes()))),
            length => {
                hasher.update(buffer.get(..length).unwrap_or_default());
                if !goes_on(length as u64) {
                    return Ok(Read::GivenUp);
                }
            }
        }
    }
}

/// The same, with others where it is large; then no more than so much is read.
pub(crate) fn together(file: &File, size: u64, goes_on: &GoesOn) -> io::Result<Read> {
    if size < LARGE {
        return alone(file, size, goes_on);
    }
    // Reads what limits this process's group of processes.
    let others = std::thread::available_parallelism().map_or(0, |all| all.get() - 1);
    if others == 0 {
        return alone(file, size, goes_on);
    }
    let parts = Parts {
        file,
        size,
        part: PART.max((size / MAX_PARTS).next_power_of_two()),
        next: AtomicU64::new(0),
        runs: Mutex::default(),
        goes_on,
    };
    let ended = std::thread::scope(|scope| {
        let spawn = |_| {
            let thread = std::thread::Builder::new().name("roar-hash-part".into());
            let thread = thread.stack_size(256 << 10);
            // Where there is no memory for one, there is one less.
            thread.spawn_scoped(scope, || parts.read()).ok()
        };
        let threads: Vec<_> = (0..others).filter_map(spawn).collect();
        let mut ended = vec![parts.read()];
        let failed = || Err(io::Error::other("a thread that hashes ended"));
        let others = threads
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|_| failed()));
        ended.extend(others);
        ended
    });
    for goes_on in ended {
        if !goes_on? {
            return Ok(Read::GivenUp);
        }
    }
    let runs = parts
        .runs
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(runs.digest(size).map_or(Read::Short, Read::Digest))
}

/// A file of which threads take part after part.
struct Parts<'a> {
    file: &'a File,
    size: u64,
    part: u64,
    next: AtomicU64,
    runs: Mutex<Runs>,
    goes_on: &'a GoesOn<'a>,
}

impl Parts<'_> {
    /// Reads parts while there are any. False when it was given up.
    fn read(&self) -> io::Result<bool> {
        let mut buffer = buffer(self.part);
        loop {
            let at = self.next.fetch_add(self.part, Ordering::Relaxed);
            let left = self.size.saturating_sub(at);
            if left == 0 {
                return Ok(true);
            }
            let Some(mut piece) = Piece::new(at, left.min(self.part)) else {
                return Ok(false);
            };
            let mut done = 0;
            while done < left.min(self.part) {
                let length = read_at(self.file, &mut buffer, at + done)?;
                if length == 0 {
                    break;
                }
                piece.feed(buffer.get(..length).unwrap_or_default());
                done += length as u64;
                if !(self.goes_on)(length as u64) {
                    return Ok(false);
                }
            }
            if let Some((_, _, runs)) = piece.runs() {
                self.runs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(runs);
            }
        }
    }
}

fn buffer(size: u64) -> Vec<u8> {
    vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER) + 1)]
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(size: usize) -> (File, Digest) {
        let content: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (file, Digest::of(&content))
    }

    fn digest(read: io::Result<Read>) -> Option<Digest> {
        match read.unwrap() {
            Read::Digest(digest) => Some(digest),
            _ => None,
        }
    }

    #[test]
    fn many_threads_give_the_digest_that_one_gives() {
        for size in [0, 1, 1025, LARGE as usize, LARGE as usize + 1, 77_777_777] {
            let (file, expected) = file(size);
            let size = size as u64;
            assert_eq!(digest(alone(&file, size, &|_| true)), Some(expected));
            assert_eq!(digest(together(&file, size, &|_| true)), Some(expected));
        }
    }

    #[test]
    fn what_is_shorter_than_it_was_has_none() {
        for size in [5, LARGE] {
            let (file, _) = file(size as usize);
            assert_eq!(digest(alone(&file, size + 1, &|_| true)), None);
            assert_eq!(digest(together(&file, size + 1, &|_| true)), None);
        }
    }

    #[test]
    fn it_can_be_given_up() {
        let (file, _) = file(LARGE as usize);
        let read = AtomicU64::new(0);
        let goes_on = |bytes| read.fetch_add(bytes, Ordering::Relaxed) < PART;
        assert!(matches!(
            together(&file, LARGE, &goes_on),
            Ok(Read::GivenUp)
        ));
        assert!(read.into_inner() < LARGE);
    }
}
