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

mod asked;
mod body;
mod documents;
mod endpoints;
mod exchange;
mod gate;
mod heard;
mod host;
mod http;
mod keys;
mod marks;
mod note;
mod outcome;
mod recent;
mod relay;
mod request;
mod service;
mod taps;
mod tls;
mod transfers;

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use bstr::BString;
use roar_lineage::client::{self, Part};
use roar_lineage::event::Access;
use roar_lineage::model::GapKind;
use roar_tracee::abi;

use self::asked::Asked;
use self::endpoints::{Endpoints, Reached};
use self::exchange::Exchange;
use self::gate::{Direct, Gate};
use self::note::Announced;
use self::taps::{Seen, Taps};
use crate::attribution::Work;
use crate::clock;
use crate::observe::Answer;
use crate::proc;
use crate::supervisor::{Source, Supervisor};
use crate::sys::net;

/// Closed connections that are remembered.
const REMEMBERED: usize = 200;

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
    /// Connections to stores that were closed, or so it seemed, and the processes that had them.
    closed: VecDeque<(u64, u32)>,
    next: u64,
    announced: Announced,
    /// What was heard and not dealt with yet.
    heard: VecDeque<Seen>,
    asked: Asked,
}

/// A client's connection.
struct Connection {
    pid: u32,
    /// Whether what goes over it is told by who asks for it.
    is_told: bool,
    /// Whether the relay copies it no longer.
    is_cut: bool,
    /// Whether what comes of it is a gap already.
    is_given_up: bool,
    /// Where nobody knows a store to be, and how that would be reached.
    guess: Option<(SocketAddr, Reached)>,
    /// Whether something was asked of a store by it.
    has_asked: bool,
    /// Whose work the connecting thread did: the first request is its.
    connected_for: Option<(Work, u64)>,
}

impl Connection {
    /// Whether it is one to a store: where nobody knows one to be, what shows none is
    /// something else.
    fn is_to_store(&self) -> bool {
        self.guess.is_none() || self.has_asked
    }
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
        tid: u32,
        work: &Work,
        socket: i32,
        address: SocketAddr,
    ) -> Answer {
        let Some(process) = self.table.get_mut(pid) else {
            return Answer::Continue;
        };
        if !std::mem::replace(&mut process.knows_stores, true) {
            self.stores.endpoints.learn_from(pid);
        }
        if !self.backend.is_notify() {
            let is_store = self.stores.endpoints.at(address).is_some();
            if is_store && !self.stores.announced.is_asked_by(tid) {
                self.uncaptured(work, "a connection that this backend cannot stand between");
            }
            return Answer::Continue;
        }
        let has_client = matches!(process.client, Client::Made | Client::Tells);
        let makes_guess = process.client == Client::Made && process.page.is_none();
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
        let is_told = self.stores.announced.is_asked_by(tid);
        if reached == Reached::ByTls && !logs_keys {
            if !is_told {
                self.uncaptured(work, BY_TLS);
            }
            return Answer::Continue;
        }
        match self.stand_between(pid, work, socket, address, guess, is_told) {
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
                if !is_told && !matches!(why, Direct::Refused) {
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
        is_told: bool,
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
        let is_taken = |number| {
            let mut open = stores.connections.keys();
            open.any(|open| marks::share_a_slot(*open, number))
        };
        while is_taken(stores.next) {
            stores.next += 1;
        }
        let number = stores.next;
        stores.next += 1;
        let joined = gate.join(&client, address, number)?;
        if let Some(taps) = &stores.taps {
            let timer = marks::Timer::new(gate.marks().clone(), number);
            let exchange = Exchange::new(stores.endpoints.names(), guess.is_some());
            taps.watch(number, exchange, timer, joined.copies);
        }
        let connection = Connection {
            pid,
            is_told,
            is_cut: false,
            is_given_up: false,
            connected_for: Some((work.clone(), clock::stamp())),
            guess: guess.map(|reached| (address, reached)),
            has_asked: false,
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
        let gate = match &mut self.stores.gate {
            Some(gate) => gate,
            none => none.insert(Gate::open()?),
        };
        if gate.start()?
            && let Some(relay) = self.stores.gate.as_ref().and_then(Gate::relay)
        {
            self.watch(relay, Source::Relay)?;
        }
        Ok(())
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
