//! Putting the relay between a client and a store, while the client's connect(2) waits.
//!
//! The client's own socket is connected, to a listener of ours, so that everything about it
//! stays but the address of its peer. Where anything does not go as it should the client
//! connects as if nobody were there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, accept4, bind, connect, getpeername, getsockname, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, getpgid, pipe2};

use super::marks::Marks;
use super::relay;
use crate::sys::process::{self, Fork};
use crate::sys::{self, net, socket as rights};

/// How long a store may take to accept a connection.
const PATIENCE_MS: u16 = 50;
/// How long one's own listener may take.
const OWN_PATIENCE_MS: u16 = 20;
/// How much may be under way, and how much of copies may wait to be read, in one direction
/// (bytes).
const UNDER_WAY: i32 = 256 << 10;
/// Most connections at once. Of a user's memory for pipes (`pipe-user-pages-soft` of
/// proc_sys_fs(5), 64 MiB) an ordinary user's take a quarter at most.
const MOST: usize = 200;
const MOST_OF_USERS: usize = 25;
/// Descriptors that the relay has for a connection, and those that it has besides.
const DESCRIPTORS: u64 = 8;
const SPARE_DESCRIPTORS: u64 = 64;

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
    /// Copies of what the client sends, and of what the store sends.
    pub(super) copies: [OwnedFd; 2],
}

/// Listeners for clients, and the relay.
pub(super) struct Gate {
    listeners: Vec<(OwnedFd, SocketAddr)>,
    relay: Option<Relay>,
    marks: Arc<Marks>,
    most: usize,
}

struct Relay {
    /// Its processes are a group.
    group: Pid,
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
            relay: None,
            marks: Marks::new()?,
            most: most(),
        })
    }

    /// How many connections there may be at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// When what it copies passed.
    pub(super) fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// Readable when the relay says something.
    pub(super) fn relay(&self) -> Option<BorrowedFd<'_>> {
        self.relay.as_ref().map(|relay| relay.socket.as_fd())
    }

    /// Whether a process is one of the relay's.
    pub(super) fn has(&self, pid: u32) -> bool {
        let group = getpgid(Some(Pid::from_raw(pid.cast_signed()))).ok();
        self.relay
            .as_ref()
            .is_some_and(|relay| Some(relay.group) == group)
    }

    /// Starts a relay, unless there is one. True when one was started.
    pub(super) fn start(&mut self) -> io::Result<bool> {
        if self.relay.is_some() {
            return Ok(false);
        }
        let (socket, theirs) = rights::pair()?;
        match process::fork()? {
            Fork::Parent(pid) => {
                let group = Pid::from_raw(pid);
                self.relay = Some(Relay { group, socket });
                Ok(true)
            }
            Fork::Child => {
                process::stand_apart(&[theirs.as_raw_fd()]);
                relay::run(theirs, self.marks.clone());
                process::exit_now(0)
            }
        }
    }

    /// The number of a connection that is copied no longer. `None`: there is no relay any
    /// more.
    pub(super) fn hear(&self) -> Option<u64> {
        let heard = rights::receive_descriptors(self.relay()?).ok()?;
        heard.map(|(number, _)| number)
    }

    /// The relay is gone.
    pub(super) fn forget_relay(&mut self) {
        self.relay = None;
    }

    /// Connects a client's socket, which was to be connected to a store at this address,
    /// through the relay.
    pub(super) fn join(
        &self,
        client: &OwnedFd,
        address: SocketAddr,
        number: u64,
    ) -> Result<Joined, Direct> {
        let relay = self.relay().ok_or(io::ErrorKind::NotConnected)?;
        let own: SockaddrStorage = getsockname(client.as_raw_fd())?;
        let family = own.family().ok_or(io::ErrorKind::InvalidInput)?;
        let is_mapped = matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let fails = family != family_of(address)
            || is_mapped && getsockopt(client, sockopt::Ipv6V6Only).unwrap_or(false);
        if fails || is_connected(client.as_fd()) {
            return Err(Direct::Refused);
        }
        let is_tcp = getsockopt(client, sockopt::SockType)? == SockType::Stream;
        if !is_tcp || port_of(&own) != Some(0) {
            return Err(Direct::Impossible);
        }
        let wanted = self
            .listeners
            .iter()
            .find(|(_, at)| family_of(*at) == family);
        let (listener, at) = wanted.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let store = connect_to(address)?;
        keep_alive(client, &store)?;
        let (out, back) = (pipe()?, pipe()?);
        let (copies_out, copies_back) = (pipe()?, pipe()?);
        for (reader, _) in [&out, &back, &copies_out, &copies_back] {
            // Less will do, where a user may have no more.
            let _ = fcntl(reader, FcntlArg::F_SETPIPE_SZ(UNDER_WAY));
        }
        let waits =
            !OFlag::from_bits_retain(fcntl(client, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK);
        // A socket that waits must not have the supervisor wait for long.
        let patience = getsockopt(client, sockopt::SendTimeout)?;
        let short = TimeVal::milliseconds(OWN_PATIENCE_MS.into());
        setsockopt(client, sockopt::SendTimeout, &short)?;
        let connected = connect(client.as_raw_fd(), storage(*at).as_ref());
        setsockopt(client, sockopt::SendTimeout, &patience)?;
        match connected {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        // From here on the client's socket must be set free again where something fails.
        let accepted = accept_from(listener.as_fd(), client.as_fd());
        let handed_over = accepted.and_then(|accepted| {
            let ways = [&out.0, &out.1, &back.0, &back.1];
            let copies = [&copies_out.1, &copies_back.1];
            let all = [&accepted, &store].into_iter().chain(ways).chain(copies);
            let all: Vec<_> = all.map(AsRawFd::as_raw_fd).collect();
            rights::send_descriptors(relay, number, &all)
        });
        match handed_over {
            Ok(()) => Ok(Joined {
                result: if waits { 0 } else { libc::EINPROGRESS },
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

/// A dead store is noticed by the client as it would have been.
fn keep_alive(client: &OwnedFd, store: &OwnedFd) -> nix::Result<()> {
    let patience = getsockopt(client, sockopt::TcpUserTimeout)?;
    setsockopt(store, sockopt::TcpUserTimeout, &patience)?;
    if !getsockopt(client, sockopt::KeepAlive)? {
        return Ok(());
    }
    setsockopt(store, sockopt::KeepAlive, &true)?;
    setsockopt(
        store,
        sockopt::TcpKeepIdle,
        &getsockopt(client, sockopt::TcpKeepIdle)?,
    )?;
    setsockopt(
        store,
        sockopt::TcpKeepInterval,
        &getsockopt(client, sockopt::TcpKeepInterval)?,
    )?;
    setsockopt(
        store,
        sockopt::TcpKeepCount,
        &getsockopt(client, sockopt::TcpKeepCount)?,
    )
}

fn most() -> usize {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    let fit = limit.saturating_sub(SPARE_DESCRIPTORS) / DESCRIPTORS;
    let most = if process::has_sys_admin() {
        MOST
    } else {
        MOST_OF_USERS
    };
    most.min(usize::try_from(fit).unwrap_or(0))
}

fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
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
