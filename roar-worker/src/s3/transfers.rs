//! Transfers that take several requests, whose pieces pass by on any connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use bstr::BString;
use roar_lineage::digest::Digest;
use roar_lineage::s3::ObjectVersion;

use super::pieces::{Piece, Runs};

/// Most transfers that are remembered; the oldest goes first.
const MAX_TRANSFERS: usize = 256;

/// Uploads in parts and downloads in ranges.
#[derive(Default)]
pub(super) struct Transfers {
    uploads: Recent<String, Upload>,
    downloads: Recent<(BString, Option<String>, Option<String>), Runs>,
}

/// An upload in parts.
#[derive(Default)]
struct Upload {
    /// Size of all parts but the last (bytes), once one was seen that cannot be the last.
    part_size: Option<u64>,
    parts: BTreeMap<u64, Part>,
}

struct Part {
    offset: u64,
    length: u64,
    runs: Runs,
}

impl Transfers {
    /// Where a part of this length belongs: all parts but the last are of one size, and who
    /// uploads begins with the first ones.
    pub(super) fn place(
        &mut self,
        upload: &str,
        number: u64,
        length: Option<u64>,
    ) -> Option<(u64, u64)> {
        let length = length?;
        let upload = self.uploads.entry(upload.to_owned());
        let size = match upload.part_size {
            Some(size) => size.max(length),
            None => length,
        };
        upload.part_size = Some(size);
        Some((number.checked_sub(1)?.checked_mul(size)?, length))
    }

    /// A part was taken by the store.
    pub(super) fn sent(&mut self, upload: &str, number: u64, piece: &Piece) {
        if let Some((offset, length, runs)) = piece.runs() {
            let part = Part {
                offset,
                length,
                runs: runs.clone(),
            };
            self.uploads
                .entry(upload.to_owned())
                .parts
                .insert(number, part);
        }
    }

    /// The digest and size of an upload that was completed from these parts.
    pub(super) fn completed(&mut self, upload: &str, numbers: &[u64]) -> Option<(Digest, u64)> {
        let upload = self.uploads.remove(&upload.to_owned())?;
        let mut runs = Runs::default();
        let mut size = 0;
        for number in numbers {
            let part = upload.parts.get(number)?;
            if part.offset != size {
                return None;
            }
            size += part.length;
            runs.add(&part.runs);
        }
        Some((runs.digest(size)?, size))
    }

    /// A range of an object of this size was received. Its digest, once all of it was.
    pub(super) fn received(
        &mut self,
        url: &BString,
        version: &ObjectVersion,
        piece: &Piece,
        size: u64,
    ) -> Option<Digest> {
        if version.etag.is_none() && version.version_id.is_none() {
            return None;
        }
        let (_, _, runs) = piece.runs()?;
        let key = (
            url.clone(),
            version.version_id.clone(),
            version.etag.clone(),
        );
        let download = self.downloads.entry(key);
        download.add(runs);
        download.digest(size)
    }
}

/// A map that forgets its oldest entry.
struct Recent<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Default> Recent<K, V> {
    fn entry(&mut self, key: K) -> &mut V {
        if !self.values.contains_key(&key) {
            if self.order.len() >= MAX_TRANSFERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.values.entry(key).or_default()
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.order.retain(|known| known != key);
        self.values.remove(key)
    }
}
