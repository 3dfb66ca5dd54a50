//! What decoding may ask of a traced process. A trait, so that decoding is a pure
//! function over it and can be tested with a fake.

use bstr::BString;
use roar_lineage::model::FileVersion;

use crate::memory::Memory;

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
    /// Whether it keeps its name, whoever would take it.
    pub is_fixed: bool,
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

/// A thread stopped at the entry of a system call.
pub trait Tracee: Memory {
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
