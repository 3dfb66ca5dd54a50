//! Files of other mount namespaces, and of mounts that the command makes, by the paths at which
//! the supervisor finds them: proc_pid_mountinfo(5).

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bstr::{BString, ByteSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roar_lineage::category;

use crate::proc;
use crate::sys::file;
use crate::tracee::{FileType, Found};

/// One line of mountinfo.
pub(crate) struct Mount {
    /// Its id.
    pub(crate) id: u64,
    /// `major:minor`.
    device: BString,
    /// Which directory of the file system is mounted.
    root: BString,
    /// Where.
    pub(crate) point: BString,
    /// Type of the file system.
    pub(crate) kind: BString,
}

/// The mounts that a thread sees.
pub(crate) fn of(tid: u32) -> Vec<Mount> {
    let text = proc::read(&format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// The mounts that were there when this was first called; none: nobody tells. That of a root
/// directory which is no mount's own is not listed (proc_pid_mountinfo(5)).
static FIRST: LazyLock<HashSet<u64>> = LazyLock::new(|| {
    let mut first: HashSet<u64> = own().iter().map(|mount| mount.id).collect();
    if !first.is_empty() {
        first.extend(file::stat_path(b"/").map(|root| root.mount));
    }
    first
});

/// What the gap for files of such a mount is called.
pub(crate) const DETACHED: &str = "files of a mount that the program has in no directory";
/// Whether a file of a mount that is in no directory was met.
static IS_DETACHED: AtomicBool = AtomicBool::new(false);

/// What is mounted now was there before the command, which may mount more.
pub(crate) fn begin() {
    LazyLock::force(&FIRST);
}

/// Whether a mount was there before the command.
pub(crate) fn was_there(id: u64) -> bool {
    FIRST.is_empty() || FIRST.contains(&id)
}

/// The supervisor's own mounts, until something is mounted or unmounted.
struct Own {
    /// `/proc/self/mountinfo`, which tells of changes (proc_pid_mounts(5)).
    table: File,
    mounts: Rc<Vec<Mount>>,
    /// Those that are new, of file systems that no earlier mount shows: a file on them has no
    /// other path.
    alone: HashSet<u64>,
}

impl Own {
    fn new() -> Option<Self> {
        let table = File::open("/proc/self/mountinfo").ok()?;
        let mut own = Self {
            table,
            mounts: Rc::default(),
            alone: HashSet::new(),
        };
        own.read();
        Some(own)
    }

    fn read(&mut self) {
        self.mounts = Rc::new(of(std::process::id()));
        self.alone.clear();
    }

    fn read_if_changed(&mut self) {
        let mut table = [PollFd::new(self.table.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut table, PollTimeout::ZERO) != Ok(0) {
            self.read();
        }
    }

    /// Whether a file on a mount has no other path, which is remembered.
    fn knows_alone(&mut self, mount: &Mount) -> bool {
        let mut same = self.mounts.iter().filter(|own| own.device == mount.device);
        let is_earlier = same.clone().any(|own| was_there(own.id));
        let is_alone = !is_earlier && same.any(|own| own.id == mount.id);
        if is_alone {
            self.alone.insert(mount.id);
        }
        is_alone
    }
}

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

fn with_own<T>(ask: impl FnOnce(&mut Own) -> T) -> Option<T> {
    OWN.with_borrow_mut(|own| {
        if own.is_none() {
            *own = Own::new();
        }
        own.as_mut().map(|own| {
            own.read_if_changed();
            ask(own)
        })
    })
}

/// The mounts that the supervisor sees.
fn own() -> Rc<Vec<Mount>> {
    with_own(|own| own.mounts.clone()).unwrap_or_else(|| Rc::new(of(std::process::id())))
}

/// Whether the files of a mount that the supervisor sees have one path alone, and keep it.
pub(crate) fn has_one_path(id: u64) -> bool {
    was_there(id) || with_own(|own| own.alone.contains(&id)) == Some(true)
}

/// Whether something was mounted since.
pub(crate) fn is_changed() -> bool {
    own().iter().any(|mount| !was_there(mount.id))
}

/// Whether a file was met since this was last asked that no path leads to: its mount is in no
/// directory (open_tree(2), `umount -l`).
pub(crate) fn was_detached() -> bool {
    IS_DETACHED.swap(false, Ordering::Relaxed)
}

/// A file of a mount that is in no directory.
pub(crate) struct Detached;

/// The path at which the supervisor finds what a thread knows by another one, and finds it still
/// when what the command has mounted is gone; none where the paths are the same. What is on a
/// mount that only the thread's namespace has gets that namespace's id before its path.
pub(crate) fn own_path<'a>(
    tid: u32,
    found: &Found,
    theirs: impl FnOnce() -> &'a [Mount],
) -> Result<Option<BString>, Detached> {
    let identity = (found.version.dev, found.version.ino);
    let is_it = |path: &[u8]| {
        file::stat_path(path).is_ok_and(|stat| {
            (stat.version().dev, stat.version().ino) == identity && was_there(stat.mount)
        })
    };
    if is_it(&found.path) {
        return Ok(None);
    }
    let theirs = theirs();
    let root = proc::link(tid, "root").unwrap_or_default();
    let Some(mount) = theirs.iter().find(|mount| mount.id == found.mount) else {
        // The kernel's own, of memfd_create(2) and pipes, are in no directory either; and what is
        // around a root directory is not listed.
        let is_kernels = found.links == 0 || found.file_type == FileType::Other;
        if is_kernels || was_there(found.mount) || root != "/" {
            return Ok(None);
        }
        IS_DETACHED.store(true, Ordering::Relaxed);
        return Err(Detached);
    };
    // Below another root the points are told from there.
    let point = [root.trim_end_with(|c| c == '/'), &mount.point].concat();
    let Some(inside) = below(&found.path, &point) else {
        return Ok(None);
    };
    let inside = [mount.root.trim_end_with(|c| c == '/'), inside].concat();
    begin();
    let is_alone = with_own(|own| own.knows_alone(mount));
    if is_alone == Some(true) {
        return Ok(None);
    }
    let own = own();
    let same = own.iter().filter(|own| own.device == mount.device);
    let paths = same.filter_map(|own| {
        let rest = below(&inside, &own.root)?;
        Some([own.point.trim_end_with(|c| c == '/'), rest].concat())
    });
    let paths: Vec<Vec<u8>> = paths.collect();
    let there = paths.iter().find(|path| is_it(path));
    Ok(match there {
        Some(path) => Some(path.as_slice().into()),
        None if paths.is_empty() => foreign(tid, &found.path),
        // Gone by now.
        None => None,
    })
}

/// A path as only another mount namespace has it.
fn foreign(tid: u32, path: &[u8]) -> Option<BString> {
    let namespace = proc::link(tid, "ns/mnt")?;
    let is_own = proc::link(std::process::id(), "ns/mnt").is_some_and(|own| own == namespace);
    (!is_own).then(|| [b"/", namespace.as_slice(), path].concat().into())
}

/// Whether a path is one that only another mount namespace has.
pub(crate) fn is_foreign(path: &[u8]) -> bool {
    path.starts_with(category::FOREIGN)
}

/// What of a path is below a directory, with its slash.
fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory.trim_end_with(|c| c == '/'))?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

fn parse(line: &[u8]) -> Option<Mount> {
    let (line, source) = line.split_once_str(b" - ")?;
    let kind = source.split(|byte| *byte == b' ').next()?.into();
    let mut fields = line.split(|byte| *byte == b' ');
    let id = fields.next()?.to_str().ok()?.parse().ok()?;
    let device = fields.nth(1)?.into();
    let root = unescaped(fields.next()?);
    let point = unescaped(fields.next()?);
    Some(Mount {
        id,
        device,
        root,
        point,
        kind,
    })
}

/// Spaces, tabs, newlines and backslashes are octal numbers there.
fn unescaped(field: &[u8]) -> BString {
    let escapes = [
        (" ", "\\040"),
        ("\t", "\\011"),
        ("\n", "\\012"),
        ("\\", "\\134"),
    ];
    let mut text = field.to_vec();
    for (character, escape) in escapes {
        text = text.replace(escape, character);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!((mount.id, mount.device.as_slice()), (36, &b"98:0"[..]));
        assert_eq!((mount.root, mount.point), ("/mnt1".into(), "/mnt 2".into()));
        assert_eq!(mount.kind, "ext3");
        assert_eq!(below(b"/mnt/a", b"/mnt"), Some(&b"/a"[..]));
        assert_eq!(below(b"/mnt2", b"/mnt"), None);
        assert_eq!(below(b"/a", b"/"), Some(&b"/a"[..]));
    }
}
