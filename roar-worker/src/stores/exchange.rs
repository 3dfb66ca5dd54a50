//! Requests and their answers on one connection, and what they come to.

use std::collections::{BTreeMap, VecDeque};

use bstr::BString;
use roar_lineage::s3::{ObjectAccess, ObjectAction, ObjectVersion, strong_etag};

use super::body::Body;
use super::documents::{Failed, etag_of, keys, parts, succeeded};
use super::http::{FirstLine, Framing, Head, Listener, Messages};
use super::request::{Action, Request, Unclear, beside};
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

struct Waiting {
    /// `None`: not for an object store.
    request: Option<Request>,
    is_head: bool,
    /// Whether the client waits for leave to send the body, and has sent none of it.
    holds_back: bool,
    checksums: BTreeMap<String, String>,
    sent: Body,
    /// Whether all of the request has passed.
    is_sent: bool,
    answer: Option<Answer>,
}

struct Answer {
    status: u16,
    head: Head,
    body: Body,
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

impl Waiting {
    /// Where a client was sent that asked for an object.
    fn sent_on(&self) -> Option<String> {
        let request = self.request.as_ref()?;
        let answer = self.answer.as_ref()?;
        let is_sent_on = matches!(answer.status, 301 | 302 | 307 | 308);
        let location = answer.head.field("location")?;
        let is_elsewhere = is_sent_on && location.contains("://");
        (is_elsewhere && request.action != Action::Look).then(|| location.to_owned())
    }

    /// What it came to.
    fn outcome(
        self,
        is_whole: bool,
        transfers: &mut Transfers,
    ) -> Result<Vec<ObjectAccess>, Failed> {
        let (Some(request), Some(answer)) = (self.request, self.answer) else {
            return Ok(Vec::new());
        };
        let Answer { status, head, body } = answer;
        if !(200..300).contains(&status) {
            return Err(Failed::AsTold);
        }
        let url = request.url;
        let mut version = version_of(&head);
        let names_version = request.version_id.is_some();
        version.version_id = version.version_id.or(request.version_id);
        let one = |action, version| {
            let url = url.clone();
            Ok(vec![ObjectAccess {
                url,
                action,
                version,
            }])
        };
        match request.action {
            Action::Get if status == 206 => {
                // They may be a part's.
                version.checksums.clear();
                // Several ranges at once are told in the body.
                let Some((range, size)) = head.range() else {
                    return one(ObjectAction::Get(None), version);
                };
                version.size = size;
                if let (true, [piece], Some(size)) = (is_whole, body.pieces(), size) {
                    version.digest = transfers.received(&url, &version, piece, size);
                }
                one(ObjectAction::Get(Some(range)), version)
            }
            Action::Get => {
                version.size = head.field("content-length").and_then(|it| it.parse().ok());
                if let (true, Some((digest, size))) = (is_whole, body.digest()) {
                    version.digest = Some(digest);
                    version.size = Some(size);
                }
                if is_encoded_on_its_way(&head) {
                    (version.digest, version.size, version.etag) = (None, None, None);
                }
                one(ObjectAction::Get(None), version)
            }
            Action::Select => {
                let version_id = version.version_id;
                let known = ObjectVersion {
                    version_id,
                    ..ObjectVersion::default()
                };
                one(ObjectAction::Get(None), known)
            }
            Action::Put => {
                if let (true, Some((digest, size))) = (self.is_sent, self.sent.digest()) {
                    version.digest = Some(digest);
                    version.size = Some(size);
                }
                for (name, value) in self.checksums {
                    version.checksums.entry(name).or_insert(value);
                }
                one(ObjectAction::Put, version)
            }
            Action::Part { upload, number } => {
                let pieces = if self.is_sent {
                    self.sent.pieces()
                } else {
                    &[]
                };
                transfers.sent(&upload, number, version.etag, pieces);
                one(ObjectAction::Look, ObjectVersion::default())
            }
            Action::Complete { upload } => {
                let text = succeeded(body)?;
                let parts = self.sent.into_text().and_then(|text| parts(&text));
                if let Some((digest, size)) = transfers.completed(&upload, parts) {
                    version.digest = Some(digest);
                    version.size = Some(size);
                }
                version.etag = etag_of(&text);
                one(ObjectAction::Multipart, version)
            }
            Action::Copy(source) => {
                let text = succeeded(body)?;
                version.etag = etag_of(&text);
                let asked = source.version_id;
                let read = read_of(source.url, asked, &head);
                let mut accesses = one(ObjectAction::Copy, version)?;
                accesses.insert(0, read);
                Ok(accesses)
            }
            Action::PartCopy(source, range) => {
                succeeded(body)?;
                let mut read = read_of(source.url, source.version_id, &head);
                read.action = ObjectAction::Get(range);
                Ok(vec![read])
            }
            // Of one version: the object may have others.
            Action::Delete if names_version => one(ObjectAction::Look, ObjectVersion::default()),
            Action::Delete => one(ObjectAction::Delete, ObjectVersion::default()),
            Action::DeleteMany => {
                // In quiet mode only what failed is told: what was asked for tells the rest.
                let failed = keys(&succeeded(body)?, "Error").ok_or(Failed::Perhaps)?;
                let asked = self.sent.into_text().and_then(|text| keys(&text, "Object"));
                let asked = asked.ok_or(Failed::Perhaps)?.into_iter();
                let deleted = asked.filter(|one| !failed.contains(one));
                let access = |(key, version): (String, Option<String>)| ObjectAccess {
                    url: beside(&url, key.as_bytes()),
                    action: match version.filter(|id| id != "null") {
                        Some(_) => ObjectAction::Look,
                        None => ObjectAction::Delete,
                    },
                    version: ObjectVersion::default(),
                };
                Ok(deleted.map(access).collect())
            }
            Action::Look => one(ObjectAction::Look, ObjectVersion::default()),
        }
    }
}

fn read_of(url: BString, asked: Option<String>, head: &Head) -> ObjectAccess {
    let told = head
        .field("x-amz-copy-source-version-id")
        .map(str::to_owned);
    ObjectAccess {
        url,
        action: ObjectAction::Get(None),
        version: ObjectVersion {
            version_id: told.or(asked),
            ..ObjectVersion::default()
        },
    }
}

/// Whether what stands before a store may have compressed what it answers: then the ETag is
/// weak (RFC 9110, section 8.8.1), gone, or has the coding's name at its end, as Apache's.
fn is_encoded_on_its_way(head: &Head) -> bool {
    let Some(coding) = head.field("content-encoding") else {
        return false;
    };
    let etag = head.field("etag").and_then(strong_etag);
    etag.is_none_or(|etag| {
        let before = etag.strip_suffix(coding);
        before.is_some_and(|before| before.ends_with('-'))
    })
}

/// What an answer's head says of the version.
fn version_of(head: &Head) -> ObjectVersion {
    let id = head.field("x-amz-version-id").filter(|id| *id != "null");
    ObjectVersion {
        etag: head.field("etag").and_then(strong_etag),
        version_id: id.map(str::to_owned),
        size: None,
        checksums: checksums(head),
        digest: None,
    }
}

fn checksums(head: &Head) -> BTreeMap<String, String> {
    let fields = head.fields().filter_map(|(name, value)| {
        let algorithm = name.strip_prefix("x-amz-checksum-")?;
        let is_value = !matches!(algorithm, "mode" | "type" | "algorithm");
        is_value.then(|| (algorithm.to_owned(), value.to_owned()))
    });
    fields.collect()
}
