//! The thread that reads copies of what passes the relay, and tells what it comes to.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use roar_lineage::s3::ObjectAccess;

use super::exchange::{Exchange, Told};
use super::keys::Keys;
use super::marks::Timer;
use super::tls::{self, Session};
use super::transfers::Transfers;
use crate::sys::net::{self, is_hung_up};

/// Most that is read at once (bytes).
const MOST: usize = 256 << 10;
/// Token of the descriptor that wakes the thread.
const ORDERS: u64 = u64::MAX;

/// What the thread is asked.
enum Order {
    /// To watch a connection: its number, what passes there, and the copies.
    Watch(u64, Exchange, Timer, [OwnedFd; 2]),
    /// To read what goes over TLS, by the secrets that are told here.
    Decipher(Keys),
    /// To say when all that has passed so far is read.
    Settle(u64),
}

/// What the thread tells.
pub(super) enum Seen {
    /// A request was made on a connection, of the operation with this id, at this time.
    Requested(u64, Option<String>, Option<u64>),
    /// The oldest request of a connection ended, with this outcome.
    Ended(u64, Vec<ObjectAccess>),
    /// Of a request the object is not known, or what became of it; the request's time, if it is
    /// known.
    Unclear(u64, Option<u64>),
    /// A store has sent a client to this URL with what it asked for.
    SentOn(u64, String),
    /// A connection was closed; or, for this reason, is watched no longer.
    Closed(u64, Option<Loss>),
    /// All that had passed is read.
    Settled(u64),
}

/// Why what passed could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// It is something else.
    NotUnderstood,
    /// It was TLS without its secrets, or as nobody here speaks it.
    Enciphered,
}

/// The thread, as the supervisor has it.
pub(super) struct Taps {
    orders: Sender<Order>,
    news: EventFdArc,
    seen: Receiver<Seen>,
    wake: EventFdArc,
    settlings: u64,
}

type EventFdArc = Arc<EventFd>;

impl Taps {
    /// Starts the thread.
    pub(super) fn begin() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = || EventFd::from_value_and_flags(0, flags).map(Arc::new);
        let (news, wake) = (event()?, event()?);
        let (orders, ordered) = channel();
        let (tell, seen) = channel();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*news, EpollEvent::new(EpollFlags::EPOLLIN, ORDERS))?;
        let reader = Reader {
            epoll,
            orders: ordered,
            news: news.clone(),
            tell,
            wake: wake.clone(),
            connections: HashMap::new(),
            transfers: Transfers::default(),
            keys: None,
        };
        let thread = std::thread::Builder::new().name("roar-s3".into());
        thread.stack_size(1 << 20).spawn(move || reader.run())?;
        Ok(Self {
            orders,
            news,
            seen,
            wake,
            settlings: 0,
        })
    }

    /// Readable when there is something to hear.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// What was seen since the last call.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let _ = self.wake.read();
        self.seen.try_iter().collect()
    }

    /// Watches a connection: copies of what the client sends, and of what the store sends.
    pub(super) fn watch(
        &self,
        number: u64,
        exchange: Exchange,
        timer: Timer,
        copies: [OwnedFd; 2],
    ) {
        self.order(Order::Watch(number, exchange, timer, copies));
    }

    /// Reads what goes over TLS from now on.
    pub(super) fn decipher(&self, keys: Keys) {
        self.order(Order::Decipher(keys));
    }

    /// What there is to hear once all that has passed so far is read; waits for that, though
    /// not longer than this. The flag says whether all of it was.
    pub(super) fn settled(&mut self, patience: Duration) -> (Vec<Seen>, bool) {
        self.settlings += 1;
        self.order(Order::Settle(self.settlings));
        let until = Instant::now() + patience;
        let mut heard = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(Seen::Settled(number)) if number == self.settlings => return (heard, true),
                Ok(seen) => heard.push(seen),
                Err(_) => return (heard, false),
            }
        }
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        let _ = self.news.write(1);
    }
}

struct Reader {
    epoll: Epoll,
    orders: Receiver<Order>,
    news: EventFdArc,
    tell: Sender<Seen>,
    wake: EventFdArc,
    connections: HashMap<u64, Watched>,
    transfers: Transfers,
    keys: Option<Keys>,
}

struct Watched {
    channel: Channel,
    exchange: Exchange,
    timer: Timer,
    /// `None`: nothing more comes.
    sent: Option<File>,
    answered: Option<File>,
    /// Bytes of the store's that were read.
    taken: u64,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = vec![0; MOST];
        loop {
            let mut events = [EpollEvent::empty(); 64];
            let ready = self
                .epoll
                .wait(&mut events, EpollTimeout::NONE)
                .unwrap_or(0);
            for event in events.iter().take(ready) {
                match event.data() {
                    ORDERS => {
                        let _ = self.news.read();
                        if !self.obey(&mut buffer) {
                            return;
                        }
                    }
                    number => self.read(number, &mut buffer),
                }
            }
        }
    }

    /// False when the supervisor wants no more.
    fn obey(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Watch(number, exchange, timer, copies)) => {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
                    let [sent, answered] = copies;
                    let is_watched = self.epoll.add(&sent, event).is_ok()
                        && self.epoll.add(&answered, event).is_ok();
                    if !is_watched {
                        self.say(Seen::Closed(number, Some(Loss::NotUnderstood)));
                        continue;
                    }
                    let watched = Watched {
                        channel: Channel::Unknown,
                        exchange,
                        timer,
                        sent: Some(sent.into()),
                        answered: Some(answered.into()),
                        taken: 0,
                    };
                    self.connections.insert(number, watched);
                }
                Ok(Order::Decipher(keys)) => self.keys = Some(keys),
                Ok(Order::Settle(number)) => {
                    let all: Vec<u64> = self.connections.keys().copied().collect();
                    for connection in all {
                        self.read(connection, buffer);
                    }
                    self.say(Seen::Settled(number));
                }
                Err(error) => return error == std::sync::mpsc::TryRecvError::Empty,
            }
        }
    }

    /// Reads what there is of one connection: what was asked before what was answered, since
    /// it passed first.
    fn read(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(watched) = self.connections.get_mut(&number) else {
            return;
        };
        let Watched {
            channel,
            exchange,
            timer,
            sent,
            answered,
            taken,
        } = watched;
        let (transfers, keys) = (&mut self.transfers, &mut self.keys);
        // In this order: what these answers answer has been sent.
        let mut left = answered.as_ref().map_or(0, readable);
        let mut requests = sent.as_ref().map_or(0, readable);
        let mut told = Vec::new();
        let mut pass = |is_stores, part: &[u8]| {
            channel.pass(is_stores, part, keys.as_mut(), |is_stores, said| {
                exchange.take(is_stores, said, transfers);
            });
            exchange.told()
        };
        // Each turn takes what the client sent up to the next mark, and what the store had
        // sent before that one.
        loop {
            let next = timer.next();
            let window = next.map_or(requests, |next| next.left.min(requests));
            requests -= window;
            drain(sent, window, buffer, |part| {
                let time = timer.passed(part.len());
                told.extend(pass(false, part).map(|told| (told, time)));
            });
            let window = match next {
                Some(next) if requests > 0 => next.answered.saturating_sub(*taken).min(left),
                _ => left,
            };
            left -= window;
            let mut late = Vec::new();
            drain(answered, window, buffer, |part| {
                *taken += part.len() as u64;
                late.extend(pass(true, part));
            });
            // What was sent could be read only now: of several it is unknown when.
            let is_request = |told: &&Told| matches!(told, Told::Requested(_));
            let is_one = late.iter().filter(is_request).count() <= 1;
            let time = timer.time().filter(|_| is_one);
            told.extend(late.into_iter().map(|told| (told, time)));
            if requests == 0 {
                break;
            }
        }
        let is_closed = sent.is_none() && answered.is_none();
        let loss = match channel.is_sealed(is_closed) {
            true => Some(Loss::Enciphered),
            false => exchange.is_lost().then_some(Loss::NotUnderstood),
        };
        let is_over = loss.is_some() || is_closed;
        if is_over {
            let has_ended = match channel {
                Channel::Tls(session) => session.has_ended(),
                _ => timer.has_ended(),
            };
            exchange.close(loss.is_none() && has_ended, transfers);
        }
        told.extend(exchange.told().map(|told| (told, None)));
        for (told, stamp) in told {
            self.say(match told {
                Told::Requested(invocation) => Seen::Requested(number, invocation, stamp),
                Told::Ended(accesses) => Seen::Ended(number, accesses),
                Told::Unclear => Seen::Unclear(number, stamp),
                Told::SentOn(url) => Seen::SentOn(number, url),
            });
        }
        if is_over {
            self.connections.remove(&number);
            self.say(Seen::Closed(number, loss));
        }
    }

    fn say(&self, seen: Seen) {
        let _ = self.tell.send(seen);
        let _ = self.wake.write(1);
    }
}

/// How the two speak to each other.
enum Channel {
    /// Nothing has passed yet.
    Unknown,
    /// As anybody can read.
    Plain,
    /// By TLS.
    Tls(Box<Session>),
}

impl Channel {
    /// Takes a piece of what passed, the client's or the store's, and gives what it says.
    fn pass(
        &mut self,
        is_stores: bool,
        part: &[u8],
        keys: Option<&mut Keys>,
        mut say: impl FnMut(bool, &[u8]),
    ) {
        if let Self::Unknown = self {
            *self = match part.first() {
                Some(&tls::HANDSHAKE) => Self::Tls(Box::new(Session::new())),
                _ => Self::Plain,
            };
        }
        match (self, keys) {
            (Self::Tls(session), Some(keys)) => session.feed(is_stores, part, keys, say),
            (Self::Tls(session), None) => session.lose(),
            _ => say(is_stores, part),
        }
    }

    /// Whether it can be read no longer, or by its end could not.
    fn is_sealed(&self, is_closed: bool) -> bool {
        match self {
            Self::Tls(session) => session.is_lost() || is_closed && session.is_waiting(),
            _ => false,
        }
    }
}

fn readable(pipe: &File) -> u64 {
    net::readable(pipe.as_fd()) as u64
}

/// Reads so much of a pipe, and closes it at its end.
fn drain(pipe: &mut Option<File>, mut left: u64, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    while let Some(file) = pipe {
        if left == 0 {
            // In this order: nothing comes any more.
            if is_hung_up(file.as_fd()) && readable(file) == 0 {
                *pipe = None;
            }
            return;
        }
        let most = buffer.len() as u64;
        let window = left.min(most) as usize;
        match file.read(buffer.get_mut(..window).unwrap_or_default()) {
            Ok(0) => *pipe = None,
            Ok(length) => {
                take(buffer.get(..length).unwrap_or_default());
                left = left.saturating_sub(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
