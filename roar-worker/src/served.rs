//! FUSE file systems that a process of the traced tree serves. Whoever looks at a file of
//! theirs waits for that process, which may be waiting for the supervisor's answer.

use std::cell::Cell;
use std::collections::HashSet;

use bstr::{BString, ByteSlice};

use crate::proc;

/// All FUSE mounts but those that were there before the tree served one.
#[derive(Debug)]
pub struct Served {
    before: HashSet<BString>,
    was_met: Cell<bool>,
}

impl Served {
    /// Called when a process of the tree is about to become a server: what is mounted now
    /// is not its own.
    pub fn begin() -> Self {
        let mounts = fuse_mounts(std::process::id());
        Self {
            before: mounts.into_iter().map(|(id, _)| id).collect(),
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
        let mut mounts = fuse_mounts(tid).into_iter();
        let has = mounts.any(|(id, point)| !self.before.contains(&id) && is_below(&point));
        self.was_met.set(self.was_met.get() || has);
        has
    }

    /// Whether one was met since this was last asked.
    pub fn was_met(&self) -> bool {
        self.was_met.replace(false)
    }
}

/// The FUSE mounts that a thread sees, by id and mount point (proc_pid_mountinfo(5)).
fn fuse_mounts(tid: u32) -> Vec<(BString, BString)> {
    let content = proc::mount_information(tid);
    let fuse = |line: &[u8]| {
        let (mount, source) = line.split_once_str(b" - ")?;
        let mut fields = mount.split_str(b" ");
        let (id, point) = (fields.next()?, fields.nth(3)?);
        source
            .starts_with(b"fuse")
            .then(|| (id.into(), unescaped(point)))
    };
    content.lines().filter_map(fuse).collect()
}

/// Without the octal escapes of space, tab, newline and backslash.
fn unescaped(field: &[u8]) -> BString {
    let escapes: [(&str, &str); 4] = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let all = escapes.iter();
    all.fold(field.to_vec(), |field, (from, to)| field.replace(from, to))
        .into()
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
    fn dots_and_escapes_are_taken_out() {
        assert_eq!(without_dots(b"/a/./b//../c"), "/a/c");
        assert_eq!(without_dots(b"/../.."), "");
        assert_eq!(unescaped(b"/a\\040b\\134"), "/a b\\");
    }
}
