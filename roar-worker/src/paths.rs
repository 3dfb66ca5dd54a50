//! Paths as bytes.

use bstr::ByteSlice;

use crate::sys::file::{self, Stat};

/// The directory of a canonical path.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    match path.rfind_byte(b'/') {
        Some(0) | None => b"/",
        Some(at) => path.get(..at).unwrap_or_default(),
    }
}

/// The directory and the last name of a path; none when that is no name.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = path.trim_end_with(|c| c == '/');
    let (parent, name) = match path.rfind_byte(b'/') {
        Some(0) => (&b"/"[..], path.get(1..)?),
        Some(at) => (path.get(..at)?, path.get(at + 1..)?),
        None => (&b"."[..], path),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some((parent, name))
}

/// Whether an absolute path is in the form that the kernel would give it, symbolic links
/// aside: no empty, `.` or `..` component, none of `/proc` and `/dev`, which mean
/// something else to each process.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else {
        return false;
    };
    let foreign: [&[u8]; 2] = [b"proc/", b"dev/"];
    !foreign.iter().any(|prefix| rest.starts_with(prefix))
        && rest
            .split(|byte| *byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b".."))
}

/// The name that a file had, where the kernel gives one that is gone: it then puts
/// ` (deleted)` behind it (d_path in `fs/d_path.c`), which may also be a part of a name.
pub(crate) fn of_deleted<'a>(path: &'a [u8], stat: &Stat) -> Option<&'a [u8]> {
    let name = path.strip_suffix(b" (deleted)")?;
    let is_it = |there: Stat| (there.dev, there.ino) == (stat.dev, stat.ino);
    let is_name = file::stat_path(path).is_ok_and(is_it);
    (!is_name).then_some(name)
}

/// Whether this is the kernel's name for a file that never had one: of memfd_create(2),
/// of O_TMPFILE.
pub(crate) fn is_unnamed(path: &[u8], links: u64, ino: u64) -> bool {
    links == 0 && (path.starts_with(b"/memfd:") || path.ends_with(format!("/#{ino}").as_bytes()))
}
