//! Objects of object stores as one task used them: the rules of files, with the versions
//! that the store names in place of inodes. What a store did is certain when its answer
//! is seen, so nothing is looked at again when the task ends.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::{Accumulator, note_writer};
use crate::event::TaskNo;
use crate::fragment::{Ephemeral, Fragment};
use crate::model::{Category, FileState, FileUse, How, Stamp};
use crate::s3::{ObjectAccess, ObjectAction, ObjectInfo, ObjectVersion};

/// Versions of one URL that are kept apart, of those read and of those written by one
/// task; a later one replaces the last.
const MAX_VERSIONS: usize = 16;
/// Ranges kept for one read. More are joined over the smallest gaps between them.
const MAX_RANGES: usize = 64;

/// The objects that one task used.
#[derive(Default)]
pub(super) struct Objects {
    by_url: BTreeMap<BString, Object>,
    is_seen: bool,
}

#[derive(Default)]
struct Object {
    reads: Vec<Read>,
    write: Option<Write>,
    /// What the task itself wrote, as long as it lasted or not.
    own: Vec<ObjectVersion>,
    deleted: Option<Deleted>,
}

struct Read {
    version: ObjectVersion,
    /// None when all of it was read.
    ranges: Option<Vec<(u64, u64)>>,
    first: Stamp,
    last: Stamp,
}

struct Write {
    left: ObjectVersion,
    how: BTreeSet<How>,
    first: Stamp,
    last: Stamp,
}

#[derive(Clone, Copy)]
enum Deleted {
    /// What the task had made: nothing was there before that it knew of.
    Own,
    /// What others had made.
    Foreign(Stamp),
}

impl Accumulator {
    pub(super) fn object(&mut self, no: TaskNo, stamp: Stamp, access: &ObjectAccess) -> bool {
        let Some(state) = self.tasks.get_mut(&no) else {
            return false;
        };
        let is_first = !std::mem::replace(&mut state.s3.is_seen, true);
        let (url, version) = (&access.url, &access.version);
        let how = match access.action {
            ObjectAction::Look => return is_first,
            ObjectAction::Get(range) => {
                let range = range.filter(|(first, last)| first <= last);
                let is_last_writer = self.writers.get(url) == Some(&no);
                let object = state.s3.by_url.entry(url.clone()).or_default();
                return object.read(version, range, is_last_writer, stamp) || is_first;
            }
            ObjectAction::Delete => {
                let is_others = self.writers.remove(url).is_some_and(|writer| writer != no);
                let object = state.s3.by_url.entry(url.clone()).or_default();
                let (gone, is_news) = object.delete(is_others, stamp);
                if let Some(write) = gone {
                    state.ephemeral(Ephemeral {
                        path: url.clone(),
                        version: None,
                        object: Some(Box::new(info(&write.left, &[]))),
                        first: write.first,
                        last: stamp,
                    });
                }
                return is_news || is_first;
            }
            ObjectAction::Put => How::Put,
            ObjectAction::Copy => How::Copy,
            ObjectAction::Multipart => How::Multipart,
        };
        note_writer(&mut self.writers, url, no);
        let object = state.s3.by_url.entry(url.clone()).or_default();
        if let Some((left, first)) = object.write(version, how, stamp) {
            state.remember(Ephemeral {
                path: url.clone(),
                version: None,
                object: Some(Box::new(info(&left, &[]))),
                first,
                last: stamp,
            });
        }
        true
    }
}

impl Object {
    fn read(
        &mut self,
        version: &ObjectVersion,
        range: Option<(u64, u64)>,
        is_last_writer: bool,
        stamp: Stamp,
    ) -> bool {
        let is_same = |known: &ObjectVersion| known.identity().is(version.identity());
        if let Some(known) = self.own.iter_mut().find(|own| is_same(own) == Some(true)) {
            let is_left = |write: &&mut Write| is_same(&write.left) == Some(true);
            let left = self.write.as_mut().filter(is_left);
            let has_learnt = left.is_some_and(|write| write.left.learn(version));
            return known.learn(version) || has_learnt;
        }
        let left = self.write.as_ref().map(|write| &write.left);
        if is_last_writer && left.is_some_and(|left| is_same(left).is_none()) {
            return false;
        }
        let is_unknown = version.identity().is_unknown();
        let is_one = |seen: &&mut Read| match is_same(&seen.version) {
            Some(is_same) => is_same,
            None => is_unknown && seen.version.identity().is_unknown(),
        };
        if let Some(seen) = self.reads.iter_mut().find(is_one) {
            seen.first = seen.first.min(stamp);
            seen.last = seen.last.max(stamp);
            let has_learnt = seen.version.learn(version);
            return seen.add(range) || has_learnt;
        }
        if matches!(self.deleted, Some(Deleted::Own)) {
            self.deleted = None;
        }
        if self.reads.len() >= MAX_VERSIONS {
            self.reads.pop();
        }
        self.reads.push(Read {
            version: version.clone(),
            ranges: range.map(|range| vec![range]),
            first: stamp,
            last: stamp,
        });
        true
    }

    /// The version that the task itself had left before, if it has a name, and when.
    fn write(
        &mut self,
        version: &ObjectVersion,
        how: How,
        stamp: Stamp,
    ) -> Option<(ObjectVersion, Stamp)> {
        if self.own.len() >= MAX_VERSIONS {
            self.own.pop();
        }
        self.own.push(version.clone());
        let write = self.write.get_or_insert_with(|| Write {
            left: version.clone(),
            how: BTreeSet::new(),
            first: stamp,
            last: stamp,
        });
        let replaced = std::mem::replace(&mut write.left, version.clone());
        let at = write.last;
        write.how.insert(how);
        write.first = write.first.min(stamp);
        write.last = write.last.max(stamp);
        let is_same = replaced.identity().is(version.identity());
        (is_same == Some(false)).then_some((replaced, at))
    }

    /// What the task had written where nothing was before, and whether anything changed.
    /// `is_others`: another task has written last.
    fn delete(&mut self, is_others: bool, stamp: Stamp) -> (Option<Write>, bool) {
        let write = self.write.take();
        let has_made = match self.deleted {
            Some(Deleted::Own) => true,
            Some(Deleted::Foreign(_)) => false,
            None => write.is_some() && self.reads.is_empty(),
        };
        let is_news = write.is_some() || self.deleted.is_none() || is_others;
        if is_news {
            self.deleted = Some(if has_made && !is_others {
                Deleted::Own
            } else {
                Deleted::Foreign(stamp)
            });
        }
        (write.filter(|_| has_made), is_news)
    }
}

impl Read {
    fn add(&mut self, range: Option<(u64, u64)>) -> bool {
        match (&mut self.ranges, range) {
            (None, _) => false,
            (ranges, None) => {
                *ranges = None;
                true
            }
            (Some(ranges), Some(range)) => add_range(ranges, range),
        }
    }
}

/// Adds a range to ranges that are in order and apart. False when they had it.
fn add_range(ranges: &mut Vec<(u64, u64)>, (first, last): (u64, u64)) -> bool {
    if ranges.iter().any(|&(from, to)| from <= first && last <= to) {
        return false;
    }
    // Those before and those after that do not even touch it.
    let start = ranges.partition_point(|&(_, to)| to.saturating_add(1) < first);
    let end = ranges.partition_point(|&(from, _)| from <= last.saturating_add(1));
    let joined = ranges[start..end]
        .iter()
        .fold((first, last), |(first, last), &(from, to)| {
            (first.min(from), last.max(to))
        });
    ranges.splice(start..end, [joined]);
    if ranges.len() > MAX_RANGES {
        let gap = |at: &usize| ranges[at + 1].0 - ranges[*at].1;
        if let Some(at) = (0..ranges.len() - 1).min_by_key(gap) {
            let (_, to) = ranges.remove(at + 1);
            ranges[at].1 = to;
        }
    }
    true
}

fn info(version: &ObjectVersion, ranges: &[(u64, u64)]) -> ObjectInfo {
    ObjectInfo {
        etag: version.etag.clone(),
        version_id: version.version_id.clone(),
        checksums: version.checksums.clone(),
        ranges: ranges.to_vec(),
    }
}

impl Objects {
    /// Whether any request was seen.
    pub(super) fn is_seen(&self) -> bool {
        self.is_seen
    }

    pub(super) fn add_uses(&self, fragment: &mut Fragment) {
        for (url, object) in &self.by_url {
            let used = |version: &ObjectVersion, ranges: &[(u64, u64)], first, last| FileUse {
                path: url.clone(),
                digest: version.digest,
                size: version.size,
                state: match version.digest {
                    Some(_) => FileState::Exact,
                    None => FileState::Skipped,
                },
                category: Category::Data,
                how: BTreeSet::from([How::Get]),
                via: None,
                unchanged: false,
                inferred: false,
                version: None,
                object: Some(Box::new(info(version, ranges))),
                first,
                last,
            };
            for seen in &object.reads {
                let ranges = seen.ranges.as_deref().unwrap_or_default();
                let file = used(&seen.version, ranges, seen.first, seen.last);
                fragment.reads.push(file);
            }
            if let Some(write) = &object.write {
                fragment.writes.push(FileUse {
                    how: write.how.clone(),
                    ..used(&write.left, &[], write.first, write.last)
                });
            } else if let Some(Deleted::Foreign(at)) = object.deleted {
                fragment.deletes.push(FileUse {
                    how: BTreeSet::new(),
                    state: FileState::Missing,
                    ..used(&ObjectVersion::default(), &[], at, at)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_each_byte_that_was_read_and_touch_nowhere(
            added in prop::collection::vec((0u64..300, 0u64..6), 1..120),
        ) {
            let mut ranges = Vec::new();
            for &(first, length) in &added {
                let range = (first, first + length);
                let known = ranges.clone();
                prop_assert_eq!(add_range(&mut ranges, range), ranges != known);
                prop_assert!(!add_range(&mut ranges, range));
            }
            let is_within = |byte| ranges.iter().any(|&(from, to)| from <= byte && byte <= to);
            for &(first, length) in &added {
                prop_assert!((first..=first + length).all(is_within));
            }
            prop_assert!(ranges.len() <= MAX_RANGES);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
