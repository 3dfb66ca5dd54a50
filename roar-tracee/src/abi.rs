//! The attribution page and the magic paths.
//!
//! The page is a memfd that a process shares with its supervisor. The process writes it
//! with aligned 64-bit stores and waits for nobody; the supervisor reads it while the
//! process is stopped in a notification, or on a slow timer. All integers are
//! little-endian. A word becomes visible after everything that it announces.
//!
//! A task's life on the page: an entry is filled in, its [`entry::NUMBER`] is stored,
//! [`ISSUED`] grows; the thread's slot is set to the task's number while the thread works
//! for it; at the end the time and the final state are stored and, where the supervisor
//! has set the task's word in [`DIRTY`], [`SYNC_PATH`] is opened once, so that the
//! supervisor can look at what the task left before anybody else can change it.
//! The supervisor frees the entry by storing 0 as its number.
//!
//! What a worker stores for every task is all in one cache line, and is the least that
//! tells it: the rest follows from the task's id and the function's name.

/// First eight bytes of the page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ROARPAGE");
/// Version of this layout.
pub const VERSION: u64 = 3;

/// Offset of the version word.
pub const VERSION_AT: usize = 8;
/// Offset of the word that holds the number of the only task running now, 0 for none,
/// [`MANY`] for more than one.
pub const ONLY_RUNNING: usize = 16;
/// Value of [`ONLY_RUNNING`] when several tasks run.
pub const MANY: u64 = u64::MAX;
/// Offset of the highest task number issued (numbers start at 1 and are never reused).
pub const ISSUED: usize = 24;
/// Offset of the length in bytes of the context document; 0 until it is whole.
pub const CONTEXT_LEN: usize = 32;
/// Offset of the index of the first record of an object that the supervisor has not taken
/// yet; stored by the supervisor.
pub const OBJECTS_TAKEN: usize = 40;
/// Offset of the number of objects that found the ring full.
pub const OBJECTS_LOST: usize = 48;
/// Offset of the context: one JSON object that says which worker this is.
pub const CONTEXT: usize = 64;
/// Largest context (bytes).
pub const CONTEXT_MAX: usize = SLOTS - CONTEXT;

/// Offset of the slots: for each thread two words, its tid (as the thread itself sees
/// it, gettid(2)) and the number of the task it works for (0: none).
pub const SLOTS: usize = 4096;
/// Number of slots.
pub const SLOT_COUNT: usize = 4096;
/// Size of a slot (bytes).
pub const SLOT_SIZE: usize = 16;

/// Offset of the task entries; task `n` uses entry `n % ENTRY_COUNT`.
pub const ENTRIES: usize = SLOTS + SLOT_COUNT * SLOT_SIZE;
/// Number of entries.
pub const ENTRY_COUNT: usize = 4096;
/// Size of an entry (bytes).
pub const ENTRY_SIZE: usize = 64;
/// Offset of one word for each entry, stored as 1 by the supervisor when the entry's task
/// has written a file.
pub const DIRTY: usize = ENTRIES + ENTRY_COUNT * ENTRY_SIZE;

/// Offset of the strings: each is a `u32` length and that many bytes of UTF-8; a
/// reference is the offset from [`STRINGS`], never 0, since the first 8 bytes are unused.
pub const STRINGS: usize = DIRTY + ENTRY_COUNT * 8;
/// Size of the region for strings (bytes).
pub const STRINGS_SIZE: usize = 256 * 1024;

/// Offset of the ring of objects, which the process fills and the supervisor empties:
/// the record with index `n` is at `n % OBJECT_COUNT`.
pub const OBJECTS: usize = STRINGS + STRINGS_SIZE;
/// Number of records in the ring.
pub const OBJECT_COUNT: usize = 4096;
/// Size of a record (bytes).
pub const OBJECT_SIZE: usize = 96;

/// Size of the whole page (bytes).
pub const PAGE_SIZE: usize = OBJECTS + OBJECT_COUNT * OBJECT_SIZE;

/// Within a record: its index plus one, stored last.
pub const OBJECT_SEQUENCE: usize = 0;
/// Within a record: number of the task that received or passed the object; 0 for the
/// process itself.
pub const OBJECT_NUMBER: usize = 8;
/// Within a record: size of the serialized value (bytes); all ones when it is not known.
pub const OBJECT_LENGTH: usize = 16;
/// Within a record: the object's id (28 bytes).
pub const OBJECT_ID: usize = 24;
/// Within a record: 1 when [`OBJECT_RECEIVER`] names a task that the object was passed
/// to, else 0 (u32).
pub const OBJECT_WAS_PASSED: usize = 52;
/// Within a record: id of that task (24 bytes).
pub const OBJECT_RECEIVER: usize = 56;

/// Offsets within an entry.
pub mod entry {
    /// The task's number; 0 when the entry is free. Stored last.
    pub const NUMBER: usize = 0;
    /// One of [`super::state`] (u32).
    pub const STATE: usize = 8;
    /// Reference to a detail: of Ray's job supervisor the submission id, of a failed task
    /// the error's class (u32); 0 for none. One word with the state.
    pub const DETAIL: usize = 12;
    /// Start, nanoseconds of `CLOCK_BOOTTIME`.
    pub const BEGAN: usize = 16;
    /// End, likewise; stored before the final state.
    pub const ENDED: usize = 24;
    /// Reference to the function's qualified name (u32).
    pub const FUNC: usize = 32;
    /// Attempt number (u32).
    pub const ATTEMPT: usize = 36;
    /// Task id (24 bytes): 8 bytes of its own (all ones: a constructor), then the actor's
    /// 16 (whose first 12 are all ones where there is no actor, and last 4 the job's).
    pub const TASK_ID: usize = 40;
}

/// States of an entry.
pub mod state {
    /// The task is running.
    pub const RUNNING: u32 = 1;
    /// The task ended well.
    pub const COMPLETED: u32 = 2;
    /// The task ended with an exception.
    pub const FAILED: u32 = 3;
}

/// Opening this gives a process its attribution page. Without a supervisor it fails with
/// ENOTDIR, as nothing can exist below a device node.
pub const PAGE_PATH: &[u8] = b"/dev/null/roar/1/page";
/// Opening this fails with ENOTDIR, after the supervisor has looked at what the ended
/// tasks of the process left.
pub const SYNC_PATH: &[u8] = b"/dev/null/roar/1/sync";
/// Opening a path that goes on with `PID/NUMBER` always fails, after the supervisor has
/// noted that the process works for that task of the caller's page from now on: for 0 it is
/// the process that calls, for [`MANY`] nobody knows.
pub const WORKS_PREFIX: &[u8] = b"/dev/null/roar/1/works/";
/// Opening a path that goes on with a JSON document always fails, after the supervisor has
/// noted what a client of an object store is about to do, or has done, for the task of the
/// calling thread.
pub const STORE_PREFIX: &[u8] = b"/dev/null/roar/1/store/";
/// Opening this gives an inner roar a socket (SOCK_SEQPACKET) to the supervisor above, if that
/// is of the same version.
pub const SCOPE_PATH: &[u8] =
    concat!("/dev/null/roar/1/scope/", env!("CARGO_PKG_VERSION")).as_bytes();
/// What a program of `roar run` is told to log its secrets of TLS to (`SSLKEYLOGFILE`). To
/// the kernel it is `/dev/null`; who opens it to write is given a file in the supervisor's
/// memory.
pub const KEYS_PATH: &[u8] = b"/dev/./null";

/// What all magic paths begin with.
pub const MAGIC_PREFIX: &[u8] = b"/dev/null/roar/";

const _: () = assert!(ENTRIES == 69632 && STRINGS == 364_544 && PAGE_SIZE == 1_019_904);
