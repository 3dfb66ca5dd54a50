//! What decoding may ask of a traced process. A trait, so that decoding is a pure
//! function over it and can be tested with a fake.

use bstr::BString;
use roar_lineage::model::FileVersion;

/// From where a relative path starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// The working directory.
    Cwd,
    /// An open descriptor.
    Descriptor(i32),
}

impl Base {
    /// From the `dirfd` argument of a system call; its upper half means nothing.
    pub fn from_argument(dirfd: u64) -> Self {
        match dirfd as i32 {
            libc::AT_FDCWD => Self::Cwd,
            fd => Self::Descriptor(fd),
        }
    }
}

/// The type of what a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link that was not followed.
    Symlink,
    /// Anything else: devices, FIFOs, sockets.
    Other,
}

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Canonical absolute path.
    pub path: BString,
    /// Its type.
    pub file_type: FileType,
    /// Its version.
    pub version: FileVersion,
    /// Permission bits and file type, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Number of names; 0 for an unnamed file.
    pub links: u64,
    /// Mount on which it is: renames and links do not cross mounts.
    pub mount: u64,
    /// The path as it was given, made absolute, when it went through a symbolic link.
    pub via: Option<BString>,
}

/// The outcome of looking a path up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Something is there.
    Found(Found),
    /// Nothing is there, and a file of that name could be made in the directory.
    Missing {
        /// Canonical path that the file would have.
        path: BString,
        /// Mount of the directory.
        mount: u64,
    },
    /// The lookup itself fails: the call will fail too.
    Fails,
}

impl Lookup {
    /// What is there, if something is.
    pub fn found(self) -> Option<Found> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}

/// What a program wants to do with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
    /// Execute it.
    pub execute: bool,
}

/// The memory of the calling process could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// A thread stopped at the entry of a system call.
pub trait Tracee {
    /// Fills `buffer` from memory; gives how many bytes could be read.
    fn read_memory(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Unreadable>;

    /// Whether there is memory at an address, or may be.
    fn has_memory(&self, address: u64) -> bool;

    /// Looks a path up as the thread would: from its root and working directory, in its
    /// mount namespace.
    fn lookup(&self, base: Base, path: &[u8], follow: bool) -> Lookup;

    /// The same where it is likely that nothing is there yet.
    fn lookup_new(&self, base: Base, path: &[u8], follow: bool) -> Lookup {
        self.lookup(base, path, follow)
    }

    /// The same under the rules of openat2(2), `resolve`.
    fn lookup_under(&self, base: Base, path: &[u8], follow: bool, resolve: u64) -> Lookup;

    /// What a file handle names on the file system of `mount` (open_by_handle_at(2)).
    fn handle(&self, mount: Base, handle: &[u8]) -> Lookup;

    /// What an open descriptor refers to.
    fn descriptor(&self, fd: i32) -> Lookup;

    /// Whether the thread may do this with what was found.
    fn may(&self, found: &Found, wish: Wish) -> bool;

    /// Whether the thread may add and remove names in the directory of `path`.
    fn may_change_directory_of(&self, path: &[u8]) -> bool;

    /// Whether the thread may take this name out of its directory: one that is sticky
    /// leaves that to the owners.
    fn may_remove(&self, found: &Found) -> bool;

    /// Whether a directory has entries.
    fn has_entries(&self, directory: &[u8]) -> bool;

    /// The first bytes of a file.
    fn head(&self, found: &Found, buffer: &mut [u8]) -> usize;

    /// Regular files below a directory, at most `limit`.
    fn files_below(&self, directory: &[u8], limit: usize) -> Vec<Found>;
}

/// Longest path of a system call (`PATH_MAX`, with its final zero).
const PATH_MAX: usize = 4096;
/// Memory is read up to such boundaries first, since the next page may not be there.
const CHUNK: u64 = 512;

/// The C string at an address, without its final zero. `None` where the call will fail: with
/// ENAMETOOLONG, since it is longer than a path may be, or with EFAULT, since there is none.
pub fn c_string(
    tracee: &impl Tracee,
    address: u64,
    limit: usize,
) -> Result<Option<BString>, Unreadable> {
    let nothing = |at| match tracee.has_memory(at) {
        true => Err(Unreadable),
        false => Ok(None),
    };
    let mut string = BString::default();
    let mut at = address;
    while string.len() < limit {
        let mut chunk = [0; CHUNK as usize];
        let wanted = (CHUNK - at % CHUNK) as usize;
        let Some(window) = chunk.get_mut(..wanted) else {
            return Err(Unreadable);
        };
        let Ok(read) = tracee.read_memory(at, window) else {
            return nothing(at);
        };
        let part = window.get(..read).unwrap_or_default();
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            string.extend_from_slice(part.get(..end).unwrap_or_default());
            return Ok(Some(string));
        }
        if read < wanted {
            return nothing(at + read as u64);
        }
        string.extend_from_slice(part);
        at += read as u64;
    }
    Ok(None)
}

/// A path argument.
pub fn path(tracee: &impl Tracee, address: u64) -> Result<Option<BString>, Unreadable> {
    c_string(tracee, address, PATH_MAX)
}

/// A little-endian word of `size` bytes (4 or 8).
pub fn word(tracee: &impl Tracee, address: u64, size: usize) -> Result<u64, Unreadable> {
    let mut bytes = [0; 8];
    let window = bytes.get_mut(..size).ok_or(Unreadable)?;
    if tracee.read_memory(address, window)? < size {
        return Err(Unreadable);
    }
    Ok(u64::from_le_bytes(bytes))
}

/// A null-terminated array of C strings, at most `limit` of them, each cut at 4 KiB.
pub fn strings(
    tracee: &impl Tracee,
    mut address: u64,
    pointer: usize,
    limit: usize,
) -> Result<Vec<BString>, Unreadable> {
    let mut strings = Vec::new();
    while address != 0 && strings.len() < limit {
        let string = word(tracee, address, pointer)?;
        if string == 0 {
            break;
        }
        strings.push(c_string(tracee, string, PATH_MAX)?.unwrap_or_else(|| "…".into()));
        address += pointer as u64;
    }
    Ok(strings)
}
