//! Edges: a reader follows the last write of a location before its read, and of objects
//! the write of the version that it read.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bstr::BString;

use crate::digest::Digest;
use crate::model::{FileVersion, Stamp, Task};
use crate::s3;
use crate::store::{Recorded, Role, Use};

/// From a writer to a reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Index of the producer in [`Recorded::tasks`].
    pub from: usize,
    /// Index of the consumer.
    pub to: usize,
    /// The path, URL, object id or actor id.
    pub path: BString,
    /// Over what it goes.
    pub via: Via,
}

/// Over what an edge goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// A file or an object of an object store.
    File {
        /// Of the content.
        digest: Option<Digest>,
        /// Index of the writer's use.
        write: usize,
        /// Index of the reader's use.
        read: usize,
    },
    /// An object of Ray's.
    Object {
        /// Size of its serialized value (bytes).
        size: Option<u64>,
    },
    /// An actor's state.
    Actor,
}

impl Edge {
    /// The uses that it joins, writer's first.
    pub fn uses(&self) -> Option<[usize; 2]> {
        match self.via {
            Via::File { write, read, .. } => Some([write, read]),
            Via::Object { .. } | Via::Actor => None,
        }
    }

    /// Of the content that went over it.
    pub fn digest(&self) -> Option<Digest> {
        match self.via {
            Via::File { digest, .. } => digest,
            Via::Object { .. } | Via::Actor => None,
        }
    }
}

/// The version without its device number, which differs between nodes of one shared
/// filesystem.
type Identity = (u64, u64, i64, i64);

fn identity(version: FileVersion) -> Identity {
    (version.ino, version.size, version.mtime, version.ctime)
}

/// The edges that files make, one for each producer, consumer and path.
pub(super) fn of_files(recorded: &Recorded) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut rest = 0;
    // Uses are ordered by path.
    for group in recorded.uses.chunk_by(|a, b| a.file.path == b.file.path) {
        let range = rest..rest + group.len();
        rest = range.end;
        let is_writer = |used: &Use| matches!(used.role, Role::Write | Role::Ephemeral);
        if group.iter().any(is_writer) && group.iter().any(|used| used.role == Role::Read) {
            of_path(recorded, range, &mut edges);
        }
    }
    edges
}

fn of_path(recorded: &Recorded, range: Range<usize>, edges: &mut Vec<Edge>) {
    let writers = Writers::new(recorded, range.clone());
    edges.extend(of_reads(recorded, &writers, range));
}

/// The edges from `writers` of a path to `uses` of it that are reads, one for each producer,
/// consumer and content.
pub(super) fn of_reads(
    recorded: &Recorded,
    writers: &Writers,
    uses: impl Iterator<Item = usize>,
) -> impl Iterator<Item = Edge> {
    let search = Search { recorded, writers };
    let mut found: BTreeMap<(usize, usize), Vec<Edge>> = BTreeMap::new();
    for index in uses {
        let read = &recorded.uses[index];
        if read.role != Role::Read {
            continue;
        }
        let Some((index_of_write, write)) = search.producer(read) else {
            continue;
        };
        if differ(write, read) && !search.was_going_on(write, read) {
            continue;
        }
        let digest = read.file.digest.or_else(|| {
            let digest = write.file.digest;
            digest.filter(|_| is_one_version(write, read))
        });
        let edges = found.entry((write.task, read.task)).or_default();
        let is_known = |edge: &Edge| digest.is_none() || edge.digest() == digest;
        if edges.iter().any(is_known) {
            continue;
        }
        let edge = Edge {
            from: write.task,
            to: read.task,
            path: read.file.path.clone(),
            via: Via::File {
                digest,
                write: index_of_write,
                read: index,
            },
        };
        // One that says what went over it says more than one that does not.
        match edges.iter_mut().find(|edge| edge.digest().is_none()) {
            Some(nameless) => *nameless = edge,
            None => edges.push(edge),
        }
    }
    found.into_values().flatten()
}

/// Whether what was read is certainly not what the writer left.
fn differ(write: &Use, read: &Use) -> bool {
    let (left, seen) = (&write.file, &read.file);
    match (left.digest, seen.digest) {
        (Some(left), Some(seen)) => left != seen,
        _ if seen.object.is_some() => false,
        _ => left.size.is_some() && seen.size.is_some() && left.size != seen.size,
    }
}

/// Whether what was read is what the writer left, so that what is known of one is known of
/// both. Objects are only joined where it is.
fn is_one_version(write: &Use, read: &Use) -> bool {
    let of = |used: &Use| used.file.version.map(identity);
    read.file.object.is_some() || of(write).is_some() && of(write) == of(read)
}

/// The writers of one path, ready to be searched.
#[derive(Debug)]
pub(super) struct Writers {
    /// Uses of the path, the writers' among them.
    range: Range<usize>,
    by_version: HashMap<Identity, Vec<usize>>,
    deletes: Vec<usize>,
    /// By location, and by boot.
    by_clock: BTreeMap<usize, BTreeMap<String, Ordered>>,
}

/// Writers of one location in one boot, by the end and by the start of their writing.
#[derive(Debug, Default)]
struct Ordered {
    by_last: Vec<usize>,
    by_first: Vec<usize>,
}

impl Writers {
    /// Of uses of one path in their order.
    pub(super) fn new(recorded: &Recorded, range: Range<usize>) -> Self {
        let mut writers = Self {
            range: range.clone(),
            by_version: HashMap::new(),
            deletes: Vec::new(),
            by_clock: BTreeMap::new(),
        };
        for index in range {
            let used = &recorded.uses[index];
            if used.role == Role::Delete {
                writers.deletes.push(index);
            }
            if !matches!(used.role, Role::Write | Role::Ephemeral) {
                continue;
            }
            if let Some(version) = used.file.version {
                let same = writers.by_version.entry(identity(version));
                same.or_default().push(index);
            }
            let boot = &recorded.tasks[used.task].task.boot;
            let boots = writers.by_clock.entry(used.location).or_default();
            if !boots.contains_key(boot) {
                boots.insert(boot.clone(), Ordered::default());
            }
            let Some(ordered) = boots.get_mut(boot) else {
                continue;
            };
            ordered.by_first.push(index);
            if used.role == Role::Write {
                ordered.by_last.push(index);
            }
        }
        for ordered in writers.by_clock.values_mut().flat_map(BTreeMap::values_mut) {
            let used = |index: usize| &recorded.uses[index];
            // What a roar inside of a roar saw both have: it is the inner one's.
            let began = |index: usize| recorded.tasks[used(index).task].task.started;
            let by_last = |&index: &usize| (used(index).file.last, began(index));
            let by_first = |&index: &usize| (used(index).file.first, began(index));
            ordered.by_last.sort_by_key(by_last);
            ordered.by_first.sort_by_key(by_first);
        }
        writers
    }
}

/// Who wrote what was read.
struct Search<'a> {
    recorded: &'a Recorded,
    writers: &'a Writers,
}

impl<'a> Search<'a> {
    fn task(&self, used: &Use) -> &'a Task {
        &self.recorded.tasks[used.task].task
    }

    fn get(&self, index: usize) -> (usize, &'a Use) {
        (index, &self.recorded.uses[index])
    }

    fn producer(&self, read: &Use) -> Option<(usize, &'a Use)> {
        if let Some(object) = &read.file.object {
            return self.of_object(read, object.identity(read.file.digest));
        }
        let same_boot = || {
            let last = self.of_same_boot(read);
            last.filter(|(_, write)| !self.is_deleted_between(write, read))
        };
        self.of_version(read)
            .or_else(same_boot)
            .or_else(|| self.of_other_boot(read))
    }

    /// The writer that left exactly the version that was read.
    fn of_version(&self, read: &Use) -> Option<(usize, &'a Use)> {
        let same = self.writers.by_version.get(&identity(read.file.version?))?;
        self.nearest(read, same.iter().map(|&index| self.get(index)))
    }

    /// Of writers of one content the last before the read, else the first after it.
    fn nearest(
        &self,
        read: &Use,
        candidates: impl Iterator<Item = (usize, &'a Use)>,
    ) -> Option<(usize, &'a Use)> {
        let before = |write: &Use| {
            self.task(write).boot != self.task(read).boot || write.file.first <= read.file.last
        };
        candidates
            .filter(|(_, write)| write.task != read.task && before(write))
            .max_by_key(|(_, write)| {
                let at = self.wall_beside(read, write, write.file.last);
                let is_before = at <= self.wall(read, read.file.first);
                let began = self.task(write).started;
                (is_before, if is_before { at } else { -at }, began)
            })
    }

    /// The writer that left exactly this version of an object. Where versions are not
    /// named, the last write before the read, on whatever host.
    fn of_object(&self, read: &Use, wanted: s3::Identity<'_>) -> Option<(usize, &'a Use)> {
        let is_wanted = |write: &Use| {
            let object = write.file.object.as_ref()?;
            object.identity(write.file.digest).is(wanted)
        };
        let all = self.writers.range.clone().map(|index| self.get(index));
        let writers = all.filter(|(_, used)| matches!(used.role, Role::Write | Role::Ephemeral));
        let exact = writers.filter(|(_, write)| is_wanted(write) == Some(true));
        if let Some(exact) = self.nearest(read, exact) {
            return Some(exact);
        }
        let at = self.wall(read, read.file.first);
        let time = |write: &Use| {
            let last = self.wall(write, write.file.last);
            if last <= at {
                last
            } else {
                self.wall(write, write.file.first)
            }
        };
        let last = [self.of_same_boot(read), self.of_other_boot(read)];
        let (index, write) = last
            .into_iter()
            .flatten()
            .max_by_key(|(index, write)| (time(write), *index))?;
        let is_it = is_wanted(write).is_none() && !self.is_deleted_between(write, read);
        is_it.then_some((index, write))
    }

    /// Whether what was written, and not again, was deleted before the read: then that was of
    /// something else.
    fn is_deleted_between(&self, write: &Use, read: &Use) -> bool {
        let time = |used: &Use, stamp| self.wall_beside(read, used, stamp);
        let written = time(write, write.file.last);
        let at = time(read, read.file.first);
        self.writers.deletes.iter().any(|&index| {
            let used = &self.recorded.uses[index];
            let deleted = time(used, used.file.last);
            used.location == write.location && written < deleted && deleted <= at
        })
    }

    /// The last write before the read, by the clock of one boot.
    fn of_same_boot(&self, read: &Use) -> Option<(usize, &'a Use)> {
        let boot = self.task(read).boot.as_str();
        let ordered = self.writers.by_clock.get(&read.location)?.get(boot)?;
        let at = read.file.first;
        let uses = &self.recorded.uses;
        let ended = ordered
            .by_last
            .partition_point(|&index| uses[index].file.last <= at);
        let complete = ordered.by_last[..ended]
            .iter()
            .rev()
            .map(|&index| self.get(index))
            .find(|(_, write)| write.task != read.task);
        let floor = complete.map_or(0, |(_, write)| write.file.last);
        let begun = ordered
            .by_first
            .partition_point(|&index| uses[index].file.first <= at);
        let going_on = ordered.by_first[..begun]
            .iter()
            .rev()
            .map(|&index| self.get(index))
            .take_while(|(_, write)| write.file.first >= floor)
            .find(|(_, write)| {
                let is_there = write.file.last > at
                    || (write.role == Role::Ephemeral && write.file.last == at);
                write.task != read.task && is_there
            });
        going_on.or(complete)
    }

    /// The last write before the read in another boot of the same host, by wall time.
    fn of_other_boot(&self, read: &Use) -> Option<(usize, &'a Use)> {
        let boot = self.task(read).boot.as_str();
        let at = self.wall(read, read.file.first);
        let boots = self.writers.by_clock.get(&read.location)?;
        let others = boots.iter().filter(|(other, _)| *other != boot);
        others
            .flat_map(|(_, ordered)| &ordered.by_last)
            .map(|&index| self.get(index))
            .filter(|(_, write)| write.task != read.task)
            .filter_map(|(index, write)| {
                let last = self.wall(write, write.file.last);
                let first = self.wall(write, write.file.first);
                let time = [last, first].into_iter().find(|time| *time <= at)?;
                Some((time, index, write))
            })
            .max_by_key(|(time, index, _)| (*time, *index))
            .map(|(_, index, write)| (index, write))
    }

    /// Whether the read happened before the writing task, and what it started, ended.
    fn was_going_on(&self, write: &Use, read: &Use) -> bool {
        let writer = self.task(write);
        // What the task started may write after its end.
        if writer.boot == self.task(read).boot {
            let ended = writer.ended.map(|ended| ended.max(write.file.last));
            ended.is_none_or(|ended| read.file.first < ended)
        } else {
            let at = self.wall(read, read.file.first);
            let last = self.wall(write, write.file.last);
            let ended = writer.ended_at.map(|ended| i128::from(ended).max(last));
            ended.is_none_or(|ended| at < ended)
        }
    }

    /// The same from the start of another task's where that is of the same boot, so that
    /// equal stamps are equal times.
    fn wall_beside(&self, other: &Use, used: &Use, stamp: Stamp) -> i128 {
        match self.task(other).boot == self.task(used).boot {
            true => self.wall(other, stamp),
            false => self.wall(used, stamp),
        }
    }

    /// Wall time of a stamp, from the start of its task.
    fn wall(&self, used: &Use, stamp: Stamp) -> i128 {
        let task = self.task(used);
        i128::from(task.started_at) + i128::from(stamp) - i128::from(task.started)
    }
}
