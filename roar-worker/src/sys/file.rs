//! Looking at files without opening their content: `O_PATH` and statx(2).

use std::borrow::Cow;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{checked, checked_long};

/// What statx(2) tells, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime: i64,
    /// File type and permissions.
    pub mode: u32,
    /// Number of names.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mount id (5.8; 0 before).
    pub mount: u64,
    /// Whether it keeps its name: it is immutable, append-only or where something is mounted.
    pub is_fixed: bool,
}

impl Stat {
    /// The version that these values name.
    pub fn version(&self) -> roar_lineage::model::FileVersion {
        roar_lineage::model::FileVersion {
            dev: self.dev,
            ino: self.ino,
            size: self.size,
            mtime: self.mtime,
            ctime: self.ctime,
        }
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
}

/// Opens a path without its content (`O_PATH`), close-on-exec.
pub fn open_path(path: &[u8], flags: i32) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    // SAFETY: a C string; the result is a new descriptor of ours.
    unsafe {
        let fd = checked(libc::open(
            path.as_ptr(),
            libc::O_PATH | libc::O_CLOEXEC | flags,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The same where no symbolic link is on the way; ELOOP where one is (openat2(2),
/// RESOLVE_NO_SYMLINKS, 5.6).
pub fn open_path_without_links(path: &[u8], flags: i32) -> io::Result<OwnedFd> {
    open_resolving(libc::AT_FDCWD, path, flags, libc::RESOLVE_NO_SYMLINKS)
}

/// The same from a directory, under the rules of openat2(2).
pub fn open_path_under(
    directory: BorrowedFd<'_>,
    path: &[u8],
    flags: i32,
    resolve: u64,
) -> io::Result<OwnedFd> {
    open_resolving(directory.as_raw_fd(), path, flags, resolve)
}

/// Opens what a handle names, without its content (open_by_handle_at(2)). `handle` is a
/// whole `struct file_handle`.
pub fn open_handle(mount: BorrowedFd<'_>, handle: &[u8]) -> io::Result<OwnedFd> {
    let words: Vec<u64> = handle.chunks(8).map(word).collect();
    // SAFETY: as long as its size says, aligned; the result is a new descriptor of ours.
    unsafe {
        let fd = checked_long(libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            words.as_ptr(),
            libc::O_PATH | libc::O_CLOEXEC,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Up to eight bytes as they stand in memory.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_ne_bytes(word)
}

/// A path as the system takes it: of one that is longer than a path may be, the first
/// directories are opened one after the other. Valid while the descriptor is open.
pub fn short(path: &[u8]) -> io::Result<(Cow<'_, [u8]>, Option<OwnedFd>)> {
    const LIMIT: usize = 4095;
    let (mut rest, mut directory) = (path, None::<OwnedFd>);
    loop {
        let whole = match &directory {
            Some(fd) => {
                let start = format!("/proc/self/fd/{}/", fd.as_raw_fd());
                Cow::from([start.as_bytes(), rest].concat())
            }
            None => Cow::from(rest),
        };
        if whole.len() <= LIMIT {
            return Ok((whole, directory));
        }
        let window = rest.get(..LIMIT - 64).unwrap_or(rest);
        let at = window.iter().rposition(|byte| *byte == b'/');
        let Some(at) = at.filter(|at| *at > 0) else {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        };
        let first = rest.get(..at).unwrap_or_default();
        let flags = libc::O_DIRECTORY;
        directory = Some(match &directory {
            Some(fd) => open_resolving(fd.as_raw_fd(), first, flags, 0)?,
            None => open_path(first, flags)?,
        });
        rest = rest.get(at + 1..).unwrap_or_default();
    }
}

fn open_resolving(root: i32, path: &[u8], flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    let how: [u64; 3] = [(libc::O_PATH | libc::O_CLOEXEC | flags) as u64, 0, resolve];
    // SAFETY: `struct open_how` is three words; the result is a new descriptor of ours.
    unsafe {
        let fd = checked_long(libc::syscall(
            libc::SYS_openat2,
            root,
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how),
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// What a descriptor refers to.
pub fn stat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    stat_at(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// What a name in a directory refers to, symbolic links not followed.
pub fn stat_name(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    stat_at(
        directory.as_raw_fd(),
        &CString::new(name)?,
        libc::AT_SYMLINK_NOFOLLOW,
    )
}

/// What a path refers to; the last symbolic link is not followed.
pub fn stat_path(path: &[u8]) -> io::Result<Stat> {
    let (path, _directory) = short(path)?;
    stat_at(
        libc::AT_FDCWD,
        &CString::new(path)?,
        libc::AT_SYMLINK_NOFOLLOW,
    )
}

fn stat_at(directory: i32, path: &std::ffi::CStr, flags: i32) -> io::Result<Stat> {
    const STATX_MNT_ID: u32 = 0x1000;
    const FIXED: u64 =
        (libc::STATX_ATTR_IMMUTABLE | libc::STATX_ATTR_APPEND | libc::STATX_ATTR_MOUNT_ROOT) as u64;
    // SAFETY: zeroed plain data that the call fills.
    let statx = unsafe {
        let mut statx: libc::statx = std::mem::zeroed();
        checked(libc::statx(
            directory,
            path.as_ptr(),
            flags | libc::AT_NO_AUTOMOUNT,
            libc::STATX_BASIC_STATS | STATX_MNT_ID,
            &raw mut statx,
        ))?;
        statx
    };
    let nanoseconds =
        |time: libc::statx_timestamp| time.tv_sec * 1_000_000_000 + i64::from(time.tv_nsec);
    Ok(Stat {
        dev: libc::makedev(statx.stx_dev_major, statx.stx_dev_minor),
        ino: statx.stx_ino,
        size: statx.stx_size,
        mtime: nanoseconds(statx.stx_mtime),
        ctime: nanoseconds(statx.stx_ctime),
        mode: u32::from(statx.stx_mode),
        links: u64::from(statx.stx_nlink),
        uid: statx.stx_uid,
        gid: statx.stx_gid,
        mount: statx.stx_mnt_id,
        is_fixed: statx.stx_attributes & FIXED != 0,
    })
}

/// Whether a path is on an overlayfs.
pub fn is_on_overlay(path: &[u8]) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::OVERLAYFS_SUPER_MAGIC)
}

/// Whether this process may use a path so (access(2) modes, effective ids).
pub fn may_access(path: &[u8], mode: i32) -> bool {
    let Ok((path, _directory)) = short(path) else {
        return false;
    };
    let Ok(path) = CString::new(path) else {
        return false;
    };
    // SAFETY: a C string.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) == 0 }
}

/// Whether a program gets capabilities when it is executed (capabilities(7)).
pub fn has_capabilities(path: &[u8]) -> bool {
    let Ok(path) = CString::new(path) else {
        return false;
    };
    let name = c"security.capability".as_ptr();
    // SAFETY: C strings; nothing is written to a buffer of no size.
    unsafe { libc::getxattr(path.as_ptr(), name, std::ptr::null_mut(), 0) > 0 }
}

/// A clock's time in nanoseconds.
pub fn clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills one timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
