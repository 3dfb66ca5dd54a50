//! From a system call at its entry to what it will do to files.
//!
//! `CONTINUE` gives no return value, so success is concluded from what is there before
//! the call: whether the path leads somewhere, to what, and whether the caller may. What
//! was written is looked at again when its task ends.

mod exec;
mod names;
mod open;
mod own_filter;

use std::net::{IpAddr, SocketAddr};

use bstr::BString;
use roar_lineage::event::Access;
use roar_lineage::model::FileVersion;
use roar_tracee::{abi, ring};

use crate::arch::Call;
use crate::memory::{self, Unreadable};
use crate::paths;
use crate::tracee::{Base, Found, Lookup, Tracee};

pub use exec::Execution;
pub(crate) use names::MAX_MOVED;

/// What a call does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Uses files; perhaps none.
    Files(Vec<Access>),
    /// Replaces the program.
    Exec(Box<Execution>),
    /// Makes a child process.
    Fork {
        /// Whether the child is the caller's own, and in the same namespaces.
        is_plain: bool,
    },
    /// Ends the process with this status.
    Exit(i32),
    /// Asks for the attribution page.
    Page,
    /// Says that tasks have ended, or that records wait.
    Sync,
    /// Asks for the accelerator's rings.
    Rings,
    /// A process works for another task.
    Works {
        /// The process.
        process: u32,
        /// Number of the task on the caller's page.
        number: u64,
    },
    /// Opens a log for its secrets of TLS.
    Keys,
    /// An inner roar asks for its scope.
    Scope,
    /// Opens `/dev/fuse`, to serve a file system.
    Serves,
    /// Connects a socket.
    Connect {
        /// The socket.
        socket: i32,
        /// To where.
        address: SocketAddr,
    },
    /// A client of an object store tells what it does.
    Store(BString),
    /// Makes an io_uring.
    IoUring,
    /// Does what does not work as it would untraced.
    Hampers(&'static str),
    /// May change credentials.
    Credentials,
    /// May change the root directory or the mount namespace.
    Namespace,
}

/// Decodes one call. `pointer` is the size of the caller's pointers (bytes).
pub fn decode(
    tracee: &impl Tracee,
    call: Call,
    pointer: usize,
    args: [u64; 6],
) -> Result<Decoded, Unreadable> {
    let [a, b, c, d, e, _] = args;
    let cwd = Base::Cwd;
    let files = |accesses| Ok(Decoded::Files(accesses));
    match call {
        Call::Open => open::by_path(tracee, cwd, a, b as i32, 0),
        Call::Openat => open::by_path(tracee, Base::from_argument(a), b, c as i32, 0),
        Call::Openat2 => {
            let flags = memory::word(tracee, c, 8)? as i32;
            let resolve = memory::word(tracee, c.wrapping_add(16), 8)?;
            open::by_path(tracee, Base::from_argument(a), b, flags, resolve)
        }
        Call::OpenByHandle => open::by_handle(tracee, Base::from_argument(a), b, c as i32),
        Call::Creat => open::by_path(
            tracee,
            cwd,
            a,
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
            0,
        ),
        Call::Mknod => open::node(tracee, cwd, a, b as u32),
        Call::Mknodat => open::node(tracee, Base::from_argument(a), b, c as u32),
        Call::Rename => files(names::rename(tracee, (cwd, a), (cwd, b), 0)?),
        Call::Renameat | Call::Renameat2 => files(names::rename(
            tracee,
            (Base::from_argument(a), b),
            (Base::from_argument(c), d),
            if call == Call::Renameat2 { e as u32 } else { 0 },
        )?),
        Call::Link => files(names::link(tracee, (cwd, a), (cwd, b), 0)?),
        Call::Linkat => files(names::link(
            tracee,
            (Base::from_argument(a), b),
            (Base::from_argument(c), d),
            e as i32,
        )?),
        Call::Unlink => files(names::unlink(tracee, cwd, a)?),
        Call::Unlinkat if c as i32 & libc::AT_REMOVEDIR != 0 => files(Vec::new()),
        Call::Unlinkat => files(names::unlink(tracee, Base::from_argument(a), b)?),
        Call::Truncate => files(open::truncate(tracee, a, b)?),
        Call::Truncate64 => files(open::truncate(tracee, a, (c << 32) | (b & 0xffff_ffff))?),
        Call::AlignedTruncate64 => files(open::truncate(tracee, a, (d << 32) | (c & 0xffff_ffff))?),
        Call::Execve => exec::execve(tracee, (cwd, a), b, 0, pointer),
        Call::Execveat => exec::execve(tracee, (Base::from_argument(a), b), c, e as i32, pointer),
        Call::Fork => Ok(Decoded::Fork { is_plain: true }),
        Call::Clone => Ok(forks(a)),
        Call::Clone3 => {
            let flags = memory::word(tracee, a, 8)?;
            let is_thread = flags & libc::CLONE_THREAD as u64 != 0;
            Ok(if is_thread {
                Decoded::Files(Vec::new())
            } else {
                forks(flags)
            })
        }
        Call::ExitGroup => Ok(Decoded::Exit(a as i32 & 0xff)),
        Call::IoUringSetup => Ok(Decoded::IoUring),
        Call::Seccomp => own_filter::installed(tracee, b, c, pointer),
        Call::Prctl => own_filter::installed(tracee, 0, c, pointer),
        Call::Credentials => Ok(Decoded::Credentials),
        Call::Namespace => Ok(Decoded::Namespace),
        Call::Connect => Ok(match address(tracee, b)? {
            Some(address) => Decoded::Connect {
                socket: a as i32,
                address,
            },
            None => Decoded::Files(Vec::new()),
        }),
        Call::Access | Call::Rmdir | Call::Ptrace => files(Vec::new()),
    }
}

/// A clone with these flags.
fn forks(flags: u64) -> Decoded {
    let others = libc::CLONE_PARENT
        | libc::CLONE_FS
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID;
    let is_plain = flags & others as u64 == 0;
    Decoded::Fork { is_plain }
}

/// What the open of a magic path means, or of one that is more than a file.
fn magic(path: &[u8]) -> Option<Decoded> {
    if path == b"/dev/fuse" {
        return Some(Decoded::Serves);
    }
    if !path.starts_with(abi::MAGIC_PREFIX) {
        return None;
    }
    match path {
        abi::PAGE_PATH => Some(Decoded::Page),
        abi::SYNC_PATH => Some(Decoded::Sync),
        ring::RING_PATH => Some(Decoded::Rings),
        abi::SCOPE_PATH => Some(Decoded::Scope),
        path if path.starts_with(abi::WORKS_PREFIX) => works(path),
        path if path.starts_with(abi::STORE_PREFIX) => {
            let told = path.strip_prefix(abi::STORE_PREFIX)?;
            Some(Decoded::Store(told.into()))
        }
        _ => Some(Decoded::Files(Vec::new())),
    }
}

/// The request to note that a process works for a task.
fn works(path: &[u8]) -> Option<Decoded> {
    let words = std::str::from_utf8(path.strip_prefix(abi::WORKS_PREFIX)?).ok()?;
    let (process, number) = words.split_once('/')?;
    Some(Decoded::Works {
        process: process.parse().ok()?,
        number: number.parse().ok()?,
    })
}

/// The internet address at an address: `struct sockaddr_in`, `struct sockaddr_in6` (ip(7),
/// ipv6(7)). `None`: it is another's.
fn address(tracee: &impl Tracee, at: u64) -> Result<Option<SocketAddr>, Unreadable> {
    let mut bytes = [0; size_of::<libc::sockaddr_in6>()];
    let read = tracee.read_memory(at, &mut bytes)?;
    let Some([f0, f1, p0, p1, rest @ ..]) = bytes.get(..read) else {
        return Err(Unreadable);
    };
    let port = u16::from_be_bytes([*p0, *p1]);
    let ip = match i32::from(u16::from_ne_bytes([*f0, *f1])) {
        libc::AF_INET => rest.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
        libc::AF_INET6 => {
            let ip = rest.get(4..).and_then(|rest| rest.first_chunk::<16>());
            ip.map(|ip| IpAddr::from(*ip))
        }
        _ => None,
    };
    Ok(ip.map(|ip| SocketAddr::new(ip, port)))
}

/// Whether files at this canonical path are recorded: device nodes and the kernel's own
/// file systems are not.
pub(crate) fn is_recorded(path: &[u8]) -> bool {
    !(path.starts_with(b"/proc/") || path.starts_with(b"/sys/") || path.starts_with(b"/dev/"))
}

/// A path argument looked up. `None` when the call will fail.
fn look_up(
    tracee: &impl Tracee,
    (base, address): (Base, u64),
    follow: bool,
) -> Result<Option<(Lookup, BString)>, Unreadable> {
    match memory::path(tracee, address)? {
        Some(path) if !path.is_empty() => Ok(Some((tracee.lookup(base, &path, follow), path))),
        _ => Ok(None),
    }
}

/// The version of a found regular file that is recorded.
fn regular(found: &Found) -> Option<FileVersion> {
    let is_regular = found.file_type == crate::tracee::FileType::Regular;
    (is_regular && is_recorded(&found.path)).then_some(found.version)
}

/// The same of one that has or had a name.
pub(crate) fn named(found: &Found) -> Option<FileVersion> {
    let is_unnamed = paths::is_unnamed(&found.path, found.links, found.version.ino);
    regular(found).filter(|_| !is_unnamed)
}
