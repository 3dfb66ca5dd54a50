//! The preloaded library's other side, for where the kernel gives neither a listener nor
//! ptrace: before a call of a dynamic program's that names a file, the library connects and
//! tells of it, as of a system call, and waits until it was looked at.
//!
//! It sees what programs ask of libc by the names that the library has. What libc does for
//! itself, static programs, and calls past libc are not seen: never `complete`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen,
    socket, sockopt,
};
use roar_lineage::event::Access;
use roar_lineage::mask;
use roar_lineage::model::How;

use crate::arch::ABIS;
use crate::backend::Backend;
use crate::clock;
use crate::library;
use crate::memory;
use crate::observe::Entry;
use crate::proc;
use crate::supervisor::Supervisor;
use crate::sys::process;
use crate::tracee::{Base, Tracee};

/// `libroar_preload.so` (roar-tracee/in_program).
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libroar_preload.so"));
/// Where the library finds the name of its supervisor.
const VARIABLE: &str = "ROAR_PRELOAD";
const LD_PRELOAD: &str = "LD_PRELOAD";
/// What it cannot see.
pub(crate) const BLIND: &str = "preload: static programs, calls past libc and of libc's own";
/// glibc from which on `dlsym` is there without another library.
const GLIBC: (u32, u32) = (2, 34);
/// A message: number, thread id, arguments (`Message` of the library).
const MESSAGE: usize = 56;
/// What is told that is no system call: a program starts; a file was made under a name.
const STARTS: i32 = -1;
const MADE: i32 = -2;
/// How long a caller that has connected may take to say what it calls (milliseconds).
const PATIENCE_MS: u16 = 100;

/// Where the library's calls arrive.
pub(crate) struct Receiver(OwnedFd);

impl Receiver {
    /// Puts the library where programs of all users find it, and listens. Gives lines of
    /// the environment that has programs load it.
    ///
    /// Errors: the library cannot be written, or libc is too old for it.
    pub(crate) fn prepare() -> io::Result<(Self, Vec<Vec<u8>>)> {
        if process::glibc_version().is_some_and(|version| version < GLIBC) {
            return Err(io::Error::other("glibc is older than 2.34"));
        }
        let library = library::install("preload", LIBRARY)?;
        let name = format!("roar-{}", crate::host::unique_id());
        let mut list = std::env::var_os(LD_PRELOAD).unwrap_or_default();
        if !list.is_empty() {
            list.push(":");
        }
        list.push(library);
        let lines = [(LD_PRELOAD, list.as_bytes()), (VARIABLE, name.as_bytes())]
            .map(|(name, value)| [name.as_bytes(), b"=", value].concat());
        Ok((Self::new(&name)?, lines.to_vec()))
    }

    fn new(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(
            socket.as_raw_fd(),
            &UnixAddr::new_abstract(name.as_bytes())?,
        )?;
        listen(&socket, Backlog::MAXCONN)?;
        Ok(Self(socket))
    }

    /// Its socket, which must stay open.
    pub(crate) fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Readable when a caller has connected.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next caller: its socket, process id and what it calls.
    fn next(&self) -> Option<(OwnedFd, u32, [u8; MESSAGE])> {
        let caller = accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC).ok()?;
        let caller = process::own_descriptor(caller)?;
        let pid = getsockopt(&caller, sockopt::PeerCredentials).ok()?.pid();
        let mut message = [0; MESSAGE];
        let mut fds = [PollFd::new(caller.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(PATIENCE_MS)).unwrap_or(0);
        if ready > 0 {
            let _ = nix::unistd::read(&caller, &mut message);
        }
        Some((caller, pid.cast_unsigned(), message))
    }
}

impl Supervisor {
    /// Looks at what the waiting callers are about to do, and lets them go on.
    pub(crate) fn told(&mut self) {
        while let Backend::Preload(receiver) = &self.backend
            && let Some((caller, pid, message)) = receiver.next()
        {
            if let Some(process) = self.table.get_mut(pid) {
                // Nothing tells when it becomes another user, or goes elsewhere.
                process.refresh(pid);
            }
            if let Some(entry) = entry_of(pid, &message) {
                if entry.nr < 0 {
                    self.says(&entry);
                } else if let Some(observed) = self.observe(&entry) {
                    self.acknowledge(observed);
                }
            }
            let _ = nix::unistd::write(&caller, b"g");
        }
    }

    /// What is told that is no system call.
    fn says(&mut self, entry: &Entry) {
        let tid = entry.tid;
        let Some((pid, is_new)) = self.process_of(tid) else {
            return;
        };
        let Some(process) = self.table.get(pid) else {
            return;
        };
        let work = process.work_of(tid);
        let tracee = self.tracee(process, tid);
        let [address, ..] = entry.args;
        let access = match entry.nr {
            STARTS => program(&tracee, pid),
            MADE => made(&tracee, address),
            _ => None,
        };
        if entry.nr == STARTS
            && !is_new
            && let Some(exe) = proc::link(pid, "exe")
        {
            self.record_exec(pid, &exe, &mask::arguments(&proc::command_line(pid)));
        }
        self.record(&work, access.into_iter().collect(), clock::stamp());
    }
}

/// A process's program, which is an input.
fn program(tracee: &impl Tracee, pid: u32) -> Option<Access> {
    let exe = proc::link(pid, "exe")?;
    let found = tracee.lookup(Base::Cwd, &exe, true).found()?;
    Some(Access::Read {
        path: found.path,
        version: found.version,
        how: How::Exec,
        via: None,
        inferred: false,
    })
}

/// A file that libc has made under a name of its choice.
fn made(tracee: &impl Tracee, address: u64) -> Option<Access> {
    let path = memory::path(tracee, address).ok()??;
    let found = tracee.lookup(Base::Cwd, &path, true).found()?;
    Some(Access::Write {
        path: found.path,
        before: None,
        how: How::Open,
        truncates: true,
        reads: false,
        via: None,
    })
}

/// The call that a message tells of. The thread's id is its own namespace's: it counts where
/// it is one of the process's threads.
fn entry_of(pid: u32, message: &[u8; MESSAGE]) -> Option<Entry> {
    let (head, rest) = message.split_at_checked(8)?;
    let (nr, tid) = head.split_at_checked(4)?;
    let nr = i32::from_le_bytes(nr.try_into().ok()?);
    let tid = u32::from_le_bytes(tid.try_into().ok()?);
    let mut args = [0; 6];
    for (arg, bytes) in args.iter_mut().zip(rest.chunks_exact(8)) {
        *arg = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    let tid = if proc::is_thread_of(tid, pid) {
        tid
    } else {
        pid
    };
    let arch = ABIS.first()?.arch;
    Some(Entry {
        tid,
        arch,
        nr,
        args,
    })
}
