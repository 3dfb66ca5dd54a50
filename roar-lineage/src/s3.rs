//! Objects of an object store: which versions tasks read, wrote and deleted.
//!
//! What a store says of a version is kept as what it is. An ETag is no digest: that of a
//! multipart upload depends on its parts ("Checking object integrity", Amazon S3 User Guide).

use std::collections::BTreeMap;

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// One version of an object, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// ETag, without its quotes; none that is weak.
    pub etag: Option<String>,
    /// Version id, where the bucket keeps versions.
    pub version_id: Option<String>,
    /// Size of the whole object (bytes).
    pub size: Option<u64>,
    /// Checksums as the store's headers have them: the algorithm's name in lower case
    /// (`sha256`, `crc32`, `crc64nvme`), and its value in base64. Of a multipart upload they
    /// end in `-` and the number of parts.
    pub checksums: BTreeMap<String, String>,
    /// Digest of the content, where all of it was seen.
    pub digest: Option<Digest>,
}

/// An ETag without its quotes. `None`: it is weak (`W/"…"`), and contents that differ may have
/// it too (RFC 9110, section 8.8.1).
pub fn strong_etag(etag: &str) -> Option<String> {
    let etag = etag.trim();
    (!etag.starts_with("W/")).then(|| etag.trim_matches('"').to_owned())
}

/// What a record keeps of what a store said of a version, beside its size and digest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// See [`ObjectVersion::etag`].
    pub etag: Option<String>,
    /// See [`ObjectVersion::version_id`].
    pub version_id: Option<String>,
    /// See [`ObjectVersion::checksums`].
    pub checksums: BTreeMap<String, String>,
    /// The bytes that were read, first and last of each range, in order and apart; empty
    /// when all of it was read, or none.
    pub ranges: Vec<(u64, u64)>,
}

/// What tells the versions of one URL apart.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// ETag.
    pub etag: Option<&'a str>,
    /// Version id. That of a bucket whose versioning is suspended is `null` for all that
    /// it overwrites, and names nothing.
    pub version_id: Option<&'a str>,
    /// Digest of the content.
    pub digest: Option<Digest>,
}

impl Identity<'_> {
    /// Whether both are one version: by version id, else ETag, else digest. None when they
    /// have none of them in common.
    pub fn is(self, other: Identity<'_>) -> Option<bool> {
        fn equal<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<bool> {
            Some(one? == other?)
        }
        equal(self.version_id, other.version_id)
            .or_else(|| equal(self.etag, other.etag))
            .or_else(|| equal(self.digest, other.digest))
    }

    /// Whether nothing tells this version from others.
    pub fn is_unknown(self) -> bool {
        self.etag.is_none() && self.version_id.is_none() && self.digest.is_none()
    }
}

fn naming(version_id: Option<&String>) -> Option<&str> {
    version_id.map(String::as_str).filter(|id| *id != "null")
}

impl ObjectInfo {
    /// What tells the version from others, with its digest where that is known.
    pub fn identity(&self, digest: Option<Digest>) -> Identity<'_> {
        Identity {
            etag: self.etag.as_deref(),
            version_id: naming(self.version_id.as_ref()),
            digest,
        }
    }
}

impl ObjectVersion {
    /// What tells the version from others.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            etag: self.etag.as_deref(),
            version_id: naming(self.version_id.as_ref()),
            digest: self.digest,
        }
    }

    /// Adds what `other` knows of the same version. False when that was known.
    pub fn learn(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.etag = self.etag.take().or_else(|| other.etag.clone());
        self.version_id = self.version_id.take().or_else(|| other.version_id.clone());
        self.size = self.size.or(other.size);
        self.digest = self.digest.or(other.digest);
        for (algorithm, value) in &other.checksums {
            let known = self.checksums.entry(algorithm.clone());
            known.or_insert_with(|| value.clone());
        }
        *self != before
    }
}

/// What was done to an object. Only what succeeded is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ObjectAction {
    /// Read: all of it, or these bytes (first and last).
    Get(Option<(u64, u64)>),
    /// Written by one request.
    Put,
    /// Written by the store, from another object or a part of one.
    Copy,
    /// Written in parts, by the request that completed it.
    Multipart,
    /// Deleted. The version that was there is not known.
    Delete,
    /// Looked at, or listed: no input, but a sign that the store's traffic is seen.
    Look,
}

/// One use of one object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectAccess {
    /// `s3://bucket/key`, the key as it is (not percent-encoded).
    pub url: BString,
    /// What was done.
    pub action: ObjectAction,
    /// The version that was read or left.
    pub version: ObjectVersion,
}
