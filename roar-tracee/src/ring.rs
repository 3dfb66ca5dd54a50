//! The accelerator's memory: a memfd that a program shares with its supervisor, with rings
//! of records of files that were opened for reading.
//!
//! ```text
//! header | control words of the rings | the rings
//! ```
//!
//! A record is written by whoever holds its ring's lock, which is only ever tried, and
//! becomes visible when the ring's head moves over it. The supervisor reads it and moves the
//! tail. All integers are little-endian.

/// First eight bytes of the header.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ROARRING");
/// Version of this layout.
pub const VERSION: u64 = 3;
/// Offset of the version word.
pub const VERSION_AT: usize = 8;
/// Offset of the secret that an exempt call has in its sixth argument.
pub const SECRET_AT: usize = 16;
/// Offset of a word that the supervisor sets when no call may be exempt any more.
pub const OFF_AT: usize = 24;
/// Offset of a word that the supervisor sets when the process has an attribution page
/// ([`crate::abi`]): a record names the task from then on.
pub const HAS_PAGE_AT: usize = 32;
/// Offset of a word that the supervisor changes before a directory may get another name.
pub const EPOCH_AT: usize = 40;

/// Size of a page of memory, and of the header (bytes).
pub const PAGE: usize = 4096;
/// Where in a page the only instruction ends whose calls are exempt: the gate, with which a
/// page of the library's code begins (`endbr64; syscall; ret`).
pub const GATE_RETURN: u32 = 6;

/// Offset of the control words, and of what is mapped with them.
pub const CONTROL_AT: usize = PAGE;
/// Number of rings: as many threads at once find one that is free.
pub const RING_COUNT: usize = 4;
/// Size of the control words of one ring: one cache line (bytes).
pub const CONTROL_SIZE: usize = 64;
/// Within them: 1 while a record is written.
pub const LOCK: usize = 0;
/// Within them: bytes written so far.
pub const HEAD: usize = 8;
/// Within them: bytes read so far.
pub const TAIL: usize = 16;
/// Size of one ring (bytes).
pub const RING_SIZE: usize = 64 * 1024;
/// Offset of the rings.
pub const RINGS_AT: usize = CONTROL_AT + PAGE;
/// Size of what is mapped for the rings: control words, then rings (bytes).
pub const RINGS_SIZE: usize = PAGE + RING_COUNT * RING_SIZE;
/// Size of the whole file (bytes).
pub const FILE_SIZE: usize = CONTROL_AT + RINGS_SIZE;

/// A record: these words, then the path, padded to a word.
pub mod record {
    /// Length of the whole record (u32), length of the path (u32); [`super::SKIP`] as the
    /// latter: nothing is here.
    pub const LENGTHS: usize = 0;
    /// Before the call, nanoseconds of `CLOCK_BOOTTIME`.
    pub const STAMP: usize = 8;
    /// What the descriptor refers to: device number (new_encode_dev of the kernel).
    pub const DEV: usize = 16;
    /// Inode number.
    pub const INO: usize = 24;
    /// Size (bytes).
    pub const SIZE: usize = 32;
    /// Modification time, nanoseconds since the epoch.
    pub const MTIME: usize = 40;
    /// Change time, likewise.
    pub const CTIME: usize = 48;
    /// Number of names.
    pub const LINKS: usize = 56;
    /// The number on the attribution page of the task that the thread worked for; 0 for
    /// none, [`crate::abi::MANY`] where nobody knows.
    pub const TASK: usize = 64;
    /// 0 where a symbolic link may have been followed. Else 1 and, where the path begins with the
    /// kernel's name for a directory, since a relative one was given, the length of that name.
    pub const RESOLVED: usize = 72;
    /// That directory's device number, as above.
    pub const DIRECTORY_DEV: usize = 80;
    /// Its inode number; 0 where it may be another one.
    pub const DIRECTORY_INO: usize = 88;
    /// The path: absolute.
    pub const PATH: usize = 96;
}

/// In the place of a path's length: the rest of the ring is empty.
pub const SKIP: u32 = u32::MAX;

/// Opening this gives a program its rings. Without a supervisor it fails with ENOTDIR.
pub const RING_PATH: &[u8] = b"/dev/null/roar/1/ring/3";
