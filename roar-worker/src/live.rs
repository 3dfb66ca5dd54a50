//! A real tracee: its memory and its view of the file system, through `/proc`.

use std::cell::{OnceCell, RefCell};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use bstr::BString;

use crate::lookup;
use crate::memory::{Memory, Unreadable};
use crate::mounts::{self, Mount};
use crate::paths::parent;
use crate::proc::{self, Credentials};
use crate::served::Served;
use crate::sys::file::{self, Stat};
use crate::sys::{note_starvation, process};
use crate::tracee::{Base, Found, Lookup, Tracee, Wish};

const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
const CAP_FOWNER: u64 = 1 << 3;

/// A thread stopped in a notification.
pub struct LiveTracee<'a> {
    /// Thread group id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Who it is.
    pub credentials: &'a Credentials,
    /// Who the supervisor is.
    pub own: &'a Credentials,
    /// Whether its root directory or mount namespace is not the supervisor's.
    pub is_elsewhere: bool,
    /// The file systems that must not be looked at.
    pub served: Option<&'a Served>,
    /// Paths that were looked up, as they are and as they were given.
    pub names: RefCell<Vec<BString>>,
    /// The mounts that it sees, once they were asked for.
    pub(crate) mounts: OnceCell<Vec<Mount>>,
}

impl LiveTracee<'_> {
    /// Permission bits alone decide, for this thread's credentials.
    fn bits_allow(&self, stat: &Stat, wish: Wish) -> bool {
        let who = self.credentials;
        let has = |capability| who.capabilities & capability != 0;
        if has(CAP_DAC_OVERRIDE) {
            return !wish.execute || stat.mode & 0o111 != 0;
        }
        if wish.read && !wish.write && !wish.execute && has(CAP_DAC_READ_SEARCH) {
            return true;
        }
        let shift = if who.uid == stat.uid {
            6
        } else if who.gid == stat.gid || who.groups.contains(&stat.gid) {
            3
        } else {
            0
        };
        let granted = stat.mode >> shift;
        let wanted = u32::from(wish.read) * 4 + u32::from(wish.write) * 2 + u32::from(wish.execute);
        granted & wanted == wanted
    }

    fn may_at(&self, path: &[u8], wish: Wish) -> bool {
        if self.credentials == self.own && !self.is_elsewhere {
            let mode = i32::from(wish.read) * libc::R_OK
                + i32::from(wish.write) * libc::W_OK
                + i32::from(wish.execute) * libc::X_OK;
            return file::may_access(path, mode);
        }
        // Out of reach here: it may, as nearly always.
        if mounts::is_foreign(path) {
            return true;
        }
        file::open_path(path, 0)
            .and_then(|fd| file::stat(fd.as_fd()))
            .is_ok_and(|stat| self.bits_allow(&stat, wish))
    }
}

impl Memory for LiveTracee<'_> {
    fn read_memory(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Unreadable> {
        process::read_memory(self.tid, address, buffer).map_err(|_| Unreadable)
    }

    fn has_memory(&self, address: u64) -> bool {
        proc::has_memory(self.tid, address)
    }
}

impl Tracee for LiveTracee<'_> {
    fn lookup(&self, base: Base, path: &[u8], follow: bool) -> Lookup {
        self.noted(self.look_up(base, path, follow, 0))
    }

    fn lookup_new(&self, base: Base, path: &[u8], follow: bool) -> Lookup {
        if self.is_served(base, path) {
            return Lookup::Fails;
        }
        let lookup = self.look_into_directory(base, path, follow);
        self.noted(lookup.unwrap_or_else(|| self.look_up(base, path, follow, 0)))
    }

    fn lookup_under(&self, base: Base, path: &[u8], follow: bool, resolve: u64) -> Lookup {
        self.noted(self.look_up_under(base, path, follow, resolve))
    }

    fn handle(&self, mount: Base, handle: &[u8]) -> Lookup {
        if self.is_served(mount, b"") {
            return Lookup::Fails;
        }
        // The call takes no O_PATH descriptor before 6.15, and a file is not to be opened.
        let open = |path: &str| {
            let flags = libc::O_DIRECTORY | libc::O_NONBLOCK;
            let mut options = std::fs::OpenOptions::new();
            options.read(true).custom_flags(flags).open(path)
        };
        let base = match mount {
            Base::Cwd => format!("/proc/{}/cwd", self.tid),
            Base::Descriptor(fd) => format!("/proc/{}/fd/{fd}", self.tid),
        };
        let found = open(&base)
            .and_then(|mount| file::open_handle(mount.as_fd(), handle))
            .ok()
            .and_then(|fd| self.describe(fd.as_fd()));
        found.map_or(Lookup::Fails, Lookup::Found)
    }

    fn descriptor(&self, fd: i32) -> Lookup {
        if self.is_served(Base::Descriptor(fd), b"") {
            return Lookup::Fails;
        }
        let found = self.base(Base::Descriptor(fd)).ok();
        let found = found.and_then(|fd| self.describe(fd.as_fd()));
        found.map_or(Lookup::Fails, Lookup::Found)
    }

    fn may(&self, found: &Found, wish: Wish) -> bool {
        // Nearly every read: everybody may.
        let everybody = wish.read && !wish.write && !wish.execute && found.mode & 0o444 == 0o444;
        everybody || self.may_at(&found.path, wish)
    }

    fn may_remove(&self, found: &Found) -> bool {
        let may_anything = self.credentials.capabilities & CAP_FOWNER != 0;
        let is_owner = |uid: u32| self.credentials.uid == uid;
        let owners = || {
            let directory = file::stat_path(parent(&found.path));
            directory.is_ok_and(|d| d.mode & libc::S_ISVTX == 0 || is_owner(d.uid))
        };
        !found.is_fixed
            && self.may_change_directory_of(&found.path)
            && (may_anything || is_owner(found.uid) || owners())
    }

    fn has_entries(&self, directory: &[u8]) -> bool {
        let entries = std::fs::read_dir(std::ffi::OsStr::from_bytes(directory));
        entries.is_ok_and(|mut entries| entries.next().is_some())
    }

    fn may_change_directory_of(&self, path: &[u8]) -> bool {
        self.may_at(
            parent(path),
            Wish {
                write: true,
                execute: true,
                read: false,
            },
        )
    }

    fn head(&self, found: &Found, buffer: &mut [u8]) -> usize {
        let path = std::ffi::OsStr::from_bytes(&found.path);
        std::fs::File::open(path)
            .inspect_err(note_starvation)
            .and_then(|mut file| file.read(buffer))
            .unwrap_or(0)
    }

    fn files_below(&self, directory: &[u8], limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut directories = vec![std::path::PathBuf::from(std::ffi::OsStr::from_bytes(
            directory,
        ))];
        while let Some(directory) = directories.pop() {
            let entries = std::fs::read_dir(&directory).inspect_err(note_starvation);
            let Ok(entries) = entries else {
                continue;
            };
            for entry in entries.flatten() {
                if found.len() >= limit {
                    return found;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    Ok(kind) if kind.is_file() => {
                        let path = entry.path();
                        let fd = file::open_path(path.as_os_str().as_bytes(), libc::O_NOFOLLOW);
                        found.extend(fd.ok().and_then(|fd| lookup::describe(fd.as_fd())));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}
