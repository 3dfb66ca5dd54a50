//! FUSE file systems that a process of the traced tree serves. Whoever looks at a file of
//! theirs waits for that process, which may be waiting for the supervisor's answer.

use std::cell::Cell;
use std::collections::HashSet;

use bstr::{BString, ByteSlice};

use crate::mounts::{self, Mount};

/// All FUSE mounts but those that were there before the tree served one.
#[derive(Debug)]
pub struct Served {
    before: HashSet<u64>,
    was_met: Cell<bool>,
}

impl Served {
    /// Called when a process of the tree is about to become a server: what is mounted now
    /// is not its own.
    pub fn begin() -> Self {
        Self {
            before: fuse_mounts(std::process::id())
                .map(|mount| mount.id)
                .collect(),
            was_met: Cell::new(false),
        }
    }

    /// Whether a thread's absolute path leads to such a mount, symbolic links aside.
    pub fn has(&self, tid: u32, path: &[u8]) -> bool {
        let path = without_dots(path);
        let is_below = |point: &BString| {
            path.strip_prefix(point.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let is_new = |mount: &Mount| !self.before.contains(&mount.id);
        let has = fuse_mounts(tid).any(|mount| is_new(&mount) && is_below(&mount.point));
        self.was_met.set(self.was_met.get() || has);
        has
    }

    /// Whether one was met since this was last asked.
    pub fn was_met(&self) -> bool {
        self.was_met.replace(false)
    }
}

/// The FUSE mounts that a thread sees.
fn fuse_mounts(tid: u32) -> impl Iterator<Item = Mount> {
    let all = mounts::of(tid).into_iter();
    all.filter(|mount| mount.kind.starts_with(b"fuse"))
}

/// A path without `.` and `..`.
fn without_dots(path: &[u8]) -> BString {
    let mut clean = BString::default();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let parent = clean.rfind_byte(b'/').unwrap_or(0);
                clean.truncate(parent);
            }
            part => {
                clean.push(b'/');
                clean.extend_from_slice(part);
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_taken_out() {
        assert_eq!(without_dots(b"/a/./b//../c"), "/a/c");
        assert_eq!(without_dots(b"/../.."), "");
    }
}
