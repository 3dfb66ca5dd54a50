//! Object stores: what goes to them and comes from them over HTTP.
//!
//! ```text
//! client ── connect(2), notified ──> the relay (a process) ──> store
//!                                       │ copies
//!                                       └──> taps (a thread): requests, answers, digests
//! ```
//!
//! A client that connects to a store is connected through a relay, which passes on what both
//! send as it is; a thread of the supervisor reads copies. Clients of botocore (boto3,
//! aiobotocore, s3fs) tell which task asks, and what came of it: that counts where nobody
//! could look, as with TLS.

mod body;
mod endpoints;
mod exchange;
mod gate;
mod http;
mod keys;
mod note;
mod recent;
mod relay;
mod request;
mod taps;
mod tls;
mod transfers;

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;
use std::time::Duration;

use bstr::BString;
use roar_lineage::client::{self, Part};
use roar_lineage::event::{Access, Event};
use roar_lineage::model::GapKind;
use roar_lineage::s3::ObjectAccess;
use roar_tracee::abi;

use self::endpoints::{Endpoints, Reached};
use self::exchange::Exchange;
use self::gate::{Direct, Gate};
use self::note::{Announced, Note};
use self::taps::{Loss, Seen, Taps};
use crate::attribution::Work;
use crate::clock;
use crate::observe::Answer;
use crate::proc;
use crate::supervisor::{Source, Supervisor};
use crate::sys::net;

/// Closed connections that are remembered.
const REMEMBERED: usize = 200;
/// How long what has passed may take to be read, while the program waits, and at its end.
const PATIENCE: Duration = Duration::from_millis(200);
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// How long after it has connected a thread makes its first request (nanoseconds).
const SOON: u64 = 1_000_000_000;

/// Port of HTTP over TLS.
const TLS: u16 = 443;
const BY_TLS: &str = "a client of S3, or a process that has one, connected by TLS";

/// What a process has of a client of object stores, told by the files that it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// Nothing.
    None,
    /// pyarrow's part for S3.
    Library,
    /// A client.
    Made,
    /// A client that tells what it does.
    Tells,
}

/// What the supervisor knows of object stores.
#[derive(Default)]
pub(crate) struct Stores {
    endpoints: Endpoints,
    gate: Option<Gate>,
    taps: Option<Taps>,
    /// Where programs log their secrets of TLS.
    keys: Option<OwnedFd>,
    connections: HashMap<u64, Connection>,
    /// Connections that were closed, or so it seemed, and the processes that had them.
    closed: VecDeque<(u64, u32)>,
    next: u64,
    announced: Announced,
}

/// A client's connection.
struct Connection {
    pid: u32,
    /// Where nobody knows a store to be, and how that would be reached.
    guess: Option<(SocketAddr, Reached)>,
    /// Whose work the connecting thread did: the first request is its.
    connected_for: Option<(Work, u64)>,
    /// The requests that have not ended: whose work they are, when they were made, and the
    /// ids of their operations.
    asked: VecDeque<(Work, u64, Option<String>)>,
}

impl Stores {
    fn remember(&mut self, number: u64, connection: Option<&Connection>) {
        if self.closed.len() >= REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.extend(connection.map(|it| (number, it.pid)));
    }

    /// Whether a process is one of the relay's.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.has(pid))
    }
}

/// The variable by which programs are told to log their secrets of TLS, unless they have one.
pub fn key_log() -> Option<(OsString, OsString)> {
    const VARIABLE: &str = "SSLKEYLOGFILE";
    let path = OsStr::from_bytes(abi::KEYS_PATH).to_owned();
    let is_set = std::env::var_os(VARIABLE).is_some();
    (!is_set).then(|| (VARIABLE.into(), path))
}

impl Supervisor {
    /// A thread connects a socket.
    pub(crate) fn connects(
        &mut self,
        pid: u32,
        work: &Work,
        socket: i32,
        address: SocketAddr,
    ) -> Answer {
        if !self.backend.is_notify() {
            return Answer::Continue;
        }
        let Some(process) = self.table.get_mut(pid) else {
            return Answer::Continue;
        };
        if !std::mem::replace(&mut process.knows_stores, true) {
            self.stores.endpoints.learn_from(pid);
        }
        let has_client = matches!(process.client, Client::Made | Client::Tells);
        let makes_guess = process.client == Client::Made && process.page.is_none();
        let tells = process.client == Client::Tells;
        let logs_keys = process.logs_keys;
        let known = self.stores.endpoints.at(address);
        let reached = match known {
            Some(reached) => reached,
            // It may be one that the program was told of in no other way.
            None if has_client && logs_keys && address.port() == TLS => Reached::ByTls,
            None if makes_guess && address.port() == TLS => Reached::ByTls,
            None if makes_guess => Reached::Plainly,
            None => return Answer::Continue,
        };
        let guess = known.is_none().then_some(reached);
        if reached == Reached::ByTls && !logs_keys {
            if !tells {
                self.uncaptured(work, BY_TLS);
            }
            return Answer::Continue;
        }
        match self.stand_between(pid, work, socket, address, guess) {
            Ok(0) => Answer::Success,
            Ok(errno) => Answer::Fails(errno),
            Err(why) => {
                if let Direct::Late = why {
                    self.stores.endpoints.went_away(address);
                }
                let detail = match (guess, reached) {
                    (_, Reached::ByTls) => BY_TLS,
                    (None, Reached::Plainly) => "a connection that nobody could stand between",
                    (Some(_), Reached::Plainly) => return Answer::Continue,
                };
                if !tells && !matches!(why, Direct::Refused) {
                    self.uncaptured(work, detail);
                }
                Answer::Continue
            }
        }
    }

    fn stand_between(
        &mut self,
        pid: u32,
        work: &Work,
        socket: i32,
        address: SocketAddr,
        guess: Option<Reached>,
    ) -> Result<i32, Direct> {
        let stores = &mut self.stores;
        if stores.endpoints.is_away(address) || !is_in_own_network(pid) {
            return Err(Direct::Impossible);
        }
        let process = self.table.get(pid).and_then(|it| it.pidfd.as_ref());
        let pidfd = process.ok_or(Direct::Impossible)?;
        let client = net::descriptor_of(pidfd.as_fd(), socket)?;
        self.start_relay()?;
        let stores = &mut self.stores;
        let gate = stores.gate.as_ref().ok_or(Direct::Impossible)?;
        if stores.connections.len() >= gate.most() {
            return Err(Direct::Impossible);
        }
        let number = stores.next;
        stores.next += 1;
        let joined = gate.join(&client, address, number)?;
        if let Some(taps) = &stores.taps {
            let exchange = Exchange::new(stores.endpoints.names(), guess.is_some());
            taps.watch(number, exchange, joined.copies);
        }
        let connection = Connection {
            pid,
            connected_for: Some((work.clone(), clock::stamp())),
            guess: guess.map(|reached| (address, reached)),
            asked: VecDeque::new(),
        };
        stores.connections.insert(number, connection);
        Ok(joined.result)
    }

    /// Gives a program a log for its secrets of TLS.
    pub(crate) fn give_keys(&mut self, pid: u32) -> Option<OwnedFd> {
        if !self.backend.is_notify() {
            return None;
        }
        if self.stores.keys.is_none() {
            let (keys, log) = keys::log().ok()?;
            self.start_taps().ok()?.decipher(keys);
            self.stores.keys = Some(log);
        }
        let log = self.stores.keys.as_ref()?.try_clone().ok()?;
        self.table.get_mut(pid)?.logs_keys = true;
        Some(log)
    }

    fn start_taps(&mut self) -> std::io::Result<&Taps> {
        if self.stores.taps.is_none() {
            let taps = Taps::begin()?;
            self.watch(taps.wake(), Source::Stores)?;
            self.stores.taps = Some(taps);
        }
        let taps = self.stores.taps.as_ref();
        taps.ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn start_relay(&mut self) -> std::io::Result<()> {
        self.start_taps()?;
        let gate = self.stores.gate.get_or_insert_with(Gate::open);
        if gate.start()?
            && let Some(relay) = self.stores.gate.as_ref().and_then(Gate::relay)
        {
            self.watch(relay, Source::Relay)?;
        }
        Ok(())
    }

    /// The relay says that a connection is copied no longer, or is gone.
    pub(crate) fn hear_relay(&mut self) {
        let heard = self.stores.gate.as_ref().and_then(Gate::hear);
        if let Some(number) = heard {
            self.settle_stores();
            let stores = &mut self.stores;
            let open = stores.connections.remove(&number).map(|it| it.pid);
            let closed = stores.closed.iter().find(|(closed, _)| *closed == number);
            if let Some(pid) = open.or(closed.map(|(_, pid)| *pid)) {
                let work = self.whose(pid, clock::stamp());
                self.uncaptured(&work, "a connection that could be watched no longer");
            }
            return;
        }
        if let Some(relay) = self.stores.gate.as_ref().and_then(Gate::relay) {
            self.unwatch(relay);
        }
        if let Some(gate) = &mut self.stores.gate {
            gate.forget_relay();
        }
    }

    /// Takes in what was seen to pass.
    pub(crate) fn hear_of_stores(&mut self) {
        let seen = self.stores.taps.as_ref().map(Taps::seen);
        self.take_seen(seen.unwrap_or_default());
    }

    /// Takes in all that has passed: a task, or everything, has ended.
    pub(crate) fn settle_stores(&mut self) {
        if self.stores.connections.is_empty() {
            return;
        }
        self.settle_within(PATIENCE);
    }

    /// The same when there is time for it: what is not read now is lost.
    pub(crate) fn settle_stores_at_last(&mut self) {
        if !self.stores.connections.is_empty() && !self.settle_within(LAST_PATIENCE) {
            let root = Work::Task(self.root_membership());
            self.uncaptured(
                &root,
                "what passed to a store and from it was not read in time",
            );
        }
    }

    fn settle_within(&mut self, patience: Duration) -> bool {
        let Some(taps) = &mut self.stores.taps else {
            return true;
        };
        let (seen, is_all) = taps.settled(patience);
        self.take_seen(seen);
        is_all
    }

    fn take_seen(&mut self, seen: Vec<Seen>) {
        for seen in seen {
            match seen {
                Seen::Requested(number, invocation, stamp) => {
                    self.requested(number, invocation, stamp);
                }
                Seen::Ended(number, accesses) => {
                    let Some(connection) = self.stores.connections.get_mut(&number) else {
                        continue;
                    };
                    if let (false, Some((address, reached))) =
                        (accesses.is_empty(), connection.guess.take())
                    {
                        self.stores.endpoints.is_at(address, reached);
                    }
                    let asked = connection.asked.pop_front();
                    let Some((work, stamp, invocation)) = asked else {
                        continue;
                    };
                    let has_succeeded = !accesses.is_empty();
                    self.record_objects(&work, accesses, stamp);
                    let ended = |id: &String| self.stores.announced.ended(id, has_succeeded);
                    if let Some((work, accesses, stamp)) = invocation.as_ref().and_then(ended) {
                        self.record_objects(&work, accesses, stamp);
                    }
                }
                Seen::Closed(number, loss) => {
                    let connection = self.stores.connections.remove(&number);
                    self.stores.remember(number, connection.as_ref());
                    let Some(connection) = connection else {
                        continue;
                    };
                    let client = self.table.get(connection.pid).map(|process| process.client);
                    let detail = match loss {
                        Some(Loss::Enciphered) if client != Some(Client::Tells) => BY_TLS,
                        Some(Loss::NotUnderstood) if connection.guess.is_none() => {
                            "a connection that was not understood"
                        }
                        _ => continue,
                    };
                    let work = self.whose(connection.pid, clock::stamp());
                    self.uncaptured(&work, detail);
                }
                Seen::Settled(_) => {}
            }
        }
    }

    fn requested(&mut self, number: u64, invocation: Option<String>, stamp: u64) {
        let announced = &mut self.stores.announced;
        let announced = invocation.as_ref().and_then(|id| announced.passes(id));
        let Some(connection) = self.stores.connections.get_mut(&number) else {
            return;
        };
        let (pid, first) = (connection.pid, connection.connected_for.take());
        let is_soon = |since: u64| stamp.saturating_sub(since) < SOON;
        let first = first.filter(|(work, since)| matches!(work, Work::Task(_)) && is_soon(*since));
        let work = match announced.or(first.map(|(work, _)| work)) {
            Some(work) => work,
            None => {
                self.catch_up(pid);
                self.whose(pid, stamp)
            }
        };
        if let Some(connection) = self.stores.connections.get_mut(&number) {
            connection.asked.push_back((work, stamp, invocation));
        }
    }

    fn whose(&self, pid: u32, stamp: u64) -> Work {
        let process = self.table.get(pid);
        process.map_or(Work::Unknown, |process| process.work_at(stamp))
    }

    /// A client tells what it is about to do, or what it has done.
    pub(crate) fn told_of_store(&mut self, pid: u32, work: &Work, text: &BString, stamp: u64) {
        let Some(note) = Note::parse(text) else {
            return;
        };
        if let Some(process) = self.table.get_mut(pid) {
            process.client = Client::Tells;
        }
        self.stores.announced.add(&note.id, work);
        // Of what goes over TLS nothing can be seen without its secrets.
        let logs_keys = self.table.get(pid).is_some_and(|process| process.logs_keys);
        if logs_keys || note.endpoint.starts_with("http://") {
            self.stores.endpoints.learn(note.endpoint.as_bytes());
        }
        let id = note.id.clone();
        let Some(accesses) = note.accesses() else {
            return;
        };
        // Then it has been recorded, and with more than is told here.
        if self.stores.announced.is_recorded(&id) {
            return;
        }
        self.settle_stores();
        let done = (work.clone(), accesses, stamp);
        if let Some((work, accesses, stamp)) = self.stores.announced.succeeded(&id, done) {
            self.record_objects(&work, accesses, stamp);
        }
    }

    /// Notices that a process makes a client.
    pub(crate) fn notice_client(&mut self, pid: u32, accesses: &[Access]) {
        for access in accesses {
            let Access::Read { path, .. } = access else {
                continue;
            };
            let part = client::part_of(path);
            let Some(part) = part else { continue };
            if let Some(process) = self.table.get_mut(pid) {
                process.client = match (part, process.client) {
                    (_, Client::Tells) => Client::Tells,
                    (Part::Botocore, _) | (Part::Certificates, Client::Library) => Client::Made,
                    (Part::Arrow, Client::None) => Client::Library,
                    (_, client) => client,
                };
            }
        }
    }

    fn record_objects(&mut self, work: &Work, accesses: Vec<ObjectAccess>, stamp: u64) {
        let Some(membership) = self.tasks_of(work, accesses.len()) else {
            return;
        };
        for access in accesses {
            for (index, task) in membership.iter() {
                if let Some(scope) = self.scopes.get_mut(*index) {
                    let (task, access) = (*task, access.clone());
                    scope.recorder.record(&Event::S3 {
                        task,
                        stamp,
                        access,
                    });
                }
            }
        }
    }

    fn uncaptured(&mut self, work: &Work, detail: &str) {
        let membership = match work {
            Work::Task(membership) => membership.clone(),
            _ => self.root_membership(),
        };
        self.gap(&membership, GapKind::S3Uncaptured, detail);
    }
}

/// Whether a process sees the same network as this one.
fn is_in_own_network(pid: u32) -> bool {
    static OWN: LazyLock<Option<BString>> =
        LazyLock::new(|| proc::link(std::process::id(), "ns/net"));
    proc::link(pid, "ns/net") == *OWN
}
