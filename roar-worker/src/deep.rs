//! Directories that are deeper than a path may be long (PATH_MAX): reached step by step,
//! by chdir(2) or openat(2). The kernel has no name for them; their parents do.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;

use bstr::BString;
use nix::fcntl::readlink;

use crate::sys::file;

/// Steps up before it is given up.
const MAX_STEPS: usize = 10_000;

/// The path of a directory whose own the kernel does not give.
pub(crate) fn path(directory: BorrowedFd<'_>) -> Option<BString> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut at = directory.try_clone_to_owned().ok()?;
    for _ in 0..MAX_STEPS {
        let own = file::stat(at.as_fd()).ok()?;
        let link = format!("/proc/self/fd/{}", at.as_raw_fd());
        let up = file::open_path(format!("{link}/..").as_bytes(), libc::O_DIRECTORY).ok()?;
        let link = format!("/proc/self/fd/{}", up.as_raw_fd());
        let entries = std::fs::read_dir(&link).ok()?;
        let is_it = |entry: &std::fs::DirEntry| {
            let stat = file::stat_name(up.as_fd(), entry.file_name().as_bytes());
            entry.ino() == own.ino && stat.is_ok_and(|stat| stat.dev == own.dev)
        };
        let entry = entries.flatten().find(is_it)?;
        names.push(entry.file_name().as_bytes().to_owned());
        if let Ok(start) = readlink(link.as_str()) {
            names.push(start.as_bytes().to_owned());
            names.reverse();
            return Some(bstr::join("/", &names).into());
        }
        at = up;
    }
    None
}
