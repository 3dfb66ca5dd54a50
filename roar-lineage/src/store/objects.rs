//! What one use knows of an object's version, for all uses of that version.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bstr::BString;

use super::load::{Role, Use};
use crate::digest::Digest;
use crate::model::{FileState, FileUse};
use crate::s3::Identity;

/// A version of a URL, as one of its uses names it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Id(BString, String),
    /// Whatever the version id is.
    Etag(BString, String),
    /// The version id is not known.
    EtagAlone(BString, String),
}

/// Gives a digest and a size that any use knows to all uses of the same URL with the same
/// version id, or the same ETag where one of both has no version id. Uses that contradict
/// each other give nothing.
pub(super) fn share_digests(uses: &mut [Use]) {
    let mut known: HashMap<Name, Option<(Digest, u64)>> = HashMap::new();
    for used in uses.iter() {
        let (Some(identity), Some(content)) = (identity(&used.file), content(&used.file)) else {
            continue;
        };
        for name in taught(&used.file.path, identity) {
            match known.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(content));
                }
                Entry::Occupied(mut entry) if *entry.get() != Some(content) => {
                    entry.insert(None);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    if known.is_empty() {
        return;
    }
    for used in uses.iter_mut() {
        let is_open = used.file.state == FileState::Skipped && used.file.digest.is_none();
        let Some(identity) = identity(&used.file) else {
            continue;
        };
        if !is_open || !matches!(used.role, Role::Read | Role::Write) {
            continue;
        }
        let mut names = asked(&used.file.path, identity).into_iter().flatten();
        if let Some(&Some((digest, size))) = names.find_map(|name| known.get(&name))
            && used.file.size.is_none_or(|own| own == size)
        {
            used.file.digest = Some(digest);
            used.file.size = Some(size);
            used.file.state = FileState::Exact;
        }
    }
}

fn identity(file: &FileUse) -> Option<Identity<'_>> {
    file.object.as_ref().map(|object| object.identity(None))
}

fn content(file: &FileUse) -> Option<(Digest, u64)> {
    file.digest.zip(file.size)
}

fn taught(url: &BString, identity: Identity<'_>) -> Vec<Name> {
    let name = |form: fn(BString, String) -> Name, text: &str| form(url.clone(), text.to_owned());
    let mut names: Vec<Name> = Vec::new();
    names.extend(identity.version_id.map(|id| name(Name::Id, id)));
    names.extend(identity.etag.map(|etag| name(Name::Etag, etag)));
    if identity.version_id.is_none() {
        names.extend(identity.etag.map(|etag| name(Name::EtagAlone, etag)));
    }
    names
}

fn asked(url: &BString, identity: Identity<'_>) -> [Option<Name>; 2] {
    let name = |form: fn(BString, String) -> Name, text: &str| form(url.clone(), text.to_owned());
    match (identity.version_id, identity.etag) {
        (None, etag) => [etag.map(|etag| name(Name::Etag, etag)), None],
        (Some(id), etag) => [
            Some(name(Name::Id, id)),
            etag.map(|etag| name(Name::EtagAlone, etag)),
        ],
    }
}
