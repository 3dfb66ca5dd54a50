//! From a task's entries to the uses that a fragment lists.

use std::collections::BTreeSet;

use bstr::BString;

use super::Accumulator;
use super::entry::{Entry, Written};
use crate::event::{Outcome, TaskNo};
use crate::fragment::{Ephemeral, Fragment};
use crate::model::{FileState, FileUse, FileVersion, How, TaskKind, WallTime};

/// A ctime that is older than this (nanoseconds) when a task begins is another after any
/// change by the task: more than the granularity of the kernel's clock.
const TICK: WallTime = 20_000_000;

impl Accumulator {
    pub(super) fn add_uses(
        &self,
        no: TaskNo,
        fragment: &mut Fragment,
        path: &BString,
        entry: &Entry,
    ) {
        let category = self.classifier.category(path, entry.is_executed());
        // What a worker does on its own account is thousands of its own files.
        if fragment.task.kind == TaskKind::Worker && !category.is_hashed() {
            return;
        }
        let blank = |version: Option<FileVersion>, first, last| {
            let outcome = version.and_then(|version| self.digests.get(version));
            let (digest, state) = match outcome {
                Some(Outcome::Exact(digest)) => (Some(digest), FileState::Exact),
                Some(Outcome::None(state)) => (None, state),
                None => (None, FileState::Skipped),
            };
            FileUse {
                path: path.clone(),
                digest,
                size: version.map(|version| version.size),
                state,
                category,
                how: BTreeSet::new(),
                via: None,
                unchanged: false,
                inferred: false,
                version,
                object: None,
                first,
                last,
            }
        };
        for seen in &entry.reads {
            fragment.reads.push(FileUse {
                how: seen.how.to_set(),
                via: seen.via.as_deref().cloned(),
                inferred: seen.inferred,
                ..blank(Some(seen.version), seen.first, seen.last)
            });
        }
        if let Some((version, at)) = entry.deleted.as_deref().copied() {
            let mut file = blank(Some(version), at, at);
            if file.state == FileState::Skipped {
                file.state = FileState::Missing;
            }
            fragment.deletes.push(file);
        }
        let Some(write) = &entry.write else { return };
        if write.left == Some(None) {
            // Somebody else took it away, nobody knows when: it may have been there up to the end.
            let ended = fragment.task.ended.unwrap_or_default();
            fragment.ephemerals.push(Ephemeral {
                path: path.clone(),
                version: None,
                object: None,
                first: write.first,
                last: write.last.max(ended),
            });
            return;
        }
        let began = fragment.task.started_at;
        let left = write.left.flatten();
        let unchanged = match (write.before(), left) {
            (Some(before), Some(left)) if self.is_untouched(write, before, left, began) => return,
            (Some(before), Some(left)) => {
                let old = self.digests.get(before);
                matches!(old, Some(Outcome::Exact(_))) && old == self.digests.get(left)
            }
            _ => false,
        };
        let is_told = |before| entry.reads.iter().any(|seen| seen.version == before);
        if let Some(before) = write.before().filter(|it| write.derives && !is_told(*it)) {
            fragment.reads.push(FileUse {
                how: [How::Inherited].into(),
                ..blank(Some(before), write.first, write.first)
            });
        }
        let mut file = blank(left, write.first, write.last);
        if write.left.is_none() && !self.wrote_last(no, path) {
            file.state = FileState::Superseded;
        }
        fragment.writes.push(FileUse {
            how: write.how.to_set(),
            via: write.via.as_deref().cloned(),
            unchanged,
            ..file
        });
    }

    /// Opened for writing, and size, mtime and content are as before; or the call failed
    /// for a reason that was not to be seen.
    fn is_untouched(
        &self,
        write: &Written,
        before: FileVersion,
        left: FileVersion,
        began: WallTime,
    ) -> bool {
        if write.replaces {
            return before == left && before.ctime.saturating_add(TICK) < began;
        }
        if (before.dev, before.ino, before.size, before.mtime)
            != (left.dev, left.ino, left.size, left.mtime)
        {
            return false;
        }
        match (self.digests.get(before), self.digests.get(left)) {
            (Some(Outcome::Exact(old)), Some(Outcome::Exact(new))) => old == new,
            // The mtime may have been set back, the ctime not.
            _ => before.ctime == left.ctime || self.moved_ctimes.contains(&(left.dev, left.ino)),
        }
    }
}
