//! One path as one task used it: what was read there, written, and deleted.

use bstr::BString;

use super::ways::Ways;
use crate::model::{FileVersion, How, Stamp};

/// Versions of one path that one task's reads keep apart; a later one replaces the last.
const MAX_VERSIONS: usize = 16;
/// A repeated write of one path is logged again after this many nanoseconds.
const LOG_AGAIN: Stamp = 100_000_000;

/// One path as one task used it. There may be a million: what most have none of is elsewhere.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) reads: Vec<Seen>,
    pub(super) write: Option<Box<Written>>,
    pub(super) deleted: Option<Box<(FileVersion, Stamp)>>,
}

pub(super) struct Seen {
    pub(super) version: FileVersion,
    pub(super) how: Ways,
    pub(super) via: Option<Box<BString>>,
    pub(super) inferred: bool,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
}

pub(super) struct Written {
    /// What was there before the task's first touch; none when the task created it.
    before: Option<Box<FileVersion>>,
    pub(super) how: Ways,
    /// Whether the old content is certainly gone.
    pub(super) replaces: bool,
    pub(super) via: Option<Box<BString>>,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
    /// The last that was logged.
    logged: Stamp,
    /// Whether what was there is an input if it was changed.
    pub(super) derives: bool,
    /// What was there when it was last looked at.
    pub(super) left: Option<Option<FileVersion>>,
}

impl Written {
    pub(super) fn before(&self) -> Option<FileVersion> {
        self.before.as_deref().copied()
    }
}

impl Entry {
    pub(super) fn read(
        &mut self,
        version: FileVersion,
        how: How,
        via: Option<&BString>,
        inferred: bool,
        stamp: Stamp,
    ) -> bool {
        if let Some(seen) = self.reads.iter_mut().find(|seen| seen.version == version) {
            // What was recorded by the program itself comes later than it was.
            seen.first = seen.first.min(stamp);
            seen.last = seen.last.max(stamp);
            let news = seen.how.insert(how) || (seen.via.is_none() && via.is_some());
            seen.via = seen.via.take().or_else(|| via.cloned().map(Box::new));
            seen.inferred &= inferred;
            return news;
        }
        if self.reads.len() >= MAX_VERSIONS {
            self.reads.pop();
        }
        // Nearly always the only one.
        self.reads.reserve_exact(1);
        self.reads.push(Seen {
            version,
            how: how.into(),
            via: via.cloned().map(Box::new),
            inferred,
            first: stamp,
            last: stamp,
        });
        true
    }

    pub(super) fn wrote(
        &mut self,
        before: Option<FileVersion>,
        how: How,
        replaces: bool,
        via: Option<&BString>,
        stamp: Stamp,
    ) -> bool {
        let deleted = self.deleted.take();
        if let Some(write) = &mut self.write {
            let again = stamp.saturating_sub(write.logged) > LOG_AGAIN;
            let news = write.how.insert(how) || (replaces && !write.replaces);
            write.replaces |= replaces;
            write.left = None;
            write.last = stamp;
            if again || news {
                write.logged = stamp;
            }
            return again || news;
        }
        self.write = Some(Box::new(Written {
            replaces: replaces || deleted.is_some(),
            before: before.or(deleted.map(|deleted| deleted.0)).map(Box::new),
            how: how.into(),
            via: via.cloned().map(Box::new),
            first: stamp,
            last: stamp,
            logged: stamp,
            derives: false,
            left: None,
        }));
        true
    }

    /// It was handed over open for writing alone: nothing comes of it unless it is written.
    pub(super) fn derives(&mut self) {
        if let Some(write) = &mut self.write {
            write.derives = true;
        }
    }

    /// Whether this version is what was there before the task wrote: it has not, so far.
    pub(super) fn is_as_before(&self, version: FileVersion) -> bool {
        let content = |v: FileVersion| (v.dev, v.ino, v.size, v.mtime);
        self.write.as_ref().is_none_or(|write| {
            let is_same = |before| content(before) == content(version);
            !write.replaces && write.before().is_some_and(is_same)
        })
    }

    /// Whether a read that is told late was of what was there before the task wrote.
    pub(super) fn was_before(&self, version: FileVersion, stamp: Stamp) -> bool {
        let was = |write: &Written| stamp < write.first && write.before() == Some(version);
        self.write.as_deref().is_some_and(was)
    }

    /// A file that the task had not written got a second name, by which it may be changed.
    pub(super) fn shared(&mut self, version: FileVersion, stamp: Stamp) {
        self.read(version, How::Link, None, false, stamp);
        if self.write.is_none() {
            self.wrote(Some(version), How::Link, false, None, stamp);
        }
    }

    /// The file went to another path. Gives how its content came about.
    pub(super) fn moved_away(&mut self, moved: FileVersion, stamp: Stamp) -> Ways {
        let is_as_before = self.is_as_before(moved);
        match self.write.take() {
            Some(write) if !is_as_before => {
                self.deleted = write.before().map(|before| Box::new((before, stamp)));
                let mut how = write.how;
                how.insert(How::Rename);
                how
            }
            _ => {
                self.read(moved, How::Rename, None, false, stamp);
                self.deleted = Some(Box::new((moved, stamp)));
                How::Rename.into()
            }
        }
    }

    /// Other content came to this path.
    pub(super) fn replaced(&mut self, there: Option<FileVersion>, how: Ways, stamp: Stamp) {
        let deleted = self.deleted.take().map(|deleted| deleted.0);
        let (before, first) = match self.write.take() {
            Some(write) => (write.before(), write.first),
            None => (deleted.or(there), stamp),
        };
        self.write = Some(Box::new(Written {
            before: before.map(Box::new),
            how,
            replaces: true,
            via: None,
            first,
            last: stamp,
            logged: stamp,
            derives: false,
            left: None,
        }));
    }

    pub(super) fn is_executed(&self) -> bool {
        let ways = [How::Exec, How::Import];
        self.reads
            .iter()
            .any(|seen| ways.iter().any(|how| seen.how.contains(*how)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.write.is_none() && self.deleted.is_none()
    }
}
