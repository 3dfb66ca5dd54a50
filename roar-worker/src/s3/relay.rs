//! The relay: a process that stands between clients and a store, and passes on what each
//! sends as it is.
//!
//! What passes never enters its memory: `splice(2)` moves it from one socket through a pipe
//! to the other, and `tee(2)` gives the supervisor a copy on the way. So all that is under
//! way is in pipes, of which the supervisor has copies: should this process be killed, another
//! goes on with them, and loses nothing. A copy that nobody takes is given up, and what
//! passes goes on without.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice, tee};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Shutdown, shutdown};

use crate::sys::mapping::Mapping;
use crate::sys::{net, socket};

/// How long a copy may wait to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most that is moved at once (bytes).
const MOST: usize = 1 << 20;

/// A connection's descriptors, as they are sent: the client's socket, the store's, two pipes
/// (each its end to read from first), and where there are copies the two ends they go into.
///
/// Works until the supervisor is gone and every connection is closed.
pub(super) fn run(supervisor: OwnedFd, heart: &Heart) {
    let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else {
        return;
    };
    let news = EpollEvent::new(EpollFlags::EPOLLIN, 0);
    if epoll.add(&supervisor, news).is_err() {
        return;
    }
    let mut supervisor = Some(supervisor);
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = 1;
    while supervisor.is_some() || !connections.is_empty() {
        let waits = connections.values().any(Connection::waits_for_copy);
        let timeout = EpollTimeout::from(if waits { 100u16 } else { 1000 });
        let mut events = [EpollEvent::empty(); 64];
        let ready = epoll.wait(&mut events, timeout).unwrap_or(0);
        heart.beat();
        let mut touched: Vec<u64> = Vec::new();
        for event in events.iter().take(ready) {
            match event.data() {
                0 => match supervisor.as_ref().map(|socket| take(socket.as_fd())) {
                    Some(Some(descriptors)) => {
                        if let Some(connection) = Connection::new(descriptors)
                            && connection.watch(&epoll, next).is_ok()
                        {
                            connections.insert(next, connection);
                            touched.push(next);
                            next += 1;
                        }
                    }
                    _ => supervisor = None,
                },
                number => touched.push(number),
            }
        }
        if waits {
            touched.extend(connections.keys());
        }
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            let is_over = connections.get_mut(&number).is_some_and(Connection::pass);
            if is_over {
                connections.remove(&number);
            }
        }
    }
}

/// The descriptors of a new connection. `None`: the supervisor is gone.
fn take(socket: BorrowedFd<'_>) -> Option<Vec<OwnedFd>> {
    socket::receive_descriptors(socket).ok().flatten()
}

/// Says that a relay works: memory that it shares with its supervisor.
pub(super) struct Heart(Mapping);

impl Heart {
    pub(super) fn new() -> io::Result<Self> {
        Mapping::anonymous(4096).map(Self)
    }

    fn beat(&self) {
        self.0.store(0, self.0.load(0).wrapping_add(1));
    }

    /// How often it has beaten.
    pub(super) fn beats(&self) -> u64 {
        self.0.load(0)
    }
}

/// A client's connection to a store.
struct Connection {
    client: OwnedFd,
    store: OwnedFd,
    out: Way,
    back: Way,
}

/// One direction.
struct Way {
    pipe: [OwnedFd; 2],
    /// Where copies go.
    copies: Option<OwnedFd>,
    /// Bytes in the pipe, and how many of them have been copied.
    held: usize,
    copied: usize,
    has_ended: bool,
    has_failed: bool,
    is_shut: bool,
    /// Since when a copy is not taken.
    waits_since: Option<Instant>,
}

/// A side is gone.
struct Broken;

impl Connection {
    fn new(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next();
        let (client, store) = (next()?, next()?);
        let (out, back) = ([next()?, next()?], [next()?, next()?]);
        let (out, back) = (Way::new(out, next()), Way::new(back, next()));
        Some(Self {
            client,
            store,
            out,
            back,
        })
    }

    fn watch(&self, epoll: &Epoll, number: u64) -> nix::Result<()> {
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
        let event = |flags| EpollEvent::new(flags | EpollFlags::EPOLLET, number);
        epoll.add(&self.client, event(both))?;
        epoll.add(&self.store, event(both))?;
        let copies = [&self.out, &self.back].into_iter();
        for copies in copies.filter_map(|way| way.copies.as_ref()) {
            epoll.add(copies, event(EpollFlags::EPOLLOUT))?;
        }
        Ok(())
    }

    fn waits_for_copy(&self) -> bool {
        self.out.waits_since.is_some() || self.back.waits_since.is_some()
    }

    /// Passes on what there is. True when the connection is over.
    fn pass(&mut self) -> bool {
        let out = self.out.pass(self.client.as_fd(), self.store.as_fd());
        let back = self.back.pass(self.store.as_fd(), self.client.as_fd());
        if out.is_err() || back.is_err() {
            net::reset(self.client.as_fd());
            net::reset(self.store.as_fd());
            return true;
        }
        self.out.is_shut && self.back.is_shut
    }
}

impl Way {
    fn new(pipe: [OwnedFd; 2], copies: Option<OwnedFd>) -> Self {
        let held = net::readable(pipe[0].as_fd());
        Self {
            pipe,
            copies,
            held,
            copied: 0,
            has_ended: false,
            has_failed: false,
            is_shut: false,
            waits_since: None,
        }
    }

    fn pass(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Broken> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        loop {
            let mut has_moved = false;
            if !self.has_ended && !self.has_failed {
                match splice(from, None, &self.pipe[1], None, MOST, flags) {
                    Ok(0) => self.has_ended = true,
                    Ok(moved) => {
                        self.held += moved;
                        has_moved = true;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    // What came before it is passed on first.
                    Err(_) => self.has_failed = true,
                }
            }
            if let (Some(copies), 0, true) = (&self.copies, self.copied, self.held > 0) {
                match tee(&self.pipe[0], copies, self.held, flags) {
                    Ok(copied) if copied > 0 => {
                        self.copied = copied;
                        self.waits_since = None;
                    }
                    Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {
                        let since = *self.waits_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > PATIENCE {
                            self.give_up_copies();
                        }
                    }
                    Err(_) => self.give_up_copies(),
                }
            }
            let passable = match self.copies {
                Some(_) => self.copied,
                None => self.held,
            };
            if passable > 0 {
                match splice(&self.pipe[0], None, to, None, passable, flags) {
                    Ok(moved) => {
                        self.held = self.held.saturating_sub(moved);
                        self.copied = self.copied.saturating_sub(moved);
                        has_moved |= moved > 0;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => return Err(Broken),
                }
            }
            if !has_moved {
                break;
            }
        }
        if self.has_failed && self.held == 0 {
            return Err(Broken);
        }
        if self.has_ended && self.held == 0 && !self.is_shut {
            let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
            self.is_shut = true;
            self.copies = None;
        }
        Ok(())
    }

    fn give_up_copies(&mut self) {
        self.copies = None;
        self.copied = 0;
        self.waits_since = None;
    }
}
