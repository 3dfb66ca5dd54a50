//! The nouns: files and their versions, tasks, jobs, processes, coverage.
//!
//! Strings that come from the system (paths, argv, cwd) are bytes, since Linux promises
//! no encoding. Times on one node are ordered by [`Stamp`]; wall time is for people.

use std::collections::BTreeSet;

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::s3::ObjectInfo;

/// Nanoseconds of `CLOCK_BOOTTIME` (clock_gettime(2)): orders events on one node
/// within one boot.
pub type Stamp = u64;

/// Nanoseconds since 1970-01-01T00:00:00Z. For people; orders nothing on one node.
pub type WallTime = i64;

/// One version of a regular file, as `statx(2)` tells it. Two equal values are the same
/// content, except for what `FACTS` names: a store through a mapping to an already dirty
/// page moves no timestamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FileVersion {
    /// Device number, `makedev(3)` form.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime: i64,
}

impl FileVersion {
    /// All of it: device, inode, size, mtime and ctime.
    pub fn words(self) -> [u64; 5] {
        let Self {
            dev,
            ino,
            size,
            mtime,
            ctime,
        } = self;
        [dev, ino, size, mtime.cast_unsigned(), ctime.cast_unsigned()]
    }
}

/// What is known of the content of a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// The digest is that of the version the task saw or left.
    Exact,
    /// The content moved on before it could be hashed.
    Superseded,
    /// The file was gone before it could be hashed.
    Missing,
    /// The file could not be read.
    Unreadable,
    /// Nobody tried: not asked for, too large, or the tracer ended first.
    Skipped,
}

/// Where a file belongs, first that fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Ray sessions, caches, roar's own files.
    Runtime,
    /// Installed distributions.
    Package,
    /// Executed, imported or sourced, under the project's root.
    Code,
    /// What programs work on.
    Data,
    /// The operating system's and toolchains' files.
    System,
    /// Temporary directories.
    Temp,
}

impl Category {
    /// Whether reports show this category without `--all`.
    pub fn is_shown(self) -> bool {
        matches!(self, Self::Data | Self::Code)
    }

    /// Whether files of this category are hashed without being asked for.
    pub fn is_hashed(self) -> bool {
        matches!(self, Self::Data | Self::Code | Self::Temp)
    }
}

/// How a file was used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Opened for reading, or opened for writing from its start.
    Open,
    /// Opened for appending to existing content.
    Append,
    /// Opened for writing into existing content.
    Modify,
    /// `truncate(2)`.
    Truncate,
    /// Made or moved by a rename.
    Rename,
    /// Made by, or the source of, a hard link.
    Link,
    /// Executed.
    Exec,
    /// Imported as a module of which only the compiled cache was opened.
    Import,
    /// A descriptor that was open when the trace began, or was handed over.
    Inherited,
    /// An object, or a part of one, was got.
    Get,
    /// An object was put by one request.
    Put,
    /// An object store copied it from another object.
    Copy,
    /// An object was put in parts.
    Multipart,
}

/// One file as one task used it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileUse {
    /// Absolute path in the tracee's view, or an object URL (`s3://…`).
    pub path: BString,
    /// Digest of the version seen or left; only with [`FileState::Exact`].
    pub digest: Option<Digest>,
    /// Size in bytes of that version.
    pub size: Option<u64>,
    /// What is known of the content.
    pub state: FileState,
    /// Where the file belongs.
    pub category: Category,
    /// How it was used.
    pub how: BTreeSet<How>,
    /// The path of the symbolic link that it was reached through.
    pub via: Option<BString>,
    /// A write that left the content as it was.
    pub unchanged: bool,
    /// Concluded from evidence, not observed.
    pub inferred: bool,
    /// The version seen (reads, deletes) or left (writes).
    pub version: Option<FileVersion>,
    /// What an object store says of that version; none for files.
    pub object: Option<Box<ObjectInfo>>,
    /// First use by the task.
    pub first: Stamp,
    /// Last use by the task: for writes the last open, rename or link.
    pub last: Stamp,
}

/// What a task is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// A traced command.
    Command,
    /// A command that drove a Ray job.
    RayDriver,
    /// An attempt of a Ray task.
    RayTask,
    /// An actor's constructor.
    RayActorInit,
    /// One call of an actor's method.
    RayActorMethod,
    /// What a Ray worker does outside of any task. Never a node; its files are counted
    /// as `unattributed`.
    Worker,
}

impl TaskKind {
    /// Whether it is what its job's command line started.
    pub fn is_command(self) -> bool {
        matches!(self, Self::Command | Self::RayDriver)
    }
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not known.
    Unknown,
    /// Not ended when the record was made.
    Running,
    /// Ended well.
    Completed,
    /// Ended with an error or a non-zero exit status.
    Failed,
    /// Ended by a signal.
    Killed,
}

/// Ray's names for a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RayIds {
    /// Job id, hexadecimal.
    pub job_id: String,
    /// Task id, hexadecimal; none for a driver.
    pub task_id: Option<String>,
    /// Attempt number, from 0.
    pub attempt: u32,
    /// Actor id, hexadecimal.
    pub actor_id: Option<String>,
    /// Node id, hexadecimal.
    pub node_id: Option<String>,
    /// Worker id, hexadecimal.
    pub worker_id: Option<String>,
    /// Qualified name of the function or method.
    pub func: Option<String>,
    /// Name of the Ray session, in which the other ids are unique.
    pub session: Option<String>,
}

/// One attempt of one execution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Stable id: 32 hexadecimal digits, see [`task_id`].
    pub id: String,
    /// Id of the task that started this one.
    pub parent: Option<String>,
    /// What it is.
    pub kind: TaskKind,
    /// Function name, or the last component of `argv[0]`.
    pub name: BString,
    /// How it ended.
    pub status: Status,
    /// More about the status, if there is more.
    pub status_detail: Option<String>,
    /// Exit status of a command.
    pub exit_code: Option<i32>,
    /// Signal that killed it.
    pub signal: Option<i32>,
    /// Wall time of the start.
    pub started_at: WallTime,
    /// Wall time of the end.
    pub ended_at: Option<WallTime>,
    /// The start, for ordering.
    pub started: Stamp,
    /// The end, for ordering.
    pub ended: Option<Stamp>,
    /// Host name of the node.
    pub host: String,
    /// Boot id of the node: stamps of one boot can be compared.
    pub boot: String,
    /// Process id, in the node's outermost visible pid namespace.
    pub pid: Option<u32>,
    /// Ray's names, for Ray's tasks.
    pub ray: Option<RayIds>,
}

/// The stable id of a task: a digest of the job and of the task's own identity in it
/// (32 hexadecimal digits).
pub fn task_id(job: &str, identity: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(job.as_bytes());
    hasher.update(b"\0");
    hasher.update(identity.as_bytes());
    hasher.finalize().to_hex().chars().take(32).collect()
}

/// The identity of an attempt of a Ray task in its job, the same for all who know of it.
pub fn ray_identity(session: &str, ray_job: &str, task: &str, attempt: u32) -> String {
    format!("ray/{session}/{ray_job}/{task}/{attempt}")
}

/// Who observed, and how.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tracer {
    /// roar's version.
    pub version: String,
    /// `notify`, `ptrace` or `preload`.
    pub backend: String,
    /// Whether the in-process accelerator was on.
    pub accel: bool,
    /// Kernel release.
    pub kernel: String,
}

/// The state of the project's version control when a job began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Git {
    /// Commit id, none before the first commit.
    pub commit: Option<String>,
    /// Branch, none when detached.
    pub branch: Option<String>,
    /// Digest of `git diff HEAD` when the tree was dirty.
    pub diff: Option<Digest>,
}

/// What was submitted as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Unique id.
    pub id: String,
    /// The command as given, with credentials masked.
    pub command: Vec<BString>,
    /// Working directory at the start.
    pub cwd: BString,
    /// What counts as the project.
    pub root: BString,
    /// Wall time of the start.
    pub started_at: WallTime,
    /// Wall time of the end.
    pub ended_at: Option<WallTime>,
    /// Exit status of the whole.
    pub exit_code: Option<i32>,
    /// Signal that ended the whole.
    pub signal: Option<i32>,
    /// Who observed.
    pub tracer: Tracer,
    /// Version control, where there is some.
    pub git: Option<Git>,
}

/// A process of the traced tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id at the start; 0 when unknown.
    pub ppid: u32,
    /// Start time in clock ticks since boot (proc_pid_stat(5), field 22): with the pid
    /// it names the process for one boot.
    pub start_ticks: u64,
    /// Executable.
    pub exe: Option<BString>,
    /// Arguments, with credentials masked.
    pub argv: Vec<BString>,
    /// Wall time of the first sight.
    pub started_at: WallTime,
    /// Wall time of the end.
    pub ended_at: Option<WallTime>,
    /// Exit status, where it could be seen.
    pub exit_code: Option<i32>,
    /// Signal that killed it, where it could be seen.
    pub signal: Option<i32>,
}

/// A distribution that a task loaded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Package {
    /// Name as its metadata gives it.
    pub name: String,
    /// Version.
    pub version: String,
}

/// Why a record may not be complete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// An io_uring was made: its opens are not seen.
    IoUring,
    /// A call whose arguments could not be read.
    UnreadableMemory,
    /// A write through a descriptor that another task had opened.
    SharedDescriptor,
    /// Processes went on when the record was made.
    StillRunning,
    /// Files that belong to no known task.
    Unattributed,
    /// Calls that were answered unseen.
    LostRecords,
    /// What the backend cannot see, as a class.
    Backend,
    /// A task used an S3 client that is not captured.
    S3Uncaptured,
    /// Work that ran in a process that was not traced.
    UntracedWorker,
    /// The supervisor ended before the program.
    SupervisorDied,
    /// Something could not be stored.
    Store,
    /// A set-uid or set-gid program that ran without its privilege.
    Privilege,
}

impl GapKind {
    /// Whether such a gap could hide a file, so that the record is not complete.
    pub fn hides_files(self) -> bool {
        !matches!(self, Self::Store | Self::Privilege)
    }
}

/// One kind of gap and how often it was met.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// Kind.
    pub kind: GapKind,
    /// One line for people.
    pub detail: String,
    /// How often, from 1.
    pub count: u64,
}

/// How much was seen, and what was not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Events decoded.
    pub events: u64,
    /// Notifications received.
    pub notified: u64,
    /// Events that came through the accelerator.
    pub accelerated: u64,
    /// Calls known to have gone unseen.
    pub lost: u64,
    /// Events that belong to no known task.
    pub unattributed: u64,
    /// Gaps, one entry for each kind and detail.
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// Counts a gap, joining it with an equal one.
    pub fn add_gap(&mut self, kind: GapKind, detail: &str, count: u64) {
        match self
            .gaps
            .iter_mut()
            .find(|gap| gap.kind == kind && gap.detail == detail)
        {
            Some(gap) => gap.count += count,
            None => self.gaps.push(Gap {
                kind,
                detail: detail.to_owned(),
                count,
            }),
        }
    }

    /// True when nothing was lost and no gap could hide a file.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && !self.gaps.iter().any(|gap| gap.kind.hides_files())
    }
}
