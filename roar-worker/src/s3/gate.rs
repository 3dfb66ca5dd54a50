//! Putting the relay between a client and a store, while the client's connect(2) waits.
//!
//! The client's own socket is connected, to a listener of ours, so that everything about it
//! stays but the address of its peer. Where anything does not go as it should the client
//! connects as if nobody were there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, accept4, bind, connect, getpeername, getsockname, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, pipe2};

use super::relay::{self, Heart};
use crate::sys::process::{self, Fork};
use crate::sys::{self, net, socket as rights};

/// How long a store may take to accept a connection.
const PATIENCE_MS: u16 = 50;
/// How long one's own listener may take.
const OWN_PATIENCE_MS: u16 = 20;
/// How much may be under way in one direction, and how much of the copies (bytes).
const UNDER_WAY: i32 = 256 << 10;
const COPIES: i32 = 1 << 20;

/// Why a client goes its own way.
#[derive(Debug)]
pub(super) enum Direct {
    /// The store takes nobody: what the client does now fails as it would.
    Refused,
    /// The store did not answer in time.
    Late,
    /// Something else.
    Impossible,
}

impl<E: Into<io::Error>> From<E> for Direct {
    fn from(error: E) -> Self {
        sys::note_starvation(&error.into());
        Self::Impossible
    }
}

/// A connection that goes through the relay.
pub(super) struct Joined {
    /// What the client's connect(2) gives: 0, or an error number.
    pub(super) result: i32,
    /// What another relay would need to go on.
    pub(super) kept: Vec<OwnedFd>,
    /// Copies of what the client sends, and of what the store sends.
    pub(super) copies: [OwnedFd; 2],
}

/// Listeners for clients, and the relay.
pub(super) struct Gate {
    listeners: Vec<(OwnedFd, SocketAddr)>,
    heart: Heart,
    relay: Option<Relay>,
}

struct Relay {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
}

impl Gate {
    /// Opens the listeners. No relay is started before there is something for it to do.
    pub(super) fn open() -> io::Result<Self> {
        let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        // A machine may be without IPv6.
        let listeners = [v4, v6].map(listener).into_iter().flatten();
        Ok(Self {
            listeners: listeners.collect(),
            heart: Heart::new()?,
            relay: None,
        })
    }

    /// Readable when the relay has ended.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.relay.as_ref().map(|relay| relay.pidfd.as_fd())
    }

    /// Process id of the relay.
    pub(super) fn relay(&self) -> Option<u32> {
        self.relay
            .as_ref()
            .map(|relay| relay.pid.as_raw().cast_unsigned())
    }

    /// How often the relay's heart has beaten.
    pub(super) fn beats(&self) -> u64 {
        self.heart.beats()
    }

    /// Starts a relay, unless there is one. True when one was started.
    pub(super) fn start(&mut self) -> io::Result<bool> {
        if self.relay.is_some() {
            return Ok(false);
        }
        let (ours, theirs) = rights::pair()?;
        match process::fork()? {
            Fork::Parent(pid) => {
                let pidfd = process::open_pidfd(pid.cast_unsigned())?;
                let (pid, socket) = (Pid::from_raw(pid), ours);
                self.relay = Some(Relay { pid, pidfd, socket });
                Ok(true)
            }
            Fork::Child => {
                let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
                let _ = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
                let _ = nix::unistd::chdir(c"/");
                process::detach_descriptors(&[theirs.as_raw_fd()]);
                relay::run(theirs, &self.heart);
                process::exit_now(0)
            }
        }
    }

    /// Ends a relay that does nothing any more.
    pub(super) fn kill(&self) {
        if let Some(relay) = &self.relay {
            let _ = kill(relay.pid, Signal::SIGKILL);
        }
    }

    /// The relay has ended; another goes on with these connections.
    pub(super) fn replace<'a>(&mut self, kept: impl Iterator<Item = &'a [OwnedFd]>) {
        if let Some(relay) = self.relay.take() {
            let _ = waitpid(relay.pid, Some(WaitPidFlag::WNOHANG));
        }
        let mut kept = kept.peekable();
        if kept.peek().is_none() || self.start().is_err() {
            return;
        }
        for descriptors in kept {
            let _ = self.send(descriptors.iter().map(AsRawFd::as_raw_fd).collect());
        }
    }

    fn send(&self, descriptors: Vec<RawFd>) -> io::Result<()> {
        let relay = self.relay.as_ref();
        let relay = relay.ok_or(io::ErrorKind::NotConnected)?;
        rights::send_descriptors(relay.socket.as_fd(), &descriptors)
    }

    /// Connects a client's socket, which was to be connected to a store at this address,
    /// through the relay.
    pub(super) fn join(&mut self, client: &OwnedFd, address: SocketAddr) -> Result<Joined, Direct> {
        let own: SockaddrStorage = getsockname(client.as_raw_fd())?;
        let family = own.family().ok_or(io::ErrorKind::InvalidInput)?;
        let is_tcp = getsockopt(client, sockopt::SockType)? == SockType::Stream;
        if !is_tcp || port_of(&own) != Some(0) || is_connected(client.as_fd()) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
        }
        let wanted = self
            .listeners
            .iter()
            .find(|(_, at)| family_of(*at) == family);
        let (listener, at) = wanted.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let store = connect_to(address)?;
        let (out, back) = (pipe(UNDER_WAY)?, pipe(UNDER_WAY)?);
        let (copies_out, copies_back) = (pipe(COPIES)?, pipe(COPIES)?);
        let waits =
            !OFlag::from_bits_retain(fcntl(client, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK);
        match connect(client.as_raw_fd(), storage(*at).as_ref()) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        // From here on the client's socket must be set free again where something fails.
        let accepted = accept_from(listener.as_fd(), client.as_fd());
        let handed_over = accepted.and_then(|accepted| {
            let kept = vec![accepted, store, out.0, out.1, back.0, back.1];
            let copies = [&copies_out.1, &copies_back.1];
            let all = kept.iter().chain(copies).map(AsRawFd::as_raw_fd);
            self.send(all.collect())?;
            Ok(kept)
        });
        match handed_over {
            Ok(kept) => Ok(Joined {
                result: if waits { 0 } else { libc::EINPROGRESS },
                kept,
                copies: [copies_out.0, copies_back.0],
            }),
            Err(error) => {
                net::reset(client.as_fd());
                Err(error.into())
            }
        }
    }
}

fn listener(ip: IpAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let wished = SocketAddr::new(ip, 0);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family_of(wished), SockType::Stream, flags, None)?;
    bind(fd.as_raw_fd(), storage(wished).as_ref())?;
    listen(&fd, Backlog::MAXCONN)?;
    let own: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let port = port_of(&own).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((fd, SocketAddr::new(ip, port)))
}

/// Connects to a store, without waiting long.
fn connect_to(address: SocketAddr) -> Result<OwnedFd, Direct> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family_of(address), SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), storage(address).as_ref()) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            if !is_ready(fd.as_fd(), PollFlags::POLLOUT, PATIENCE_MS) {
                return Err(Direct::Late);
            }
            if getsockopt(&fd, sockopt::SocketError)? != 0 {
                return Err(Direct::Refused);
            }
        }
        Err(_) => return Err(Direct::Refused),
    }
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    Ok(fd)
}

/// Accepts the connection that this client has just made, and no other.
fn accept_from(listener: BorrowedFd<'_>, client: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let own: SockaddrStorage = getsockname(client.as_raw_fd())?;
    loop {
        if !is_ready(listener, PollFlags::POLLIN, OWN_PATIENCE_MS) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = accept4(listener.as_raw_fd(), flags)?;
        let accepted = rights::owned(fd);
        let peer: Option<SockaddrStorage> = getpeername(fd).ok();
        if peer == Some(own) {
            setsockopt(&accepted, sockopt::TcpNoDelay, &true)?;
            return Ok(accepted);
        }
    }
}

fn pipe(size: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // Less will do, where a user may have no more.
    let _ = fcntl(&pair.0, FcntlArg::F_SETPIPE_SZ(size));
    Ok(pair)
}

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags, patience: u16) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    poll(&mut fds, PollTimeout::from(patience)).is_ok_and(|ready| ready > 0)
}

fn is_connected(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}

fn family_of(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn port_of(address: &SockaddrStorage) -> Option<u16> {
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    v4.or_else(|| address.as_sockaddr_in6().map(SockaddrIn6::port))
}

fn storage(address: SocketAddr) -> Box<dyn SockaddrLike> {
    match address {
        SocketAddr::V4(address) => Box::new(SockaddrIn::from(address)),
        SocketAddr::V6(address) => Box::new(SockaddrIn6::from(address)),
    }
}
