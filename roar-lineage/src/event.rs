//! What a supervisor observed, in the order of observation: the content of a task log,
//! and the input of [`crate::accumulate`].
//!
//! The log alone is enough to make a report, so a supervisor that dies takes nothing
//! with it but what it would have seen later.

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::model::{
    FileState, FileVersion, GapKind, How, Job, Package, Stamp, Status, Task, WallTime,
};
use crate::object::{DrivenJob, ObjectUse};
use crate::s3::ObjectAccess;

/// First bytes of a task log; the last one is the format's version.
pub const MAGIC: [u8; 8] = *b"ROARLOG\x05";

/// File name extension of a task log, without the dot.
pub const EXTENSION: &str = "roarlog";

/// Number of a task within one log. 0 is the command (or the worker) itself.
pub type TaskNo = u32;

/// One record of a task log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// First record: the job, and who observes.
    Began {
        /// Unique name of the supervisor.
        observer: String,
        /// The job as far as it is known at its start.
        job: Job,
    },
    /// A task began.
    Task {
        /// Its number.
        no: TaskNo,
        /// The task as far as it is known at its start.
        task: Task,
    },
    /// A task ended by itself or was ended.
    TaskEnded {
        /// Its number.
        no: TaskNo,
        /// How it ended.
        status: Status,
        /// More about it.
        detail: Option<String>,
        /// Exit status.
        exit_code: Option<i32>,
        /// Signal that killed it.
        signal: Option<i32>,
        /// Wall time of the end.
        at: WallTime,
        /// The end, for ordering.
        stamp: Stamp,
    },
    /// A process was seen for the first time.
    Process {
        /// Process id and start ticks.
        key: ProcessKey,
        /// Parent's process id; 0 when unknown.
        ppid: u32,
        /// The task it belongs to.
        task: TaskNo,
        /// Executable at first sight.
        exe: Option<BString>,
        /// Arguments at first sight, masked.
        argv: Vec<BString>,
        /// Wall time of the first sight.
        at: WallTime,
    },
    /// A process executed another program.
    Exec {
        /// Which.
        key: ProcessKey,
        /// The new executable.
        exe: BString,
        /// Arguments, masked.
        argv: Vec<BString>,
    },
    /// A process ended.
    ProcessEnded {
        /// Which.
        key: ProcessKey,
        /// Exit status, where it was seen.
        exit_code: Option<i32>,
        /// Signal that killed it, where it was seen.
        signal: Option<i32>,
        /// Wall time.
        at: WallTime,
    },
    /// A task used a file.
    Access {
        /// The task.
        task: TaskNo,
        /// When the call was entered.
        stamp: Stamp,
        /// What it did.
        access: Access,
    },
    /// What a task left at a path that it had written, looked at when the task ended or
    /// later.
    Left {
        /// The task.
        task: TaskNo,
        /// The path.
        path: BString,
        /// The version there, none when there is no regular file.
        version: Option<FileVersion>,
        /// When it wrote there last, since not every repeated write is logged; 0 where it did
        /// not.
        last: Stamp,
    },
    /// The outcome of hashing a version.
    Digested {
        /// The version.
        version: FileVersion,
        /// Its digest or why there is none.
        outcome: Outcome,
    },
    /// A task loaded files of an installed distribution.
    Package {
        /// The task.
        task: TaskNo,
        /// The distribution.
        package: Package,
    },
    /// Something that could not be seen.
    Gap {
        /// The task it concerns.
        task: TaskNo,
        /// Kind.
        kind: GapKind,
        /// One line for people.
        detail: String,
        /// How often.
        count: u64,
    },
    /// Counters so far; the last record counts.
    Counts {
        /// Notifications received.
        notified: u64,
        /// Events decoded.
        events: u64,
        /// Calls answered unseen.
        lost: u64,
        /// Events that belong to no known task.
        unattributed: u64,
        /// Opens that came through the accelerator.
        accelerated: u64,
    },
    /// A task received an object of Ray's, or passed one to a task.
    Object {
        /// The task.
        task: TaskNo,
        /// The object.
        used: ObjectUse,
    },
    /// A task used an object of an object store.
    S3 {
        /// The task.
        task: TaskNo,
        /// When the request was made.
        stamp: Stamp,
        /// What it did.
        access: ObjectAccess,
    },
    /// A task became the driver of a job of Ray's.
    Drives {
        /// The task.
        task: TaskNo,
        /// The job.
        job: DrivenJob,
    },
}

/// What names a process for one boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id in the supervisor's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_ticks: u64,
}

/// The outcome of hashing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The version's digest.
    Exact(Digest),
    /// No digest, and why.
    None(FileState),
}

/// One use of one file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Opened for reading, executed, imported, inherited for reading.
    Read {
        /// Canonical path.
        path: BString,
        /// The version that was there.
        version: FileVersion,
        /// How.
        how: How,
        /// The symbolic link that it was reached through.
        via: Option<BString>,
        /// Concluded, not observed.
        inferred: bool,
    },
    /// Opened for writing, truncated by path, inherited for writing.
    Write {
        /// Canonical path.
        path: BString,
        /// What was there before; none when the call creates the file.
        before: Option<FileVersion>,
        /// How.
        how: How,
        /// Whether the old content is gone by the call itself.
        truncates: bool,
        /// Whether what was there before counts as an input.
        reads: bool,
        /// The symbolic link that it was reached through.
        via: Option<BString>,
    },
    /// A regular file got another path.
    Rename {
        /// Old path.
        from: BString,
        /// New path.
        to: BString,
        /// The version that moved.
        moved: FileVersion,
        /// The version that was at the new path.
        replaced: Option<FileVersion>,
    },
    /// Two regular files changed places (`RENAME_EXCHANGE`).
    Exchange {
        /// One path.
        a: BString,
        /// The version that was there.
        a_version: FileVersion,
        /// The other path.
        b: BString,
        /// The version that was there.
        b_version: FileVersion,
    },
    /// A regular file got a second name.
    Link {
        /// The name it had, none for an unnamed file (`O_TMPFILE`).
        from: Option<BString>,
        /// The new name.
        to: BString,
        /// The version linked.
        version: FileVersion,
    },
    /// A regular file's name was removed.
    Unlink {
        /// The name.
        path: BString,
        /// The version that was there.
        version: FileVersion,
    },
}

impl Access {
    /// The versions whose ctime it moves though their content stays: by names that come
    /// and go.
    pub fn moves_ctime(&self) -> impl Iterator<Item = FileVersion> {
        let (one, other) = match *self {
            Self::Read { .. } | Self::Write { .. } => (None, None),
            Self::Rename {
                moved, replaced, ..
            } => (Some(moved), replaced),
            Self::Exchange {
                a_version,
                b_version,
                ..
            } => (Some(a_version), Some(b_version)),
            Self::Link { version, .. } | Self::Unlink { version, .. } => (Some(version), None),
        };
        one.into_iter().chain(other)
    }
}
