//! Files of another mount namespace by the paths at which the supervisor finds them:
//! proc_pid_mountinfo(5).

use bstr::{BString, ByteSlice};
use roar_lineage::category;

use crate::proc;
use crate::sys::file;
use crate::tracee::Found;

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
    let text = std::fs::read(format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// The path at which the supervisor finds what a thread knows by another one; none where
/// the paths are the same. What is on a mount that only the thread's namespace has gets
/// that namespace's id before its path.
pub(crate) fn own_path(tid: u32, found: &Found) -> Option<BString> {
    let identity = (found.version.dev, found.version.ino);
    let is_it = |path: &[u8]| {
        file::stat_path(path).is_ok_and(|stat| (stat.version().dev, stat.version().ino) == identity)
    };
    if is_it(&found.path) {
        return None;
    }
    let theirs = of(tid);
    let mount = theirs.iter().find(|mount| mount.id == found.mount)?;
    let inside = below(&found.path, &mount.point)?;
    let inside = [mount.root.trim_end_with(|c| c == '/'), inside].concat();
    let own = of(std::process::id());
    let same = own.iter().filter(|own| own.device == mount.device);
    let paths = same.filter_map(|own| {
        let rest = below(&inside, &own.root)?;
        Some([own.point.trim_end_with(|c| c == '/'), rest].concat())
    });
    let paths: Vec<Vec<u8>> = paths.collect();
    let there = paths.iter().find(|path| is_it(path));
    match there {
        Some(path) => Some(path.as_slice().into()),
        None if paths.is_empty() => foreign(tid, &found.path),
        // Gone by now.
        None => None,
    }
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
