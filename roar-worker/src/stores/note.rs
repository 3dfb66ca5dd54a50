//! What botocore's clients tell of themselves, by the shim: which operation a thread is about
//! to ask for, and what came of it.

use std::collections::BTreeMap;

use bstr::BString;
use roar_lineage::s3::{ObjectAccess, ObjectAction, ObjectVersion, strong_etag};
use serde::Deserialize;

use super::recent::Recent;
use super::request::copied_range;
use crate::attribution::Work;

/// Most operations that are remembered.
const MOST: usize = 4096;

/// A note. One without an operation comes before the request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    /// The operation's id (`amz-sdk-invocation-id`).
    pub(super) id: String,
    /// The store's URL.
    pub(super) endpoint: String,
    /// Whether the operation is over, and has done nothing.
    over: bool,
    /// Name of the operation, once it has succeeded.
    operation: Option<String>,
    /// With an endpoint: whose name stands before the store's in it.
    pub(super) bucket: String,
    /// Of DeleteObjects there are several.
    keys: Vec<String>,
    source_bucket: String,
    source_key: String,
    source_version: Option<String>,
    /// Of UploadPartCopy, as it asks for it.
    source_range: Option<String>,
    etag: Option<String>,
    version_id: Option<String>,
    size: Option<u64>,
    /// First and last byte.
    range: Option<(u64, u64)>,
    checksums: BTreeMap<String, String>,
}

impl Note {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Whether the operation is over, whether it has done something or not.
    pub(super) fn is_over(&self) -> bool {
        self.over || self.operation.is_some()
    }

    /// Whether the operation has changed objects in a way that is not followed.
    pub(super) fn is_unclear(&self) -> bool {
        self.operation.as_deref() == Some("RenameObject")
    }

    /// What the operation did. `None`: nothing, or it has not been asked for yet.
    pub(super) fn accesses(self) -> Option<Vec<ObjectAccess>> {
        let operation = self.operation?;
        let version_id = self.version_id.filter(|id| id != "null");
        let is_of_version = version_id.is_some();
        let action = match operation.as_str() {
            "GetObject" | "SelectObjectContent" => ObjectAction::Get(self.range),
            "PutObject" => ObjectAction::Put,
            "CopyObject" => ObjectAction::Copy,
            "CompleteMultipartUpload" => ObjectAction::Multipart,
            // Of one version: the object may have others.
            "DeleteObject" if is_of_version => ObjectAction::Look,
            "DeleteObjects" if self.keys.is_empty() => ObjectAction::Look,
            "DeleteObject" | "DeleteObjects" => ObjectAction::Delete,
            _ => ObjectAction::Look,
        };
        let url = |bucket: &str, key: &str| BString::from(format!("s3://{bucket}/{key}"));
        let etag = self.etag.as_deref().and_then(strong_etag);
        let version = match action {
            ObjectAction::Delete | ObjectAction::Look => ObjectVersion::default(),
            _ => ObjectVersion {
                etag,
                version_id,
                size: self.size,
                // Of a range they may be a part's.
                checksums: match self.range {
                    Some(_) => BTreeMap::new(),
                    None => self.checksums,
                },
                digest: None,
            },
        };
        let mut accesses = Vec::new();
        if !self.source_key.is_empty() {
            accesses.push(ObjectAccess {
                url: url(&self.source_bucket, &self.source_key),
                action: ObjectAction::Get(self.source_range.as_deref().and_then(copied_range)),
                version: ObjectVersion {
                    version_id: self.source_version,
                    ..ObjectVersion::default()
                },
            });
        }
        let keys = if self.keys.is_empty() {
            vec![String::new()]
        } else {
            self.keys
        };
        accesses.extend(keys.iter().map(|key| ObjectAccess {
            url: url(&self.bucket, key),
            action,
            version: version.clone(),
        }));
        Some(accesses)
    }
}

/// Operations that were announced, by id.
#[derive(Default)]
pub(super) struct Announced(Recent<String, Operation, MOST>);

struct Operation {
    work: Work,
    /// The thread that asks.
    tid: u32,
    is_over: bool,
    /// Requests of it that were seen to pass and have not ended.
    passing: usize,
    /// Whether one was seen to succeed.
    is_recorded: bool,
    /// What it did, and when that was told.
    told: Option<Done>,
}

/// What an operation did, for whom, and when.
pub(super) type Done = (Work, Vec<ObjectAccess>, u64);

impl Announced {
    /// Somebody's operation is about to be asked for.
    pub(super) fn add(&mut self, id: &str, work: &Work, tid: u32) {
        self.0.entry(id, || Operation {
            work: work.clone(),
            tid,
            is_over: false,
            passing: 0,
            is_recorded: false,
            told: None,
        });
    }

    /// An operation is over.
    pub(super) fn end(&mut self, id: &str) {
        if let Some(operation) = self.0.get_mut(id) {
            operation.is_over = true;
        }
    }

    /// Whether a thread has announced an operation that is not over: what it connects to a
    /// store now is for that.
    pub(super) fn is_asked_by(&self, tid: u32) -> bool {
        self.0.values().any(|it| it.tid == tid && !it.is_over)
    }

    /// A request of an operation passes; whose work it is, if it was announced.
    pub(super) fn passes(&mut self, id: &str) -> Option<Work> {
        let operation = self.0.get_mut(id)?;
        operation.passing += 1;
        Some(operation.work.clone())
    }

    /// A request of an operation has ended. What it did, where that was told and not seen.
    pub(super) fn ended(&mut self, id: &str, has_succeeded: bool) -> Option<Done> {
        let operation = self.0.get_mut(id)?;
        operation.passing = operation.passing.saturating_sub(1);
        operation.is_recorded |= has_succeeded;
        operation.told.take().filter(|_| !operation.is_recorded)
    }

    /// Whether an operation was seen to succeed.
    pub(super) fn is_recorded(&mut self, id: &str) -> bool {
        self.0
            .get_mut(id)
            .is_some_and(|operation| operation.is_recorded)
    }

    /// An operation has succeeded. Gives that back where it was not seen, and will not be.
    pub(super) fn succeeded(&mut self, id: &str, done: Done) -> Option<Done> {
        match self.0.get_mut(id) {
            Some(operation) if operation.is_recorded => None,
            Some(operation) if operation.passing > 0 => {
                // Deletes of many are told in parts.
                match &mut operation.told {
                    Some((_, told, _)) => told.extend(done.1),
                    told => *told = Some(done),
                }
                None
            }
            _ => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_succeeded_is_told_as_what_it_did() {
        let begun = Note::parse(br#"{"id":"1","endpoint":"http://h:1"}"#).unwrap();
        assert!(begun.accesses().is_none());
        let text = br#"{"id":"1","operation":"CopyObject","bucket":"b","keys":["k"],
            "source_bucket":"a","source_key":"s","etag":"\"e\""}"#;
        let told = Note::parse(text).unwrap().accesses().unwrap();
        let urls: Vec<_> = told
            .iter()
            .map(|it| (it.url.to_string(), it.action))
            .collect();
        let expected = [
            ("s3://a/s".to_owned(), ObjectAction::Get(None)),
            ("s3://b/k".to_owned(), ObjectAction::Copy),
        ];
        assert_eq!(urls, expected);
        assert_eq!(told[1].version.etag.as_deref(), Some("e"));
    }

    #[test]
    fn a_part_may_be_copied_from_a_range() {
        let text = br#"{"id":"1","operation":"UploadPartCopy","bucket":"b","keys":["k"],
            "source_bucket":"a","source_key":"s","source_range":"bytes=5-9"}"#;
        let told = Note::parse(text).unwrap().accesses().unwrap();
        assert_eq!(told[0].action, ObjectAction::Get(Some((5, 9))));
    }

    #[test]
    fn a_range_has_no_checksum_of_the_object() {
        let note = |range: &str| {
            let text = format!(
                r#"{{"id":"1","operation":"GetObject","bucket":"b","keys":["k"]{range},
                "checksums":{{"crc32":"AAAA"}}}}"#
            );
            let told = Note::parse(text.as_bytes()).unwrap().accesses().unwrap();
            told[0].version.checksums.len()
        };
        assert_eq!((note(""), note(r#","range":[0,4]"#)), (1, 0));
    }

    #[test]
    fn an_object_is_not_deleted_with_one_of_its_versions() {
        let action = |text: &str| {
            let note = format!(r#"{{"id":"1","bucket":"b",{text}}}"#);
            let told = Note::parse(note.as_bytes()).unwrap().accesses().unwrap();
            told[0].action
        };
        let one = r#""operation":"DeleteObject","keys":["k"]"#;
        assert_eq!(action(one), ObjectAction::Delete);
        let version = |id: &str| format!(r#"{one},"version_id":"{id}""#);
        assert_eq!(action(&version("null")), ObjectAction::Delete);
        assert_eq!(action(&version("v")), ObjectAction::Look);
        assert_eq!(
            action(r#""operation":"DeleteObjects","keys":[]"#),
            ObjectAction::Look
        );
    }
}
