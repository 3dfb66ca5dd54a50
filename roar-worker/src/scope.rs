//! One traced run as the supervisor keeps it: its record, its tasks, and how far its
//! end has come. A roar inside a roar is a second scope under the same supervisor.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use bstr::{BString, ByteSlice};
use foldhash::{HashMap, HashSet};
use roar_lineage::accumulate::Versions;
use roar_lineage::event::{Event, Outcome, TaskNo};
use roar_lineage::model::{Category, FileState, FileVersion, GapKind, Job, Status, Task};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::digest_pool::{self, DigestPool, HashJob};
use crate::packages;
use crate::sys::file;
use crate::task_log::Recorder;

/// Most digests that are awaited at once.
const MOST_AWAITED: usize = 512;

/// Paths that are copied at a time, to be looked at.
const LOOKED_AT_ONCE: usize = 256;

/// The replaced ones last: what is known of them may be known by the others.
const IN_ORDER: [Versions; 3] = [Versions::Left, Versions::Read, Versions::Replaced];

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashing {
    /// Whether anything is.
    pub enabled: bool,
    /// Largest input (bytes).
    pub limit: Option<u64>,
}

impl Hashing {
    /// Whether a version of this category is hashed.
    pub fn wants(self, versions: Versions, category: Category, version: FileVersion) -> bool {
        let is_small = || self.limit.is_none_or(|limit| version.size <= limit);
        self.enabled && category.is_hashed() && (versions == Versions::Left || is_small())
    }
}

/// What a run is, told before it begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Unique name of this observation.
    pub observer: String,
    /// The job.
    pub job: Job,
    /// The task that the command itself is.
    pub task: Task,
    /// What is hashed.
    pub hashing: Hashing,
}

/// How far the end of a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The command runs.
    Running,
    /// The command ended; digests are awaited.
    Hashing,
    /// Everything is recorded.
    Done,
}

/// One run.
pub struct Scope {
    /// Its record.
    pub recorder: Recorder,
    /// What is hashed.
    pub hashing: Hashing,
    /// How far it is.
    pub phase: Phase,
    /// The processes in whose pages the tasks are.
    pub page_of: HashMap<TaskNo, u32>,
    awaited: HashSet<FileVersion>,
    /// What is still to be asked for, and up to where the first of it has been.
    unasked: VecDeque<(TaskNo, Versions)>,
    asked_up_to: usize,
    next_task: TaskNo,
    notified: u64,
    events: u64,
    unattributed: u64,
    accelerated: u64,
    lost: u64,
}

impl Scope {
    /// Begins a run: records the job and task 0.
    pub fn begin(mut recorder: Recorder, spec: &Spec) -> Self {
        let began = Event::Began {
            observer: spec.observer.clone(),
            job: spec.job.clone(),
        };
        recorder.record(&began);
        recorder.record(&Event::Task {
            no: 0,
            task: spec.task.clone(),
        });
        Self {
            recorder,
            hashing: spec.hashing,
            phase: Phase::Running,
            page_of: HashMap::default(),
            awaited: HashSet::default(),
            unasked: VecDeque::new(),
            asked_up_to: 0,
            next_task: 1,
            notified: 0,
            events: 0,
            unattributed: 0,
            accelerated: 0,
            lost: 0,
        }
    }

    /// Adds a task.
    pub fn add_task(&mut self, task: Task) -> TaskNo {
        let no = self.next_task;
        self.next_task += 1;
        self.recorder.record(&Event::Task { no, task });
        no
    }

    /// Counts a notification and the events that it meant.
    pub fn count(&mut self, events: usize) {
        self.notified += 1;
        self.events += events as u64;
    }

    /// Counts an open that was not notified and the events that it meant.
    pub fn count_accelerated(&mut self, events: usize) {
        self.accelerated += 1;
        self.events += events as u64;
    }

    /// Counts events that belong to no known task.
    pub fn count_unattributed(&mut self, events: usize) {
        self.unattributed += events as u64;
    }

    /// Records a gap.
    pub fn gap(&mut self, task: TaskNo, kind: GapKind, detail: &str, count: u64) {
        let detail = detail.to_owned();
        self.recorder.record(&Event::Gap {
            task,
            kind,
            detail,
            count,
        });
    }

    /// Records how a task ended, and what it left.
    pub fn end_task(
        &mut self,
        no: TaskNo,
        status: Status,
        detail: Option<String>,
        exit: (Option<i32>, Option<i32>),
        at: (i64, u64),
    ) {
        let (exit_code, signal) = exit;
        let (at, stamp) = at;
        let ended = Event::TaskEnded {
            no,
            status,
            detail,
            exit_code,
            signal,
            at,
            stamp,
        };
        self.recorder.record(&ended);
        look_at_outputs(&mut self.recorder, no, false);
    }

    /// Looks at everything that was written and begins to ask for the digests that are
    /// missing. Of the `unfinished`, which somebody still has open for writing, there are none.
    pub fn begin_to_finish(&mut self, unfinished: &HashSet<BString>, pool: &mut DigestPool) {
        let tasks: Vec<TaskNo> = self.recorder.state.tasks().collect();
        for no in &tasks {
            look_at_outputs(&mut self.recorder, *no, true);
            if !unfinished.is_empty() {
                self.leave_undigested(*no, unfinished);
            }
        }
        self.phase = Phase::Hashing;
        if !self.hashing.enabled {
            return;
        }
        self.unasked = IN_ORDER
            .iter()
            .flat_map(|versions| tasks.iter().map(|no| (*no, *versions)))
            .collect();
        pool.expect(self.unasked.iter().flat_map(|(no, versions)| {
            let unhashed = self.recorder.state.unhashed_from(*no, *versions, 0);
            unhashed.filter_map(|(_, _, version, category)| {
                let is_wanted = self.hashing.wants(*versions, category, version);
                is_wanted.then_some(version.size)
            })
        }));
    }

    fn leave_undigested(&mut self, no: TaskNo, unfinished: &HashSet<BString>) {
        let left = self.recorder.state.unhashed_from(no, Versions::Left, 0);
        let open = left.filter(|(_, path, _, _)| unfinished.contains(*path));
        let versions: Vec<_> = open.map(|(_, _, version, _)| version).collect();
        for version in versions {
            let outcome = Outcome::None(FileState::Superseded);
            self.recorder.record(&Event::Digested { version, outcome });
        }
    }

    /// Asks for further digests, as long as not too many are awaited.
    fn ask_for_digests(&mut self, pool: &mut DigestPool) {
        if self.unasked.is_empty() || self.awaited.len() > MOST_AWAITED / 2 {
            return;
        }
        while let Some((no, versions)) = self.unasked.front().copied() {
            let state = &self.recorder.state;
            let unhashed = state.unhashed_from(no, versions, self.asked_up_to);
            for (place, path, version, category) in unhashed {
                let is_wanted = self.hashing.wants(versions, category, version);
                if !is_wanted || !self.awaited.insert(version) {
                    continue;
                }
                let is_asked = pool.now(HashJob {
                    path: path.clone(),
                    version,
                    is_gone: versions == Versions::Replaced,
                    is_early: false,
                });
                if !is_asked {
                    self.awaited.remove(&version);
                }
                if self.awaited.len() >= MOST_AWAITED {
                    self.asked_up_to = place;
                    return;
                }
            }
            self.unasked.pop_front();
            self.asked_up_to = 0;
        }
        pool.expect_no_more();
    }

    /// Asks for a task's digests when there is time for them.
    pub fn hash_when_idle(&self, no: TaskNo, pool: &mut DigestPool) {
        for (versions, path, version, category) in self.recorder.state.unhashed(no) {
            if self.hashing.wants(versions, category, version) {
                pool.when_idle(HashJob {
                    path: path.clone(),
                    version,
                    is_gone: false,
                    is_early: false,
                });
            }
        }
    }

    /// Whether a task has files that are to be hashed and are not yet.
    pub fn awaits_digests(&self, no: TaskNo) -> bool {
        let mut unhashed = self.recorder.state.unhashed(no);
        unhashed
            .any(|(versions, _, version, category)| self.hashing.wants(versions, category, version))
    }

    /// Takes the result of hashing in.
    pub fn hashed(&mut self, version: FileVersion, outcome: Outcome) {
        let is_own = self.awaited.remove(&version);
        // Elsewhere it may still be found.
        if self.phase == Phase::Hashing && !is_own && matches!(outcome, Outcome::None(_)) {
            return;
        }
        self.recorder.record(&Event::Digested { version, outcome });
    }

    /// Ends the record when no digest is awaited any more. True when it has just ended.
    pub fn try_to_finish(&mut self, unseen: u64, pool: &mut DigestPool) -> bool {
        if self.phase != Phase::Hashing {
            return false;
        }
        self.ask_for_digests(pool);
        if !self.awaited.is_empty() {
            return false;
        }
        add_packages(&mut self.recorder);
        self.record_counts(unseen);
        self.phase = Phase::Done;
        true
    }

    /// Records the counters and what they mean for completeness.
    pub fn record_counts(&mut self, unseen: u64) {
        if self.unattributed > 0 {
            let detail = "one of several tasks did it, and it is not known which";
            self.gap(0, GapKind::Unattributed, detail, self.unattributed);
            self.unattributed = 0;
        }
        if unseen > self.lost {
            let detail = "calls were answered unseen, since the supervisor did not answer in time";
            self.gap(0, GapKind::LostRecords, detail, unseen - self.lost);
            self.lost = unseen;
        }
        let lost = self.recorder.lost();
        if lost > 0 {
            self.gap(
                0,
                GapKind::Store,
                "the log could not be written (no space?)",
                lost,
            );
        }
        self.recorder.record(&Event::Counts {
            notified: self.notified,
            events: self.events,
            lost: self.lost,
            unattributed: self.unattributed,
            accelerated: self.accelerated,
        });
    }
}

/// Records what is at the paths that a task has written. `again`: also at those that
/// were looked at before.
pub fn look_at_outputs(recorder: &mut Recorder, task: TaskNo, again: bool) {
    let mut next = 0;
    loop {
        let written = recorder.state.written(task, again, next);
        let written = written.take(LOOKED_AT_ONCE);
        let written: Vec<_> = written.map(|(at, path)| (at, path.clone())).collect();
        match written.last() {
            Some((last, _)) => next = last + 1,
            None => break,
        }
        for (_, path) in written {
            let stat = file::stat_path(&path).ok().filter(file::Stat::is_regular);
            let version = stat.map(|stat| stat.version());
            let (before, last) = recorder.state.writing(task, &path).unwrap_or_default();
            let version = version.map(|version| without_copy_up(&path, before, version));
            recorder.record(&Event::Left {
                task,
                path,
                version,
                last,
            });
        }
    }
    if !again {
        return;
    }
    // Not by a link that is in a directory's place now.
    for path in recorder.state.deleted(task) {
        let there = file::open_path_without_links(&path, libc::O_NOFOLLOW);
        let stat = there.and_then(|there| file::stat(there.as_fd())).ok();
        if let Some(stat) = stat.filter(file::Stat::is_regular) {
            recorder.record(&Event::Left {
                task,
                path,
                version: Some(stat.version()),
                last: 0,
            });
        }
    }
}

/// overlayfs copies a file of a lower layer up when it is opened for writing, which moves
/// the ctime alone: then it is what it was.
fn without_copy_up(path: &[u8], before: Option<FileVersion>, version: FileVersion) -> FileVersion {
    let ctime = version.ctime;
    match before {
        Some(before)
            if before.ctime != ctime
                && FileVersion { ctime, ..before } == version
                && file::is_on_overlay(path) =>
        {
            before
        }
        _ => version,
    }
}

/// Records the distributions whose files each task read.
pub fn add_packages(recorder: &mut Recorder) {
    let tasks: Vec<TaskNo> = recorder.state.tasks().collect();
    for task in tasks {
        for package in packages::of_files(&recorder.state.package_files(task)) {
            recorder.record(&Event::Package { task, package });
        }
    }
}

/// Ends a record whose supervisor is gone: what it would have done at the end, done by
/// whoever read the log, in this thread. `again`: it had been ended before, when processes
/// were still running.
pub fn finish_alone(recorder: &mut Recorder, hashing: Hashing, again: bool) {
    let tasks: Vec<TaskNo> = recorder.state.tasks().collect();
    for no in tasks {
        look_at_outputs(recorder, no, again);
        let unhashed = recorder.state.unhashed(no);
        let wanted = unhashed.map(|(versions, path, version, category)| {
            let is_wanted = hashing.wants(versions, category, version);
            (path.clone(), version, is_wanted)
        });
        for (path, version, is_wanted) in wanted.collect::<Vec<_>>() {
            let outcome = match is_wanted {
                true => digest_pool::hash(&HashJob {
                    path,
                    version,
                    is_gone: false,
                    is_early: false,
                }),
                false => Outcome::None(FileState::Skipped),
            };
            recorder.record(&Event::Digested { version, outcome });
        }
    }
    digest_pool::flush_cache();
    add_packages(recorder);
}

/// Status, exit status and signal of a `wait(2)` status.
pub fn status_of(wait_status: i32) -> (Status, Option<i32>, Option<i32>) {
    let signal = wait_status & 0x7f;
    match (signal, wait_status >> 8 & 0xff) {
        (0, 0) => (Status::Completed, Some(0), None),
        (0, code) => (Status::Failed, Some(code), None),
        (signal, _) => (Status::Killed, None, Some(signal)),
    }
}

/// Now, on both clocks.
pub fn now() -> (i64, u64) {
    (clock::wall(), clock::stamp())
}

/// The last component of a path.
pub fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit_str(b"/").next().unwrap_or(path)
}
