//! From a path as a thread gives it to the file that it leads to.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bstr::{BString, ByteSlice};
use nix::fcntl::{AT_FDCWD, readlink, readlinkat};

use crate::deep;
use crate::live::LiveTracee;
use crate::mounts::{self, Mount};
use crate::paths::{self, is_plain, parent, split};
use crate::sys::file::{self, Stat};
use crate::tracee::{Base, FileType, Found, Lookup};
use crate::walk::{MAX_LINKS, Walker};

impl LiveTracee<'_> {
    /// The path by which the supervisor reaches what `path` means to the thread.
    fn reachable(&self, base: Base, path: &[u8]) -> BString {
        let (pid, tid) = (self.pid, self.tid);
        let mut reachable = BString::default();
        let own = [
            (&b"/proc/self/"[..], format!("/proc/{pid}/")),
            (b"/proc/thread-self/", format!("/proc/{pid}/task/{tid}/")),
            (b"/dev/fd/", format!("/proc/{pid}/fd/")),
        ];
        for (prefix, replacement) in own {
            if let Some(rest) = path.strip_prefix(prefix) {
                reachable.extend_from_slice(replacement.as_bytes());
                reachable.extend_from_slice(rest);
                return reachable;
            }
        }
        let standard = match path {
            b"/dev/stdin" => Some(0),
            b"/dev/stdout" => Some(1),
            b"/dev/stderr" => Some(2),
            _ => None,
        };
        if let Some(fd) = standard {
            return format!("/proc/{pid}/fd/{fd}").into();
        }
        if !path.starts_with(b"/") {
            let base = match base {
                Base::Cwd => format!("/proc/{tid}/cwd/"),
                Base::Descriptor(fd) => format!("/proc/{tid}/fd/{fd}/"),
            };
            reachable.extend_from_slice(base.as_bytes());
        }
        reachable.extend_from_slice(path);
        reachable
    }

    /// Opens a path as the thread would.
    fn open(&self, base: Base, path: &[u8], flags: i32) -> std::io::Result<OwnedFd> {
        self.follow(base, path, flags).map(|(fd, _)| fd)
    }

    /// The same, and whether links may have led there. What the kernel would follow by our own
    /// `/proc/self` or root directory is followed step by step.
    fn follow(&self, base: Base, path: &[u8], flags: i32) -> std::io::Result<(OwnedFd, bool)> {
        let root = || match self.is_elsewhere {
            true => file::open_path(format!("/proc/{}/root", self.tid).as_bytes(), 0),
            false => file::open_path(b"/", 0),
        };
        let is_absolute = path.starts_with(b"/");
        let start = match (self.is_elsewhere, is_absolute) {
            (_, false) => Some(self.base(base)?),
            (true, true) => Some(root()?),
            (false, true) => None,
        };
        let start = match start {
            Some(start) if path == b"." => return Ok((start, false)),
            start => start,
        };
        let from = start.as_ref().map_or(AT_FDCWD, AsFd::as_fd);
        let directly = |resolve: u64| file::open_path_under(from, path, flags, resolve);
        let plainly = || directly(libc::RESOLVE_NO_SYMLINKS);
        // A container's policy may not know openat2(2).
        let by_name = || Ok((file::open_path(&self.reachable(base, path), flags)?, true));
        // A plain one was tried so before.
        if !self.is_elsewhere && !is_plain(path) {
            match plainly().map_err(|error| (error.raw_os_error(), error)) {
                Ok(fd) => return Ok((fd, false)),
                Err((Some(libc::ENOENT), error)) => return Err(error),
                Err((Some(libc::ENOSYS | libc::EPERM), _)) => return by_name(),
                Err(_) => {}
            }
        }
        let opened = match (self.is_elsewhere, is_absolute) {
            (false, _) => directly(libc::RESOLVE_NO_MAGICLINKS),
            (true, true) => directly(libc::RESOLVE_IN_ROOT),
            (true, false) => directly(libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_BENEATH),
        };
        let is_ours = match opened.as_ref().map_err(std::io::Error::raw_os_error) {
            Err(Some(libc::ENOSYS | libc::EPERM)) => return by_name(),
            Err(Some(libc::ELOOP | libc::EXDEV | libc::EAGAIN)) => true,
            // By our own `/proc/self`, or in the `/proc` of a pid namespace that we are not in, a
            // link leads nowhere that leads the thread somewhere.
            Err(Some(libc::ENOENT)) => {
                let is_link = |error: std::io::Error| error.raw_os_error() == Some(libc::ELOOP);
                self.is_elsewhere || plainly().is_err_and(is_link)
            }
            _ => false,
        };
        if !is_ours {
            return Ok((opened?, true));
        }
        let (pid, tid, root) = (self.pid, self.tid, root()?);
        Ok((Walker { pid, tid, root }.open(start, path, flags)?, true))
    }

    /// Whether a path leads where looking would wait for the tree itself.
    pub(crate) fn is_served(&self, base: Base, path: &[u8]) -> bool {
        let Some(served) = self.served else {
            return false;
        };
        if path.starts_with(b"/") && self.reachable(base, path) == path {
            return served.has(self.tid, path);
        }
        let (base, rest) = match path.starts_with(b"/") {
            true => (self.reachable(base, path), &b""[..]),
            false => (self.reachable(base, b""), path),
        };
        let start = readlink(base.trim_end_with(|c| c == '/'));
        start.is_ok_and(|start| served.has(self.tid, &[start.as_bytes(), &b"/"[..], rest].concat()))
    }

    pub(crate) fn look_up(&self, base: Base, path: &[u8], follow: bool, depth: usize) -> Lookup {
        if self.is_served(base, path) {
            return Lookup::Fails;
        }
        let flags = if follow { 0 } else { libc::O_NOFOLLOW };
        // Nearly every path is canonical as it is: then its name need not be asked for.
        if !self.is_elsewhere && is_plain(path) {
            match file::open_path_without_links(path, flags) {
                Ok(fd) => match file::stat(fd.as_fd()) {
                    Ok(stat) if mounts::has_one_path(stat.mount) => {
                        return Lookup::Found(found(path.into(), &stat));
                    }
                    Ok(_) => {}
                    Err(_) => return Lookup::Fails,
                },
                Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => return Lookup::Fails,
                // Its directory may be canonical too: then nothing is at the name.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    if let Some(missing) = missing_from_canonical(path) {
                        return missing;
                    }
                }
                Err(_) => {}
            }
        }
        let error = match self.follow(base, path, flags) {
            Ok((fd, by_links)) => {
                let described = self.describe(fd.as_fd());
                let Some(mut found) = described.or_else(|| self.describe_deep(base, path, &fd))
                else {
                    return Lookup::Fails;
                };
                // Below another root its names are others.
                let is_here = !self.is_elsewhere && mounts::has_one_path(found.mount);
                if follow && by_links && is_here {
                    found.via = self.via(base, path, &found.path);
                }
                return Lookup::Found(found);
            }
            Err(error) => error,
        };
        if error.raw_os_error() != Some(libc::ENOENT) || depth > MAX_LINKS {
            return Lookup::Fails;
        }
        let Some((parent, name)) = split(path) else {
            return Lookup::Fails;
        };
        let Ok(directory) = self.open(base, parent, libc::O_DIRECTORY) else {
            return Lookup::Fails;
        };
        let Some(there) = self.describe_directory(&directory) else {
            return Lookup::Fails;
        };
        match file::stat_name(directory.as_fd(), name) {
            // A symbolic link to nothing: its target is what would be made.
            Ok(stat) if follow && stat.mode & libc::S_IFMT == libc::S_IFLNK => {
                let Ok(target) = readlinkat(directory.as_fd(), name) else {
                    return Lookup::Fails;
                };
                let mut target = target.into_vec();
                if !target.starts_with(b"/") {
                    target = [parent, b"/", &target].concat();
                }
                self.look_up(base, &target, true, depth + 1)
            }
            Ok(_) => Lookup::Fails,
            Err(_) => missing(there, name),
        }
    }

    /// The same under the rules of openat2(2), `resolve`.
    pub(crate) fn look_up_under(
        &self,
        base: Base,
        path: &[u8],
        follow: bool,
        resolve: u64,
    ) -> Lookup {
        if self.is_served(base, path) {
            return Lookup::Fails;
        }
        // Whether something is cached is not the question here.
        let resolve = resolve & !libc::RESOLVE_CACHED;
        let Ok(start) = self.base(base) else {
            return Lookup::Fails;
        };
        let flags = if follow { 0 } else { libc::O_NOFOLLOW };
        let is_magic = path.starts_with(b"/proc/") || path.starts_with(b"/dev/");
        let meant = match is_magic {
            true => self.reachable(base, path),
            false => path.into(),
        };
        let open = |path: &[u8], flags| file::open_path_under(start.as_fd(), path, flags, resolve);
        match open(&meant, flags) {
            Ok(fd) => {
                let found = self.describe(fd.as_fd());
                found.map_or(Lookup::Fails, Lookup::Found)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let directory = split(&meant).and_then(|(parent, name)| {
                    let directory = open(parent, libc::O_DIRECTORY).ok()?;
                    let is_link = file::stat_name(directory.as_fd(), name).is_ok();
                    let there = self.describe_directory(&directory)?;
                    (!is_link).then(|| missing(there, name))
                });
                directory.unwrap_or(Lookup::Fails)
            }
            Err(_) => Lookup::Fails,
        }
    }

    pub(crate) fn noted(&self, lookup: Lookup) -> Lookup {
        let mut names = self.names.borrow_mut();
        match &lookup {
            Lookup::Found(found) => {
                names.push(found.path.clone());
                names.extend(found.via.clone());
            }
            Lookup::Missing { path, .. } => names.push(path.clone()),
            Lookup::Fails => {}
        }
        lookup
    }

    /// What a path leads to, by its directory alone: nothing, or a regular file. `None`: that
    /// does not tell.
    pub(crate) fn look_into_directory(
        &self,
        base: Base,
        path: &[u8],
        follow: bool,
    ) -> Option<Lookup> {
        let is_plain = is_plain(path);
        if path.starts_with(b"/") && !is_plain || path.ends_with(b"/") {
            return None;
        }
        let (parent, name) = split(path)?;
        let (directory, there, by_links) = if is_plain && !self.is_elsewhere {
            let directory = file::open_path_without_links(parent, libc::O_DIRECTORY).ok()?;
            let stat = file::stat(directory.as_fd()).ok()?;
            if !mounts::has_one_path(stat.mount) {
                return None;
            }
            (directory, found(parent.into(), &stat), false)
        } else {
            let (directory, by_links) = self.follow(base, parent, libc::O_DIRECTORY).ok()?;
            let there = self.describe_directory(&directory)?;
            (directory, there, by_links)
        };
        match file::stat_name(directory.as_fd(), name) {
            Ok(stat)
                if stat.is_regular() && !self.is_elsewhere && mounts::has_one_path(stat.mount) =>
            {
                let mut found = found(below(there.path, name), &stat);
                if follow && by_links {
                    found.via = self.via(base, path, &found.path);
                }
                Some(Lookup::Found(found))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Some(missing(there, name)),
            _ => None,
        }
    }

    /// The base of a relative path.
    pub(crate) fn base(&self, base: Base) -> std::io::Result<OwnedFd> {
        let path = match base {
            Base::Cwd => format!("/proc/{}/cwd", self.tid),
            Base::Descriptor(fd) => format!("/proc/{}/fd/{fd}", self.tid),
        };
        file::open_path(path.as_bytes(), 0)
    }

    /// What a descriptor of ours refers to, with a path at which the supervisor finds it.
    pub(crate) fn describe(&self, fd: BorrowedFd<'_>) -> Option<Found> {
        let mut found = describe(fd)?;
        if (self.is_elsewhere || !mounts::has_one_path(found.mount))
            && let Some(path) = mounts::own_path(self.tid, &found, || self.mounts()).ok()?
        {
            found.path = path;
        }
        Some(found)
    }

    fn mounts(&self) -> &[Mount] {
        self.mounts.get_or_init(|| mounts::of(self.tid))
    }

    /// A directory, also one that is deeper than a path may be long.
    fn describe_directory(&self, directory: &OwnedFd) -> Option<Found> {
        self.describe(directory.as_fd()).or_else(|| {
            let stat = file::stat(directory.as_fd()).ok()?;
            Some(found(deep::path(directory.as_fd())?, &stat))
        })
    }

    /// What was opened by this path, deeper than a path may be long.
    fn describe_deep(&self, base: Base, path: &[u8], fd: &OwnedFd) -> Option<Found> {
        let stat = file::stat(fd.as_fd()).ok()?;
        if stat.mode & libc::S_IFMT == libc::S_IFDIR {
            return self.describe_directory(fd);
        }
        let (parent, name) = split(path)?;
        let directory = self.open(base, parent, libc::O_DIRECTORY).ok()?;
        let mut path = self.describe_directory(&directory)?.path;
        path.push(b'/');
        path.extend_from_slice(name);
        let is_it = file::stat_path(&path).is_ok_and(|there| there.version() == stat.version());
        is_it.then(|| found(path, &stat))
    }

    /// The path as given, made absolute, when it is not the canonical one.
    fn via(&self, base: Base, given: &[u8], canonical: &[u8]) -> Option<BString> {
        if given == canonical || given.starts_with(b"/proc/") || given.starts_with(b"/dev/") {
            return None;
        }
        let start: &[u8] = if given.starts_with(b"/") { b"/" } else { b"" };
        let parts: Vec<&[u8]> = given
            .split_str(b"/")
            .filter(|part| !matches!(*part, b"" | b"."))
            .collect();
        let mut sides = parts.rsplitn(2, |part| *part == b"..");
        let names = sides.next().filter(|names| !names.is_empty())?;
        let directory = match sides.next() {
            // What `..` means depends on the links before it.
            Some(before) => {
                let up = [start, &bstr::join("/", [before, &[b".."]].concat())].concat();
                let directory = self.open(base, &up, libc::O_DIRECTORY).ok()?;
                self.describe_directory(&directory)?.path
            }
            None if start == b"/" => start.into(),
            None => {
                let base = self.reachable(base, b"");
                let base = readlink(base.trim_end_with(|c| c == '/')).ok()?;
                base.into_vec().into()
            }
        };
        let absolute = names.iter().fold(directory, |path, name| below(path, name));
        let is_name = absolute != canonical && !absolute.starts_with(b"/proc/");
        is_name.then_some(absolute)
    }
}

/// A path at which nothing was found, where its directory's is canonical.
fn missing_from_canonical(path: &[u8]) -> Option<Lookup> {
    let directory = file::open_path_without_links(parent(path), libc::O_DIRECTORY).ok()?;
    let mount = file::stat(directory.as_fd()).ok()?.mount;
    let path = path.into();
    mounts::has_one_path(mount).then_some(Lookup::Missing { path, mount })
}

/// A name that is not there.
fn missing(directory: Found, name: &[u8]) -> Lookup {
    Lookup::Missing {
        path: below(directory.path, name),
        mount: directory.mount,
    }
}

/// The path of a name in a directory.
fn below(directory: BString, name: &[u8]) -> BString {
    let mut path = directory;
    if path != "/" {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// What a descriptor of ours refers to, with the kernel's name for it.
pub(crate) fn describe(fd: BorrowedFd<'_>) -> Option<Found> {
    let stat = file::stat(fd).ok()?;
    let path = readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str()).ok()?;
    let path = path.into_vec();
    match paths::of_deleted(&path, &stat) {
        // Nothing can be found or made in a directory that is gone.
        Some(_) if stat.mode & libc::S_IFMT == libc::S_IFDIR => None,
        Some(name) => Some(found(name.into(), &stat)),
        None => Some(found(path.into(), &stat)),
    }
}

fn found(path: BString, stat: &Stat) -> Found {
    let file_type = match stat.mode & libc::S_IFMT {
        libc::S_IFREG => FileType::Regular,
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        _ => FileType::Other,
    };
    Found {
        path,
        file_type,
        version: stat.version(),
        mode: stat.mode,
        uid: stat.uid,
        links: stat.links,
        mount: stat.mount,
        is_fixed: stat.is_fixed,
        via: None,
    }
}
