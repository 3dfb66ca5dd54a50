//! The relay: processes that stand between clients and a store, and pass on what each sends
//! as it is.
//!
//! What passes never enters their memory: `splice(2)` moves it from one socket through a pipe
//! to the other, and `tee(2)` gives the supervisor a copy on the way. So all that is under
//! way is in pipes. There are two of them, with the same descriptors: one works and one
//! stands by, which goes on where the other ends or stops, and loses nothing. Either makes
//! another of itself when the other is gone. A copy that nobody takes is given up, and what
//! passes goes on without.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice, tee};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::marks::{Marker, Marks};
use crate::sys::mapping::Mapping;
use crate::sys::process::{self, Fork};
use crate::sys::{net, socket};

/// How long a copy may wait to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so long without a beat of its heart the one that works is replaced.
const STILL: Duration = Duration::from_secs(3);
/// How long after one was made no other is.
const REST: Duration = Duration::from_secs(1);
/// How often it is moved before others have their turn.
const ROUNDS: usize = 16;
/// Most that is moved at once (bytes).
const MOST: usize = 1 << 20;
/// Tokens of the supervisor and of the other one; connections have their numbers.
const SUPERVISOR: u64 = u64::MAX;
const OTHER: u64 = u64::MAX - 1;

/// Works until the supervisor is gone and every connection is closed. From the supervisor
/// come connections: a number, and the client's socket, the store's, two pipes (of each the
/// end to read from first), and the two ends that copies go into. It hears the numbers of
/// those that are copied no longer.
pub(super) fn run(supervisor: OwnedFd, marks: Arc<Marks>) {
    let Ok(heart) = Mapping::anonymous(4096) else {
        return;
    };
    let mut relay = Relay {
        supervisor: Some(supervisor),
        connections: BTreeMap::new(),
        other: None,
        heart,
        paired: None,
        marks,
    };
    // Each turn of this loop is a turn at work, and after it one at standing by, or the end.
    loop {
        relay.pair_up();
        if relay.is_standing_by() {
            if !relay.stand_by() || !relay.take_over() {
                return;
            }
        } else if !relay.work() {
            relay.dismiss_other();
            return;
        }
    }
}

struct Relay {
    /// `None`: it is gone.
    supervisor: Option<OwnedFd>,
    connections: BTreeMap<u64, Connection>,
    other: Option<Other>,
    heart: Mapping,
    /// When another one was made last.
    paired: Option<Instant>,
    marks: Arc<Marks>,
}

/// The other one of the two.
struct Other {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    works: bool,
}

impl Relay {
    /// Makes another one that stands by, unless there is one.
    fn pair_up(&mut self) {
        let is_early = self.paired.is_some_and(|at| at.elapsed() < REST);
        if self.other.is_some() || is_early {
            return;
        }
        self.paired = Some(Instant::now());
        let own = Pid::this();
        let (Ok((ours, theirs)), Ok(own_pidfd)) = (
            socket::pair(),
            process::open_pidfd(own.as_raw().cast_unsigned()),
        ) else {
            return;
        };
        match process::fork() {
            Ok(Fork::Child) => {
                drop(ours);
                for connection in self.connections.values_mut() {
                    connection.give_up_copies();
                }
                self.other = Some(Other {
                    pid: own,
                    pidfd: own_pidfd,
                    socket: theirs,
                    works: true,
                });
            }
            Ok(Fork::Parent(pid)) => {
                drop(theirs);
                let pidfd = process::open_pidfd(pid.cast_unsigned());
                self.other = pidfd.ok().map(|pidfd| Other {
                    pid: Pid::from_raw(pid),
                    pidfd,
                    socket: ours,
                    works: false,
                });
            }
            Err(_) => {}
        }
    }

    fn is_standing_by(&self) -> bool {
        self.other.as_ref().is_some_and(|other| other.works)
    }

    /// False when there is nothing more to do; true when the other one is gone.
    fn work(&mut self) -> bool {
        let Ok(epoll) = self.watch_all() else {
            return false;
        };
        let mut busy: Vec<u64> = self.connections.keys().copied().collect();
        while self.supervisor.is_some() || !self.connections.is_empty() {
            let waits = self.connections.values().any(Connection::waits_for_copy);
            let timeout = match (busy.is_empty(), waits) {
                (false, _) => EpollTimeout::ZERO,
                (true, true) => EpollTimeout::from(100u16),
                (true, false) => EpollTimeout::from(1000u16),
            };
            let mut events = [EpollEvent::empty(); 64];
            let ready = epoll.wait(&mut events, timeout).unwrap_or(0);
            self.heart.store(0, self.heart.load(0).wrapping_add(1));
            let mut touched = std::mem::take(&mut busy);
            for event in events.iter().take(ready) {
                match event.data() {
                    OTHER => {
                        self.forget_other();
                        return true;
                    }
                    SUPERVISOR => touched.extend(self.hear(&epoll)),
                    number => touched.push(number),
                }
            }
            if waits {
                touched.extend(self.connections.keys());
            }
            if self.other.is_none() && self.paired.is_none_or(|at| at.elapsed() > REST) {
                return true;
            }
            touched.sort_unstable();
            touched.dedup();
            for number in touched {
                if self.pass(number) {
                    busy.push(number);
                }
            }
        }
        false
    }

    fn watch_all(&self) -> io::Result<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let event = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        if let Some(supervisor) = &self.supervisor {
            epoll.add(supervisor, event(SUPERVISOR))?;
        }
        if let Some(other) = &self.other {
            epoll.add(&other.pidfd, event(OTHER))?;
        }
        for (number, connection) in &self.connections {
            connection.watch(&epoll, *number)?;
        }
        Ok(epoll)
    }

    /// A connection from the supervisor; its number. `None`: that is gone.
    fn hear(&mut self, epoll: &Epoll) -> Option<u64> {
        let from = self.supervisor.as_ref()?.as_fd();
        let (number, descriptors) = match socket::receive_descriptors(from) {
            Ok(Some(heard)) => heard,
            Ok(None) => {
                self.supervisor = None;
                return None;
            }
            Err(_) => return None,
        };
        if let Some(other) = &self.other {
            let shared: Vec<_> = descriptors.iter().take(6).map(AsRawFd::as_raw_fd).collect();
            let _ = socket::send_descriptors(other.socket.as_fd(), number, &shared);
        }
        let mut connection = Connection::new(descriptors)?;
        connection.watch(epoll, number).ok()?;
        connection.marker = Some(Marker::new(self.marks.clone(), number));
        self.connections.insert(number, connection);
        Some(number)
    }

    /// Passes on what there is on a connection. True when there is more.
    fn pass(&mut self, number: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else {
            return false;
        };
        let was_copied = connection.is_copied();
        match connection.pass() {
            Passed::Over => {
                self.connections.remove(&number);
                if let Some(other) = &self.other {
                    let _ = socket::send_descriptors(other.socket.as_fd(), number, &[]);
                }
                false
            }
            passed => {
                if was_copied && !connection.is_copied() {
                    // One way without the other tells nothing.
                    connection.give_up_copies();
                    self.say_not_copied(number);
                }
                passed == Passed::Some
            }
        }
    }

    fn say_not_copied(&self, number: u64) {
        if let Some(supervisor) = &self.supervisor {
            let _ = socket::send_descriptors(supervisor.as_fd(), number, &[]);
        }
    }

    /// There is nothing more to do for either.
    fn dismiss_other(&mut self) {
        if let Some(other) = &self.other {
            let _ = kill(other.pid, Signal::SIGKILL);
        }
        self.forget_other();
    }

    fn forget_other(&mut self) {
        if let Some(other) = self.other.take() {
            let _ = waitpid(other.pid, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Waits until the other one works no longer. False when it has nothing more to do.
    fn stand_by(&mut self) -> bool {
        let Some(other) = &self.other else {
            return true;
        };
        let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else {
            return false;
        };
        let event = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        let watched = epoll.add(&other.pidfd, event(OTHER));
        if watched
            .and(epoll.add(&other.socket, event(SUPERVISOR)))
            .is_err()
        {
            return false;
        }
        let mut beats = (self.heart.load(0), Instant::now());
        loop {
            let mut events = [EpollEvent::empty(); 2];
            let ready = epoll
                .wait(&mut events, EpollTimeout::from(1000u16))
                .unwrap_or(0);
            let mut events = events.iter().take(ready);
            let has_ended = events.any(|event| event.data() == OTHER);
            let heard = || socket::receive_descriptors(other.socket.as_fd());
            while let Ok(Some((number, descriptors))) = heard() {
                match Connection::new(descriptors) {
                    Some(connection) => self.connections.insert(number, connection),
                    None => self.connections.remove(&number),
                };
            }
            let now = self.heart.load(0);
            if now != beats.0 {
                beats = (now, Instant::now());
            }
            if has_ended {
                return true;
            }
            if beats.1.elapsed() > STILL && !self.connections.is_empty() {
                let _ = kill(other.pid, Signal::SIGKILL);
            }
        }
    }

    /// The other one worked, and is gone. False when there is nothing left to do.
    fn take_over(&mut self) -> bool {
        self.forget_other();
        if self
            .supervisor
            .as_ref()
            .is_some_and(|it| net::is_hung_up(it.as_fd()))
        {
            self.supervisor = None;
        }
        if self.supervisor.is_none() && self.connections.is_empty() {
            return false;
        }
        for connection in self.connections.values_mut() {
            connection.recount();
        }
        for number in self.connections.keys() {
            self.say_not_copied(*number);
        }
        true
    }
}

/// A client's connection to a store.
struct Connection {
    client: OwnedFd,
    store: OwnedFd,
    out: Way,
    back: Way,
    /// Where the copies are marked that the client sent, and whether it is its turn.
    marker: Option<Marker>,
    is_clients_turn: bool,
}

/// One direction.
struct Way {
    pipe: [OwnedFd; 2],
    /// Where copies go.
    copies: Option<OwnedFd>,
    /// Bytes in the pipe, and how many of them have been copied.
    held: usize,
    copied: usize,
    /// Bytes that were copied, from the first on.
    all_copied: u64,
    has_ended: bool,
    has_failed: bool,
    is_shut: bool,
    /// Since when a copy is not taken.
    waits_since: Option<Instant>,
    /// Whether its copies were given up.
    gave_up: bool,
}

/// A side is gone.
struct Broken {
    /// Whether by a reset, before which it had not ended what it sends.
    is_reset: bool,
}

/// What was passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// All that there was.
    All,
    /// As much as others can wait for.
    Some,
    /// All that there ever will be.
    Over,
}

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
            marker: None,
            is_clients_turn: true,
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

    fn is_copied(&self) -> bool {
        !self.out.gave_up && !self.back.gave_up
    }

    fn give_up_copies(&mut self) {
        self.out.give_up_copies();
        self.back.give_up_copies();
    }

    /// Looks how much is in the pipes.
    fn recount(&mut self) {
        self.out.recount();
        self.back.recount();
    }

    fn waits_for_copy(&self) -> bool {
        self.out.waits_since.is_some() || self.back.waits_since.is_some()
    }

    /// Passes on what there is.
    fn pass(&mut self) -> Passed {
        let (marker, turn) = (&mut self.marker, &mut self.is_clients_turn);
        let answered = self.back.all_copied;
        let out = self
            .out
            .pass(self.client.as_fd(), self.store.as_fd(), |offset| {
                if let (true, Some(marker)) = (std::mem::take(turn), marker.as_mut()) {
                    marker.mark(offset, answered);
                }
            });
        let has_client = out.is_ok() && !self.out.has_ended && !self.out.has_failed;
        let back = self
            .back
            .pass(self.store.as_fd(), self.client.as_fd(), |_| *turn = true);
        if self.back.is_through() {
            if let (true, Some(marker)) = (has_client, &self.marker) {
                marker.end();
            }
            // Nothing is answered any more. It is known before the client can go.
            self.out.end_copies();
            self.back.end_copies();
        }
        let is_reset = |way: &Result<_, Broken>| way.as_ref().is_err_and(|it| it.is_reset);
        // Nobody is to take a reset for an end: what is sent after one fails otherwise.
        if !is_reset(&out) && !is_reset(&back) {
            self.out.shut(self.store.as_fd());
            self.back.shut(self.client.as_fd());
        }
        if out.is_err() || back.is_err() {
            net::reset(self.client.as_fd());
            net::reset(self.store.as_fd());
            return Passed::Over;
        }
        match (out, back) {
            _ if self.out.is_shut && self.back.is_shut => Passed::Over,
            (Ok(Passed::Some), _) | (_, Ok(Passed::Some)) => Passed::Some,
            _ => Passed::All,
        }
    }
}

impl Way {
    fn new(pipe: [OwnedFd; 2], copies: Option<OwnedFd>) -> Self {
        Self {
            pipe,
            copies,
            held: 0,
            copied: 0,
            all_copied: 0,
            has_ended: false,
            has_failed: false,
            is_shut: false,
            waits_since: None,
            gave_up: false,
        }
    }

    /// Passes on what there is; `copies_from` is called with the offset of what will be copied.
    fn pass(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        mut copies_from: impl FnMut(u64),
    ) -> Result<Passed, Broken> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let mut passed = Passed::Some;
        for _ in 0..ROUNDS {
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
                copies_from(self.all_copied);
                match tee(&self.pipe[0], copies, self.held, flags) {
                    Ok(copied) if copied > 0 => {
                        self.copied = copied;
                        self.all_copied += copied as u64;
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
                    Err(errno) => {
                        let is_reset = errno == Errno::ECONNRESET;
                        return Err(Broken { is_reset });
                    }
                }
            }
            if !has_moved {
                passed = Passed::All;
                break;
            }
        }
        if self.has_failed && self.held == 0 {
            return Err(Broken { is_reset: true });
        }
        Ok(passed)
    }

    /// Whether all has passed that there ever will be.
    fn is_through(&self) -> bool {
        self.has_ended && self.held == 0
    }

    /// Passes on the end.
    fn shut(&mut self, to: BorrowedFd<'_>) {
        if self.is_through() && !self.is_shut {
            self.end_copies();
            let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
            self.is_shut = true;
        }
    }

    fn recount(&mut self) {
        self.held = net::readable(self.pipe[0].as_fd());
    }

    fn end_copies(&mut self) {
        self.copies = None;
        self.copied = 0;
        self.waits_since = None;
    }

    fn give_up_copies(&mut self) {
        self.end_copies();
        self.gave_up = true;
    }
}
