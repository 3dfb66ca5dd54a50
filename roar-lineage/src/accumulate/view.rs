//! What the state tells: the tasks, what is still to be looked at, and the records.

use bstr::BString;

use super::Accumulator;
use super::entry::{Entry, Seen};
use crate::category::Classifier;
use crate::client::{self, Part};
use crate::event::{ProcessKey, TaskNo};
use crate::fragment::Fragment;
use crate::model::{Category, Coverage, FileVersion, GapKind, Job, Process, Stamp, Task};

/// Which versions of a task's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Versions {
    /// What it left at the paths that it wrote.
    Left,
    /// What it read, unless it is what it left.
    Read,
    /// What it has overwritten.
    Replaced,
}

impl Accumulator {
    /// The unique name of the supervisor that observed.
    pub fn observer(&self) -> &str {
        &self.observer
    }

    /// The job, once the first event has told it.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// The numbers of all tasks.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = TaskNo> {
        self.tasks.keys().copied()
    }

    /// A task as far as it is known.
    pub fn task(&self, no: TaskNo) -> Option<&Task> {
        self.tasks.get(&no).map(|state| &state.task)
    }

    /// Decides categories as this run's records have them.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    fn files(&self, no: TaskNo) -> impl Iterator<Item = (&BString, &Entry)> {
        let files = self.files_from(no, 0);
        files.map(|(_, path, entry)| (path, entry))
    }

    fn files_from(
        &self,
        no: TaskNo,
        place: usize,
    ) -> impl Iterator<Item = (usize, &BString, &Entry)> {
        let state = self.tasks.get(&no).into_iter();
        state.flat_map(move |state| state.files.from(place))
    }

    /// The paths that a task has written and that should be looked at when it ends: what is
    /// at one that another has written, removed or replaced since is not what the task left.
    /// `again`: also those that were looked at before. From a place on, each with its own.
    pub fn written(
        &self,
        no: TaskNo,
        again: bool,
        place: usize,
    ) -> impl Iterator<Item = (usize, &BString)> {
        let is_asked = move |path: &BString, entry: &Entry| {
            let write = entry.write.as_ref();
            write.is_some_and(|write| again || write.left.is_none()) && self.wrote_last(no, path)
        };
        let files = self.files_from(no, place);
        let asked = files.filter(move |(_, path, entry)| is_asked(path, entry));
        asked.map(|(place, path, _)| (place, path))
    }

    /// Whether nobody that was seen has changed what is at a path since a task wrote there.
    pub(super) fn wrote_last(&self, no: TaskNo, path: &BString) -> bool {
        self.writers.get(path) == Some(&no)
    }

    /// What was at a path before a task wrote there, and when it did so last.
    pub fn writing(&self, no: TaskNo, path: &BString) -> Option<(Option<FileVersion>, Stamp)> {
        let entry = self.tasks.get(&no)?.files.get(path)?;
        let write = entry.write.as_ref()?;
        Some((write.before(), write.last))
    }

    /// The paths that a task has deleted, unless the call failed.
    pub fn deleted(&self, no: TaskNo) -> Vec<BString> {
        let is_deleted = |entry: &Entry| entry.write.is_none() && entry.deleted.is_some();
        let files = self.files(no).filter(|(_, entry)| is_deleted(entry));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The versions of a task's files that have no outcome of hashing yet, with the
    /// category of each. What was left comes first: a version that moved is where it was
    /// left, and no more where it was read.
    pub fn unhashed(
        &self,
        no: TaskNo,
    ) -> impl Iterator<Item = (Versions, &BString, FileVersion, Category)> {
        [Versions::Left, Versions::Read]
            .into_iter()
            .flat_map(move |versions| {
                let files = self.unhashed_from(no, versions, 0);
                files.map(move |(_, path, version, category)| (versions, path, version, category))
            })
    }

    /// Of one kind of version those without an outcome of hashing, from a place on, each with
    /// its own.
    pub fn unhashed_from(
        &self,
        no: TaskNo,
        versions: Versions,
        place: usize,
    ) -> impl Iterator<Item = (usize, &BString, FileVersion, Category)> {
        let files = self.files_from(no, place);
        let files = files.flat_map(move |(place, path, entry)| {
            let write = entry.write.as_ref();
            let left = write.and_then(|write| write.left.flatten());
            let before = write.and_then(|write| write.before());
            let (one, read): (_, &[Seen]) = match versions {
                Versions::Left => (left, &[]),
                Versions::Read => (None, &entry.reads),
                Versions::Replaced => (before.filter(|before| left != Some(*before)), &[]),
            };
            let read = read.iter().map(|seen| seen.version);
            let elsewhere = read.filter(move |version| left != Some(*version));
            let versions = one.into_iter().chain(elsewhere);
            versions.map(move |version| (place, path, entry, version))
        });
        files
            .filter(|(_, _, _, version)| !self.digests.has(*version))
            .map(move |(place, path, entry, version)| {
                let is_executed = versions != Versions::Replaced && entry.is_executed();
                (
                    place,
                    path,
                    version,
                    self.classifier.category(path, is_executed),
                )
            })
    }

    /// Paths of installed distributions that a task read.
    pub fn package_files(&self, no: TaskNo) -> Vec<BString> {
        let files = self.files(no);
        files
            .filter(|(path, entry)| {
                !entry.reads.is_empty()
                    && self.classifier.category(path, false) == Category::Package
            })
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// The record of one task as it stands.
    pub fn fragment(&self, no: TaskNo, revision: u64) -> Option<Fragment> {
        let state = self.tasks.get(&no)?;
        let mut job = self.job.clone()?;
        if state.task.kind.is_command() {
            job.ended_at = state.task.ended_at;
            job.exit_code = state.task.exit_code;
            job.signal = state.task.signal;
        }
        let mut fragment = Fragment {
            observer: self.observer.clone(),
            revision,
            job,
            task: state.task.clone(),
            reads: Vec::new(),
            writes: Vec::new(),
            deletes: Vec::new(),
            ephemeral: state.ephemeral,
            ephemerals: state.ephemerals.clone(),
            packages: state.packages.iter().cloned().collect(),
            processes: self.processes_of(no),
            coverage: if no == 0 {
                self.counts.clone()
            } else {
                Coverage::default()
            },
            objects: state.objects.iter().cloned().collect(),
            drives: state.drives.iter().cloned().collect(),
        };
        fragment.coverage.gaps.clone_from(&state.gaps);
        let mut files: Vec<_> = self.files(no).collect();
        files.sort_unstable_by_key(|(path, _)| *path);
        for (path, entry) in files {
            self.add_uses(no, &mut fragment, path, entry);
        }
        state.s3.add_uses(&mut fragment);
        let has_arrow = || {
            let mut files = self.tasks().flat_map(|no| self.files(no));
            files.any(|(path, _)| client::part_of(path) == Some(Part::Arrow))
        };
        // Where connections are seen, those that cannot be looked into are gaps themselves;
        // but not which of a Ray worker's connections are a client's.
        let is_known = fragment.job.tracer.backend == "notify" && state.task.kind.is_command();
        if !is_known
            && !state.s3.is_seen()
            && let Some(library) = client::library(&fragment.reads, has_arrow)
        {
            let detail =
                format!("a client of {library} was made for S3, and no request of it was seen");
            fragment.coverage.add_gap(GapKind::S3Uncaptured, &detail, 1);
        }
        Some(fragment)
    }

    /// The records of all tasks.
    pub fn fragments(&self, revision: u64) -> Vec<Fragment> {
        self.tasks()
            .filter_map(|no| self.fragment(no, revision))
            .collect()
    }

    /// Forgets a process that has ended: whoever reads the log knows it.
    pub fn forget_process(&mut self, key: ProcessKey) {
        self.processes.remove(&key);
    }

    /// Whether any process was seen.
    pub fn has_processes(&self) -> bool {
        !self.processes.is_empty()
    }

    fn processes_of(&self, no: TaskNo) -> Vec<Process> {
        let all = self.processes.values();
        all.filter(|(task, _)| *task == no)
            .map(|(_, process)| process.clone())
            .collect()
    }
}
