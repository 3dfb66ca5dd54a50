//! What is heard of connections to stores, from the relay, the taps and the clients
//! themselves, and recorded.

use std::time::Duration;

use bstr::BString;
use roar_lineage::event::Event;
use roar_lineage::s3::ObjectAccess;

use super::asked::Ended;
use super::gate::Gate;
use super::note::Note;
use super::taps::{Loss, Seen, Taps};
use super::{BY_TLS, Client, Connection};
use crate::attribution::Work;
use crate::clock;
use crate::supervisor::Supervisor;

/// A request was made, and it is not known of which object, or what became of it.
const UNCLEAR: &str = "a request of which the object, or what it did to it, is not known";
const SENT_ON: &str = "a request that a store has sent elsewhere";

/// How long what has passed may take to be read, while the program waits, and at its end.
const PATIENCE: Duration = Duration::from_millis(200);
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// How long after it has connected a thread makes its first request (nanoseconds).
const SOON: u64 = 1_000_000_000;

impl Supervisor {
    /// The relay says that a connection is copied no longer, or is gone.
    pub(crate) fn hear_relay(&mut self) {
        let heard = self.stores.gate.as_ref().and_then(Gate::hear);
        if let Some(number) = heard {
            self.settle_stores();
            let stores = &mut self.stores;
            // Its end is heard of by the taps, and what it was if that is not known yet.
            let mut open = stores.connections.get_mut(&number);
            if let Some(connection) = &mut open {
                connection.is_cut = true;
            }
            let open = open.filter(|it| it.is_to_store()).map(|it| {
                it.is_given_up = true;
                it.pid
            });
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
        // Its client is gone, and the store does not know yet: how much it has read, and what,
        // is told at the end of the answer.
        let broken_off: Vec<u64> = self
            .stores
            .connections
            .iter()
            .filter(|(number, it)| {
                let process = self.table.get(it.pid);
                let has_ended = process.is_none_or(|process| process.exit_code.is_some());
                has_ended && it.is_to_store() && self.stores.asked.is_waiting(**number)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in broken_off {
            self.stores.asked.forget(number);
            let root = Work::Task(self.root_membership());
            self.uncaptured(&root, "a request that was broken off at the end");
        }
    }

    /// Takes in all that has passed of a process that has ended.
    pub(crate) fn settle_stores_of(&mut self, pid: u32) {
        if self.stores.connections.values().any(|it| it.pid == pid) {
            self.settle_within(PATIENCE);
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

    /// Deals with what was heard in its order, also where more is heard meanwhile.
    fn take_seen(&mut self, seen: Vec<Seen>) {
        self.stores.heard.extend(seen);
        while let Some(seen) = self.stores.heard.pop_front() {
            match seen {
                Seen::Requested(number, invocation, stamp) => {
                    self.requested(number, invocation, stamp);
                }
                Seen::Ended(number, accesses) => {
                    if !accesses.is_empty()
                        && let Some(connection) = self.stores.connections.get_mut(&number)
                        && let Some((address, reached)) = connection.guess.take()
                    {
                        self.stores.endpoints.is_at(address, reached);
                    }
                    if let Some(ended) = self.stores.asked.ended(number, accesses) {
                        self.request_ended(ended);
                    }
                }
                Seen::Unclear(number, at) => self.unclear_request(number, UNCLEAR, at),
                Seen::SentOn(number, url) => {
                    if !self.stores.endpoints.has(url.as_bytes()) {
                        self.unclear_request(number, SENT_ON, None);
                    }
                }
                Seen::Closed(number, loss) => self.closed(number, loss),
                Seen::Settled(_) => {}
            }
        }
    }

    fn closed(&mut self, number: u64, loss: Option<Loss>) {
        let connection = self.stores.connections.remove(&number);
        self.stores.asked.forget(number);
        // What was lost on the way is told below, and no second time by the relay.
        let is_remembered = |it: &&Connection| loss.is_none() && it.is_to_store();
        let remembered = connection.as_ref().filter(is_remembered);
        self.stores.remember(number, remembered);
        let Some(connection) = connection.filter(|it| !it.is_given_up) else {
            return;
        };
        let detail = match loss {
            Some(Loss::Enciphered) if !self.is_told(&connection) => BY_TLS,
            Some(Loss::NotUnderstood) if connection.is_to_store() => {
                "a connection that was not understood"
            }
            None if connection.is_cut && connection.is_to_store() => {
                "a connection that could be watched no longer"
            }
            _ => return,
        };
        let work = self.whose(connection.pid, clock::stamp());
        self.uncaptured(&work, detail);
    }

    /// Where nobody knows a store to be, what a client that tells does not tell is something else.
    fn is_told(&self, connection: &Connection) -> bool {
        let process = self.table.get(connection.pid);
        let tells = process.is_some_and(|it| it.client == Client::Tells);
        connection.is_told || connection.guess.is_some() && tells
    }

    fn unclear_request(&mut self, number: u64, detail: &str, at: Option<u64>) {
        let connection = self.stores.connections.get(&number);
        let is_heard = |it: &&Connection| !it.is_given_up && !self.is_told(it);
        if let Some(connection) = connection.filter(is_heard) {
            let work = self.whose(connection.pid, at.unwrap_or_else(clock::stamp));
            self.uncaptured(&work, detail);
        }
    }

    fn requested(&mut self, connection: u64, invocation: Option<String>, stamp: Option<u64>) {
        let stores = &mut self.stores;
        let Some(watched) = stores.connections.get_mut(&connection) else {
            return;
        };
        watched.has_asked = true;
        let (pid, first) = (watched.pid, watched.connected_for.take());
        let announced = invocation
            .as_ref()
            .and_then(|id| stores.announced.passes(id));
        let at = stamp.unwrap_or_else(clock::stamp);
        let is_soon = |since: u64| at.saturating_sub(since) < SOON;
        let first = first.filter(|(work, since)| matches!(work, Work::Task(_)) && is_soon(*since));
        let known = announced.or(first.map(|(work, _)| work));
        let is_known = known.is_some();
        let number = stores.asked.begin(connection, at, invocation, known);
        if is_known {
            return;
        }
        self.catch_up(pid);
        let process = self.table.get(pid);
        let has_tasks = process.is_some_and(|process| process.page.is_some());
        let work = match stamp {
            None if has_tasks => Work::Unknown,
            _ => self.whose(pid, at),
        };
        if let Some(ended) = self.stores.asked.attribute(number, work) {
            self.request_ended(ended);
        }
    }

    fn request_ended(&mut self, ended: Ended) {
        let has_succeeded = !ended.accesses.is_empty();
        self.record_objects(&ended.work, ended.accesses, ended.stamp);
        let told = |id: &String| self.stores.announced.ended(id, has_succeeded);
        if let Some((work, accesses, stamp)) = ended.invocation.as_ref().and_then(told) {
            self.record_objects(&work, accesses, stamp);
        }
    }

    fn whose(&self, pid: u32, stamp: u64) -> Work {
        let process = self.table.get(pid);
        process.map_or(Work::Unknown, |process| process.work_at(stamp))
    }

    /// A client tells what it is about to do, or what it has done.
    pub(crate) fn told_of_store(
        &mut self,
        pid: u32,
        tid: u32,
        work: &Work,
        text: &BString,
        stamp: u64,
    ) {
        let Some(note) = Note::parse(text) else {
            return;
        };
        if let Some(process) = self.table.get_mut(pid) {
            process.client = Client::Tells;
        }
        // pyarrow's tells where its store is.
        if !note.id.is_empty() {
            self.stores.announced.add(&note.id, work, tid);
        }
        // Of what goes over TLS nothing can be seen without its secrets.
        let logs_keys = self.table.get(pid).is_some_and(|process| process.logs_keys);
        if logs_keys || note.endpoint.starts_with("http://") {
            self.stores
                .endpoints
                .learn_from_client(note.endpoint.as_bytes(), &note.bucket);
        }
        let id = note.id.clone();
        if note.is_over() {
            self.stores.announced.end(&id);
        }
        if note.is_unclear() {
            return self.uncaptured(work, UNCLEAR);
        }
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
}
