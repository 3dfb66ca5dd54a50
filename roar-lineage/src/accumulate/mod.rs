//! The state machine that turns events into tasks with inputs, outputs and deletes.
//!
//! Pure: no clock, no filesystem. The supervisor feeds it while the program runs and
//! logs only what changes it; whoever reads the log feeds the same events and gets the
//! same fragments.

mod entry;
mod ephemerals;
mod files;
mod left;
mod objects;
mod outcomes;
mod uses;
mod view;
mod ways;

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use foldhash::{HashMap, HashSet};

use self::entry::Entry;
use self::files::Files;
use self::objects::Objects;
use self::outcomes::Outcomes;
pub use self::view::Versions;
use self::ways::Ways;

use crate::category::Classifier;
use crate::event::{Access, Event, Outcome, ProcessKey, TaskNo};
use crate::fragment::Ephemeral;
use crate::model::{Coverage, Gap, GapKind, How, Job, Package, Process, Stamp, Task};
use crate::object::{DrivenJob, ObjectUse};

/// Objects remembered for each task.
const MAX_OBJECTS: usize = 100_000;
const TOO_MANY_OBJECTS: &str = "more objects went into or through a task than are kept";

/// What was observed so far, as tasks and their files.
#[derive(Default)]
pub struct Accumulator {
    observer: String,
    job: Option<Job>,
    tasks: BTreeMap<TaskNo, TaskState>,
    processes: BTreeMap<ProcessKey, (TaskNo, Process)>,
    writers: HashMap<BString, TaskNo>,
    digests: Outcomes,
    /// Inodes whose ctime was moved by a name that came or went: that tells nothing about
    /// their content.
    moved_ctimes: HashSet<(u64, u64)>,
    classifier: Classifier,
    counts: Coverage,
}

struct TaskState {
    task: Task,
    files: Files,
    ephemeral: u64,
    ephemerals: Vec<Ephemeral>,
    packages: BTreeSet<Package>,
    gaps: Vec<Gap>,
    objects: BTreeSet<ObjectUse>,
    drives: BTreeSet<DrivenJob>,
    s3: Objects,
}

impl Accumulator {
    /// Takes one event in. False when it tells nothing new, so that it need not be logged.
    pub fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Began { observer, job } => {
                self.observer.clone_from(observer);
                if self.job.as_ref().is_none_or(|known| known.root != job.root) {
                    self.classifier = Classifier::new(&job.root);
                }
                self.job = Some(job.clone());
                true
            }
            Event::Task { no, task } => {
                self.tasks.insert(*no, TaskState::new(task.clone()));
                true
            }
            Event::TaskEnded {
                no,
                status,
                detail,
                exit_code,
                signal,
                at,
                stamp,
            } => {
                let Some(state) = self.tasks.get_mut(no) else {
                    return false;
                };
                state.task.status = *status;
                state.task.status_detail.clone_from(detail);
                state.task.exit_code = *exit_code;
                state.task.signal = *signal;
                state.task.ended_at = Some(*at);
                state.task.ended = Some(*stamp);
                true
            }
            Event::Process {
                key,
                ppid,
                task,
                exe,
                argv,
                at,
            } => {
                let process = Process {
                    pid: key.pid,
                    ppid: *ppid,
                    start_ticks: key.start_ticks,
                    exe: exe.clone(),
                    argv: argv.clone(),
                    started_at: *at,
                    ended_at: None,
                    exit_code: None,
                    signal: None,
                };
                self.processes.insert(*key, (*task, process));
                true
            }
            Event::Exec { key, exe, argv } => {
                let Some((_, process)) = self.processes.get_mut(key) else {
                    return false;
                };
                process.exe = Some(exe.clone());
                process.argv.clone_from(argv);
                true
            }
            Event::ProcessEnded {
                key,
                exit_code,
                signal,
                at,
            } => {
                let Some((_, process)) = self.processes.get_mut(key) else {
                    return false;
                };
                process.exit_code = *exit_code;
                process.signal = *signal;
                process.ended_at = Some(*at);
                true
            }
            Event::Access {
                task,
                stamp,
                access,
            } => self.access(*task, *stamp, access),
            Event::Left {
                task,
                path,
                version,
                last,
            } => self.left(*task, path, *version, *last),
            // What is known of a version stays so, though it is not found any more.
            Event::Digested { version, outcome }
                if matches!(outcome, Outcome::None(_)) && self.has_digest(*version) =>
            {
                false
            }
            Event::Digested { version, outcome } => {
                self.digests.insert(*version, *outcome) != Some(*outcome)
            }
            Event::Package { task, package } => self
                .tasks
                .get_mut(task)
                .is_some_and(|state| state.packages.insert(package.clone())),
            Event::Gap {
                task,
                kind,
                detail,
                count,
            } => {
                let Some(state) = self.tasks.get_mut(task) else {
                    return false;
                };
                state.gap(*kind, detail, *count);
                true
            }
            Event::Counts {
                notified,
                events,
                lost,
                unattributed,
                accelerated,
            } => {
                self.counts.notified = *notified;
                self.counts.events = *events;
                self.counts.lost = *lost;
                self.counts.unattributed = *unattributed;
                self.counts.accelerated = *accelerated;
                true
            }
            Event::Object { task, used } => self
                .tasks
                .get_mut(task)
                .is_some_and(|state| state.object(used)),
            Event::S3 {
                task,
                stamp,
                access,
            } => self.object(*task, *stamp, access),
            Event::Drives { task, job } => self
                .tasks
                .get_mut(task)
                .is_some_and(|state| state.drives.insert(job.clone())),
        }
    }

    fn access(&mut self, no: TaskNo, stamp: Stamp, access: &Access) -> bool {
        let Some(state) = self.tasks.get_mut(&no) else {
            return false;
        };
        self.moved_ctimes.extend(
            access
                .moves_ctime()
                .map(|version| (version.dev, version.ino)),
        );
        match access {
            Access::Read {
                path,
                version,
                how,
                via,
                inferred,
            } => {
                self.classifier.learn(path);
                let is_own = self.writers.get(path) == Some(&no);
                let entry = state.files.at(path);
                if is_own && !entry.is_as_before(*version) && !entry.was_before(*version, stamp) {
                    return false;
                }
                if entry.is_empty() && ephemerals::has(&state.ephemerals, path, *version) {
                    state.forget_if_empty(path);
                    return false;
                }
                entry.read(*version, *how, via.as_ref(), *inferred, stamp)
            }
            Access::Write {
                path,
                before,
                how,
                truncates,
                reads,
                via,
            } => {
                let is_own = note_writer(&mut self.writers, path, no);
                let entry = state.files.at(path);
                let mut news = !is_own;
                let is_handed = *how == How::Inherited;
                let derives =
                    *reads && (!is_own || before.is_some_and(|it| entry.is_as_before(it)));
                if let (true, false, Some(before)) = (derives, is_handed, before) {
                    news |= entry.read(*before, *how, via.as_ref(), false, stamp);
                }
                news |= entry.wrote(*before, *how, *truncates, via.as_ref(), stamp);
                if derives && is_handed {
                    entry.derives();
                }
                news
            }
            Access::Rename {
                from,
                to,
                moved,
                replaced,
            } => {
                let entry = state.files.at(from);
                let how = entry.moved_away(*moved, stamp);
                state.forget_if_empty(from);
                let entry = state.files.at(to);
                entry.replaced(*replaced, how, stamp);
                self.writers.remove(from);
                note_writer(&mut self.writers, to, no);
                true
            }
            Access::Exchange {
                a,
                a_version,
                b,
                b_version,
            } => {
                let mut entry_a = state.files.remove(a).unwrap_or_default();
                let mut entry_b = state.files.remove(b).unwrap_or_default();
                let how_a = entry_a.moved_away(*a_version, stamp);
                let how_b = entry_b.moved_away(*b_version, stamp);
                entry_a.replaced(None, how_b, stamp);
                entry_b.replaced(None, how_a, stamp);
                *state.files.at(a) = entry_a;
                *state.files.at(b) = entry_b;
                note_writer(&mut self.writers, a, no);
                note_writer(&mut self.writers, b, no);
                true
            }
            Access::Link { from, to, version } => {
                let mut how = Ways::from(How::Link);
                if let Some(from) = from {
                    let is_own = self.writers.get(from) == Some(&no);
                    let entry = state.files.at(from);
                    match &entry.write {
                        Some(write) if is_own && !entry.is_as_before(*version) => {
                            how.extend(write.how);
                        }
                        _ => {
                            entry.shared(*version, stamp);
                            note_writer(&mut self.writers, from, no);
                        }
                    }
                }
                state.files.at(to).replaced(None, how, stamp);
                note_writer(&mut self.writers, to, no);
                true
            }
            Access::Unlink { path, version } => {
                let entry = state.files.at(path);
                let write = entry.write.take();
                match write.map(|write| (write.before(), write.first)) {
                    Some((None, first)) => {
                        state.ephemeral(Ephemeral {
                            path: path.clone(),
                            version: Some(*version),
                            object: None,
                            first,
                            last: stamp,
                        });
                    }
                    Some((Some(before), _)) => entry.deleted = Some(Box::new((before, stamp))),
                    None => entry.deleted = Some(Box::new((*version, stamp))),
                }
                state.forget_if_empty(path);
                self.writers.remove(path);
                true
            }
        }
    }
}

/// Makes a task the last writer of a path. True when it was that already.
fn note_writer(writers: &mut HashMap<BString, TaskNo>, path: &BString, no: TaskNo) -> bool {
    match writers.get_mut(path) {
        Some(writer) => std::mem::replace(writer, no) == no,
        None => {
            writers.insert(path.clone(), no);
            false
        }
    }
}

impl TaskState {
    fn new(task: Task) -> Self {
        Self {
            task,
            files: Files::default(),
            ephemeral: 0,
            ephemerals: Vec::new(),
            packages: BTreeSet::new(),
            gaps: Vec::new(),
            objects: BTreeSet::new(),
            drives: BTreeSet::new(),
            s3: Objects::default(),
        }
    }

    /// Remembers an object; false when it was known.
    fn object(&mut self, used: &ObjectUse) -> bool {
        if self.objects.contains(used) {
            return false;
        }
        if self.objects.len() < MAX_OBJECTS {
            return self.objects.insert(used.clone());
        }
        self.gap(GapKind::LostRecords, TOO_MANY_OBJECTS, 1);
        true
    }

    fn gap(&mut self, kind: GapKind, detail: &str, count: u64) {
        let mut coverage = Coverage {
            gaps: std::mem::take(&mut self.gaps),
            ..Coverage::default()
        };
        coverage.add_gap(kind, detail, count);
        self.gaps = coverage.gaps;
    }

    fn forget_if_empty(&mut self, path: &BString) {
        if self.files.get(path).is_some_and(Entry::is_empty) {
            self.files.remove(path);
        }
    }
}
