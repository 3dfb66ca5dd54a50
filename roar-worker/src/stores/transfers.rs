//! Transfers that take several requests, whose pieces pass by on any connection.

use std::collections::BTreeMap;

use bstr::BString;
use roar_lineage::digest::Digest;
use roar_lineage::s3::ObjectVersion;

use super::recent::Recent;
use crate::pieces::{Piece, Runs};

/// Size of parts that botocore's clients send unless they are told otherwise (bytes).
const USUAL: u64 = 8 << 20;
/// Most transfers of each kind that are remembered.
const MAX_TRANSFERS: usize = 256;

/// Uploads in parts and downloads in ranges.
#[derive(Default)]
pub(super) struct Transfers {
    uploads: Recent<String, Upload, MAX_TRANSFERS>,
    downloads: Recent<(BString, Option<String>, Option<String>), Runs, MAX_TRANSFERS>,
}

/// An upload in parts.
#[derive(Default)]
struct Upload {
    /// Size of all parts but the last (bytes), once one was seen that cannot be the last.
    part_size: Option<u64>,
    parts: BTreeMap<u64, Part>,
}

/// A part, for each offset that it may have: length, and its runs there.
struct Part {
    /// What the store calls it: of the parts with one number the upload takes one.
    etag: String,
    length: u64,
    runs: Vec<(u64, Runs)>,
}

impl Transfers {
    /// Where a part of this length may belong. All parts but the last are of one size, which
    /// is known once another was seen; the first that is seen may be the last one.
    pub(super) fn places(&mut self, upload: &str, number: u64, length: u64) -> Vec<u64> {
        let upload = self.uploads.entry(upload, Upload::default);
        let sizes = match upload.part_size {
            Some(size) => vec![size.max(length)],
            None if number > 1 && length < USUAL => vec![length, USUAL],
            None => vec![length],
        };
        upload.part_size = sizes.first().copied();
        let before = number.saturating_sub(1);
        let offsets = sizes
            .into_iter()
            .filter_map(|size| size.checked_mul(before));
        offsets.collect()
    }

    /// A part was taken by the store, in the place of one with the same number.
    pub(super) fn sent(
        &mut self,
        upload: &str,
        number: u64,
        etag: Option<String>,
        pieces: &[Piece],
    ) {
        let parts = &mut self.uploads.entry(upload, Upload::default).parts;
        parts.remove(&number);
        let passed: Vec<_> = pieces.iter().filter_map(Piece::runs).collect();
        if let (Some((_, length, _)), Some(etag)) = (passed.first().copied(), etag) {
            let runs = passed.into_iter();
            let runs = runs
                .map(|(offset, _, runs)| (offset, runs.clone()))
                .collect();
            parts.insert(number, Part { etag, length, runs });
        }
    }

    /// The digest and size of an upload that was completed from these parts, numbers and ETags.
    pub(super) fn completed(
        &mut self,
        upload: &str,
        parts: Option<Vec<(u64, String)>>,
    ) -> Option<(Digest, u64)> {
        let upload = self.uploads.remove(upload)?;
        let mut runs = Runs::default();
        let mut size = 0;
        for (number, etag) in parts? {
            let part = upload.parts.get(&number).filter(|part| part.etag == etag)?;
            let (_, here) = part.runs.iter().find(|(offset, _)| *offset == size)?;
            size += part.length;
            runs.add(here);
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
        let download = self.downloads.entry(&key, Runs::default);
        download.add(runs);
        download.digest(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4096;

    /// A part with such bytes is sent, and the store calls it so.
    fn send(transfers: &mut Transfers, number: u64, bytes: &[u8], etag: &str) {
        let length = bytes.len() as u64;
        let places = transfers.places("u", number, length).into_iter();
        let mut pieces: Vec<_> = places
            .filter_map(|place| Piece::new(place, length))
            .collect();
        pieces.iter_mut().for_each(|piece| piece.feed(bytes));
        transfers.sent("u", number, Some(etag.to_owned()), &pieces);
    }

    fn complete(transfers: &mut Transfers, etags: &[&str]) -> Option<(Digest, u64)> {
        let parts = (1..).zip(etags.iter().map(|etag| (*etag).to_owned()));
        transfers.completed("u", Some(parts.collect()))
    }

    #[test]
    fn a_part_that_was_replaced_is_no_part_of_the_object() {
        let both = |second: u8| [[1; SIZE], [second; SIZE]].concat();
        let expected = |second| Some((Digest::of(&both(second)), 2 * SIZE as u64));
        let begun = || {
            let mut transfers = Transfers::default();
            send(&mut transfers, 1, &[1; SIZE], "a");
            send(&mut transfers, 2, &[2; SIZE], "b");
            transfers
        };
        assert_eq!(complete(&mut begun(), &["a", "b"]), expected(2));
        // By a copy, of which only the completion tells.
        assert_eq!(complete(&mut begun(), &["c", "b"]), None);
        let mut again = begun();
        send(&mut again, 2, &[3; SIZE], "c");
        assert_eq!(complete(&mut again, &["a", "c"]), expected(3));
        // By a longer one, whose place is not known.
        let mut longer = begun();
        longer.sent("u", 2, Some("b".into()), &[]);
        assert_eq!(complete(&mut longer, &["a", "b"]), None);
    }
}
