//! How far hashing is, in memory that the launcher and the supervisor share: the one reads
//! it, and may end the wait.

use std::io;
use std::sync::atomic::Ordering;

use crate::sys::mapping::Mapping;

const FILES: usize = 0;
const FILES_DONE: usize = 8;
const BYTES: usize = 16;
const BYTES_DONE: usize = 24;
const ENDED: usize = 32;
const FILES_EXPECTED: usize = 40;
const BYTES_EXPECTED: usize = 48;

/// The shared words.
pub(crate) struct Meter(Mapping);

/// How much of what is to be hashed is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashing {
    /// Files that are done.
    pub files: u64,
    /// All files.
    pub of_files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes of all files.
    pub of_bytes: u64,
}

impl Meter {
    pub(crate) fn new() -> io::Result<Self> {
        Mapping::anonymous(4096).map(Self)
    }

    fn add(&self, word: usize, count: u64) {
        if let Some(word) = self.0.word(word) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A file of this size may be asked for, unless it is another's under a second name.
    pub(crate) fn expected(&self, size: u64) {
        self.add(FILES_EXPECTED, 1);
        self.add(BYTES_EXPECTED, size);
    }

    /// All has been asked for that will be.
    pub(crate) fn expect_no_more(&self) {
        self.0.store(FILES_EXPECTED, 0);
        self.0.store(BYTES_EXPECTED, 0);
    }

    /// A file of this size is to be hashed.
    pub(crate) fn asked(&self, size: u64) {
        self.add(FILES, 1);
        self.add(BYTES, size);
    }

    /// So many bytes were read.
    pub(crate) fn read(&self, bytes: u64) {
        self.add(BYTES_DONE, bytes);
    }

    /// A file is done.
    pub(crate) fn done(&self) {
        self.add(FILES_DONE, 1);
    }

    pub(crate) fn progress(&self) -> Hashing {
        Hashing {
            files: self.0.load(FILES_DONE),
            of_files: self.0.load(FILES).max(self.0.load(FILES_EXPECTED)),
            bytes: self.0.load(BYTES_DONE),
            of_bytes: self.0.load(BYTES).max(self.0.load(BYTES_EXPECTED)),
        }
    }

    /// Nobody waits for what is not done yet.
    pub(crate) fn end(&self) {
        self.0.store(ENDED, 1);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(ENDED) != 0
    }
}
