//! Requests and their answers on one connection.

use std::collections::VecDeque;

use roar_lineage::s3::ObjectAccess;

use super::body::Body;
use super::documents::Failed;
use super::http::{FirstLine, Framing, Head, Listener, Messages};
use super::outcome::{Answer, Waiting, checksums};
use super::request::{Action, Request, Unclear};
use super::transfers::Transfers;
use crate::pieces::Piece;

/// Most requests that may wait for their answers.
const MAX_WAITING: usize = 64;

/// What is told of a connection.
#[derive(Debug)]
pub(super) enum Told {
    /// A request was made, of the operation with this id.
    Requested(Option<String>),
    /// The oldest request that has not ended did, with this outcome.
    Ended(Vec<ObjectAccess>),
    /// Of a request the object is not known, or what became of it.
    Unclear,
    /// A client was sent to this URL with what it asked for.
    SentOn(String),
}

/// One connection, as it is seen in both directions.
pub(super) struct Exchange {
    requests: Messages,
    answers: Messages,
    state: State,
}

/// What both directions share.
struct State {
    hosts: Vec<String>,
    /// Whether nobody knows a store to be there, so that a request must show that it is.
    is_guess: bool,
    /// Whether the body of the last request was not waited for.
    has_left_out: bool,
    waiting: VecDeque<Waiting>,
    told: Vec<Told>,
}

impl Exchange {
    /// A new connection to a store with these names.
    pub(super) fn new(hosts: Vec<String>, is_guess: bool) -> Self {
        Self {
            requests: Messages::of_requests(),
            answers: Messages::of_responses(),
            state: State {
                hosts,
                is_guess,
                has_left_out: false,
                waiting: VecDeque::new(),
                told: Vec::new(),
            },
        }
    }

    /// Takes what the store has sent, or the client.
    pub(super) fn take(&mut self, is_stores: bool, bytes: &[u8], transfers: &mut Transfers) {
        if is_stores {
            self.answered(bytes, transfers);
        } else {
            self.sent(bytes, transfers);
        }
    }

    /// Takes what the client has sent.
    fn sent(&mut self, bytes: &[u8], transfers: &mut Transfers) {
        let state = &mut self.state;
        self.requests
            .feed(bytes, &mut Requests { state, transfers });
        self.check();
    }

    /// Takes what the store has sent.
    fn answered(&mut self, bytes: &[u8], transfers: &mut Transfers) {
        let state = &mut self.state;
        self.answers.feed(bytes, &mut Answers { state, transfers });
        if std::mem::take(&mut self.state.has_left_out) {
            self.requests.body_may_be_left_out();
        }
        self.check();
    }

    /// The connection is closed, or is watched no longer. `is_in_order`: the store has closed
    /// it, and has sent all that it would.
    pub(super) fn close(&mut self, is_in_order: bool, transfers: &mut Transfers) {
        let state = &mut self.state;
        self.requests.lose();
        let mut listener = Answers { state, transfers };
        self.answers.close(is_in_order, &mut listener);
        for _ in self.state.waiting.drain(..) {
            self.state.told.push(Told::Ended(Vec::new()));
        }
    }

    /// What there is to tell.
    pub(super) fn told(&mut self) -> impl Iterator<Item = Told> + use<> {
        std::mem::take(&mut self.state.told).into_iter()
    }

    /// Whether it is no longer understood.
    pub(super) fn is_lost(&self) -> bool {
        self.requests.is_lost() || self.answers.is_lost()
    }

    fn check(&mut self) {
        if self.state.waiting.len() > MAX_WAITING {
            self.requests.lose();
            self.answers.lose();
        }
    }
}

struct Requests<'a> {
    state: &'a mut State,
    transfers: &'a mut Transfers,
}

impl Listener for Requests<'_> {
    fn head(&mut self, head: Head) -> Option<Framing> {
        let framing = head.framing()?;
        let request = match Request::of(&head, &self.state.hosts, self.state.is_guess) {
            // Then there is no store.
            Ok(None) if self.state.is_guess => return None,
            Ok(request) => request,
            Err(Unclear) => {
                self.state.told.push(Told::Unclear);
                None
            }
        };
        let appends = head.field("x-amz-write-offset-bytes").is_some();
        let length = head
            .field("x-amz-decoded-content-length")
            .or_else(|| head.field("content-length"))
            .and_then(|length| length.parse().ok());
        let body = match request.as_ref().map(|request| &request.action) {
            Some(Action::Put) if !appends => Body::content(),
            Some(Action::Part { upload, number }) => length.map_or(Body::Ignored, |length| {
                let offsets = self.transfers.places(upload, *number, length).into_iter();
                let pieces = offsets.filter_map(|offset| Piece::new(offset, length));
                Body::Pieces(pieces.collect())
            }),
            Some(Action::DeleteMany | Action::Complete { .. }) => Body::text(),
            _ => Body::Ignored,
        };
        let is_signed = request.as_ref().is_some_and(|it| it.is_signed_in_chunks);
        let invocation = request.as_ref().and_then(|it| it.invocation.clone());
        self.state.told.push(Told::Requested(invocation));
        self.state.waiting.push_back(Waiting {
            request,
            is_head: matches!(&head.first, FirstLine::Request(method, _) if method == "HEAD"),
            holds_back: head.field("expect").is_some(),
            checksums: checksums(&head),
            sent: if is_signed { body.signed() } else { body },
            is_sent: false,
            answer: None,
        });
        Some(framing)
    }

    fn body(&mut self, part: &[u8]) {
        if let Some(waiting) = self.state.waiting.back_mut() {
            waiting.holds_back = false;
            waiting.sent.feed(part);
        }
    }

    fn end(&mut self, is_whole: bool) {
        if let Some(waiting) = self.state.waiting.back_mut() {
            waiting.is_sent = is_whole;
        }
    }
}

struct Answers<'a> {
    state: &'a mut State,
    transfers: &'a mut Transfers,
}

impl Listener for Answers<'_> {
    fn head(&mut self, head: Head) -> Option<Framing> {
        let FirstLine::Response(status) = head.first else {
            return None;
        };
        // An interim answer (RFC 9110, section 15.2); after 101 it is another protocol.
        if (100..200).contains(&status) {
            return (status != 101).then_some(Framing::None);
        }
        // Who closes a connection that is idle may say so (section 15.5.9).
        if status == 408 && self.state.waiting.is_empty() {
            return head.framing();
        }
        let waiting = self.state.waiting.front_mut()?;
        let request = waiting.request.as_ref();
        let framing = match status {
            204 | 304 => Framing::None,
            _ if waiting.is_head => Framing::None,
            _ => head.framing()?,
        };
        let body = match request.map(|request| &request.action) {
            Some(Action::Get) if status == 200 => Body::content(),
            Some(Action::Get) if status == 206 => head
                .range()
                .and_then(|((first, last), _)| Piece::new(first, last - first + 1))
                .map_or(Body::Ignored, |piece| Body::Pieces(vec![piece])),
            Some(Action::Copy(_) | Action::PartCopy(..) | Action::Complete { .. }) => Body::text(),
            Some(Action::DeleteMany) => Body::text(),
            _ => Body::Ignored,
        };
        waiting.answer = Some(Answer { status, head, body });
        Some(framing)
    }

    fn body(&mut self, part: &[u8]) {
        let answer = self.state.waiting.front_mut();
        if let Some(answer) = answer.and_then(|waiting| waiting.answer.as_mut()) {
            answer.body.feed(part);
        }
    }

    fn end(&mut self, is_whole: bool) {
        let is_interim = |waiting: &Waiting| waiting.answer.is_none();
        if self.state.waiting.front().is_none_or(is_interim) {
            return;
        }
        if let Some(waiting) = self.state.waiting.pop_front() {
            self.state.has_left_out |= waiting.holds_back && !waiting.is_sent;
            if let Some(url) = waiting.sent_on() {
                self.state.told.push(Told::SentOn(url));
            }
            let accesses = match waiting.outcome(is_whole, self.transfers) {
                Ok(accesses) => accesses,
                Err(Failed::AsTold) => Vec::new(),
                Err(Failed::Perhaps) => {
                    self.state.told.push(Told::Unclear);
                    Vec::new()
                }
            };
            self.state.told.push(Told::Ended(accesses));
        }
    }
}
