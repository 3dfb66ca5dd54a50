//! Paths that mean something else to a thread than to the supervisor, followed step by step:
//! through `/proc/self`, through the links of `/proc/PID` that the kernel itself follows, and
//! below another root directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::fcntl::readlinkat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::sys::file;

/// Symbolic links that may be on the way (path_resolution(7)).
pub(crate) const MAX_LINKS: usize = 40;

/// Whose path it is.
pub(crate) struct Walker {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// Its root directory.
    pub(crate) root: OwnedFd,
}

impl Walker {
    /// Opens a path from a directory as the thread would, from its root where the path is
    /// absolute; `flags` as of `O_PATH`.
    pub(crate) fn open(
        &self,
        start: Option<OwnedFd>,
        path: &[u8],
        flags: i32,
    ) -> io::Result<OwnedFd> {
        let mut at = match start.filter(|_| !path.starts_with(b"/")) {
            Some(start) => start,
            None => self.root.try_clone()?,
        };
        let follows = flags & libc::O_NOFOLLOW == 0 || path.ends_with(b"/");
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." && self.is_root(&at)? {
                continue;
            }
            let next = file::open_path_under(at.as_fd(), &name, libc::O_NOFOLLOW, 0)?;
            let is_link = file::stat(next.as_fd())?.mode & libc::S_IFMT == libc::S_IFLNK;
            if !is_link || (rest.is_empty() && !follows) {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            if let Some(there) = self.through_proc(&at, &name)? {
                at = there;
                continue;
            }
            let target = readlinkat(at.as_fd(), OsStr::from_bytes(&name))?.into_vec();
            if target.starts_with(b"/") {
                at = self.root.try_clone()?;
            }
            rest.extend(names(&target));
        }
        match flags & libc::O_DIRECTORY != 0 || path.ends_with(b"/") {
            true => file::open_path_under(at.as_fd(), b".", libc::O_DIRECTORY, 0),
            false => Ok(at),
        }
    }

    /// Where a link leads that the kernel follows by what it stands for, not by its text.
    fn through_proc(&self, at: &OwnedFd, name: &[u8]) -> io::Result<Option<OwnedFd>> {
        if fstatfs(at)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Ok(None);
        }
        let own = match name {
            b"self" => format!("/proc/{}", self.pid),
            b"thread-self" => format!("/proc/{}/task/{}", self.pid, self.tid),
            _ => {
                let text = file::open_path_under(at.as_fd(), name, 0, libc::RESOLVE_NO_MAGICLINKS);
                let is_magic = text.is_err_and(|error| error.raw_os_error() == Some(libc::ELOOP));
                let there = is_magic.then(|| file::open_path_under(at.as_fd(), name, 0, 0));
                return there.transpose();
            }
        };
        file::open_path(own.as_bytes(), libc::O_DIRECTORY).map(Some)
    }

    fn is_root(&self, at: &OwnedFd) -> io::Result<bool> {
        let [there, root] = [file::stat(at.as_fd())?, file::stat(self.root.as_fd())?];
        Ok((there.dev, there.ino, there.mount) == (root.dev, root.ino, root.mount))
    }
}

/// The names in a path, the last first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.rsplit(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    names.map(<[u8]>::to_vec).collect()
}
