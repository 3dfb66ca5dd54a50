//! What a request came to, once its answer is there.

use std::collections::BTreeMap;

use bstr::BString;
use roar_lineage::s3::{ObjectAccess, ObjectAction, ObjectVersion, strong_etag};

use super::body::Body;
use super::documents::{Failed, etag_of, keys, parts, succeeded};
use super::http::Head;
use super::request::{Action, Request, beside};
use super::transfers::Transfers;

/// A request that waits for its answer.
pub(super) struct Waiting {
    /// `None`: not for an object store, or not clear.
    pub(super) request: Option<Request>,
    pub(super) is_head: bool,
    /// Whether the client waits for leave to send the body, and has sent none of it.
    pub(super) holds_back: bool,
    pub(super) checksums: BTreeMap<String, String>,
    pub(super) sent: Body,
    /// Whether all of the request has passed.
    pub(super) is_sent: bool,
    pub(super) answer: Option<Answer>,
}

/// What came of it so far.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: Head,
    pub(super) body: Body,
}

impl Waiting {
    /// Where a client was sent that asked for an object.
    pub(super) fn sent_on(&self) -> Option<String> {
        let request = self.request.as_ref()?;
        let answer = self.answer.as_ref()?;
        let is_sent_on = matches!(answer.status, 301 | 302 | 307 | 308);
        let location = answer.head.field("location")?;
        let is_elsewhere = is_sent_on && location.contains("://");
        (is_elsewhere && request.action != Action::Look).then(|| location.to_owned())
    }

    /// What it came to.
    pub(super) fn outcome(
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

/// Those that a head tells, by their algorithms.
pub(super) fn checksums(head: &Head) -> BTreeMap<String, String> {
    let fields = head.fields().filter_map(|(name, value)| {
        let algorithm = name.strip_prefix("x-amz-checksum-")?;
        let is_value = !matches!(algorithm, "mode" | "type" | "algorithm");
        is_value.then(|| (algorithm.to_owned(), value.to_owned()))
    });
    fields.collect()
}
