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
    /// ETag, without its quotes.
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
