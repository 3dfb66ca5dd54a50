//! The digest of content that comes in pieces, in any order: parts of an upload, ranges of a
//! download, what several threads read of a file.
//!
//! BLAKE3 is a tree over chunks of 1024 bytes. A run of chunks whose number is a power of two
//! and which begins at a multiple of its length is one node of it, whatever is beside it
//! (`blake3::hazmat`, and section 2.1 of the BLAKE3 paper). So every piece is cut into such
//! runs while it passes, and their values are joined when all of them are there.

use std::collections::BTreeMap;

use blake3::CHUNK_LEN;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, max_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use roar_lineage::digest::Digest;

const CHUNK: u64 = CHUNK_LEN as u64;
/// Most runs of one object that are kept.
const MAX_RUNS: usize = 1 << 16;

/// A piece as it passes by.
pub(crate) struct Piece {
    /// Where the run that passes begins, and how much of it is to come (bytes).
    at: u64,
    left_of_run: u64,
    /// How much of the piece is to come after that run.
    left: u64,
    offset: u64,
    length: u64,
    hasher: blake3::Hasher,
    runs: Runs,
}

/// Values of runs, by where they begin.
#[derive(Clone, Default, Debug)]
pub(crate) struct Runs {
    by_start: BTreeMap<u64, Run>,
    /// Their lengths together (bytes).
    covered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    length: u64,
    value: ChainingValue,
    /// Of the run by itself, where it is the first.
    alone: Option<Digest>,
}

impl Piece {
    /// A piece of so many bytes, at this offset of the object. `None`: it does not begin
    /// with a chunk.
    pub(crate) fn new(offset: u64, length: u64) -> Option<Self> {
        if !offset.is_multiple_of(CHUNK) || offset.checked_add(length).is_none() {
            return None;
        }
        let mut piece = Self {
            at: offset,
            left_of_run: 0,
            left: length,
            offset,
            length,
            hasher: blake3::Hasher::new(),
            runs: Runs::default(),
        };
        piece.begin_run();
        Some(piece)
    }

    fn begin_run(&mut self) {
        if self.left == 0 {
            return;
        }
        let most = max_subtree_len(self.at).unwrap_or(u64::MAX);
        let fits = match self.left {
            left if left < CHUNK => left,
            left => 1 << left.ilog2(),
        };
        self.left_of_run = most.min(fits);
        self.left -= self.left_of_run;
        self.hasher = blake3::Hasher::new();
        self.hasher.set_input_offset(self.at);
    }

    /// Takes what has passed by.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.left_of_run > 0 {
            let part = usize::try_from(self.left_of_run).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at_checked(part).unwrap_or((bytes, &[]));
            self.hasher.update(now);
            self.left_of_run -= now.len() as u64;
            bytes = rest;
            if self.left_of_run == 0 {
                self.end_run();
            }
        }
    }

    fn end_run(&mut self) {
        let is_first = self.at == 0;
        let run = Run {
            length: self.hasher.count(),
            value: self.hasher.finalize_non_root(),
            alone: is_first.then(|| Digest(*self.hasher.finalize().as_bytes())),
        };
        self.runs.insert(self.at, run);
        self.at += run.length;
        self.begin_run();
    }

    /// Its offset, its length (bytes) and its runs, if all of it has passed.
    pub(crate) fn runs(&self) -> Option<(u64, u64, &Runs)> {
        (self.left_of_run == 0).then_some((self.offset, self.length, &self.runs))
    }
}

impl Runs {
    /// Adds those of another piece of the same object.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.by_start.len() + other.by_start.len() > MAX_RUNS {
            return;
        }
        for (at, run) in &other.by_start {
            self.insert(*at, *run);
        }
    }

    fn insert(&mut self, at: u64, run: Run) {
        let before = self.by_start.insert(at, run);
        self.covered -= before.map_or(0, |run| run.length);
        self.covered += run.length;
    }

    /// The digest of an object of this size (bytes). `None`: something is missing.
    pub(crate) fn digest(&self, size: u64) -> Option<Digest> {
        if size == 0 {
            return Some(Digest::of(b""));
        }
        if self.covered < size {
            return None;
        }
        let first = self.by_start.get(&0)?;
        if first.length == size {
            return first.alone;
        }
        if size <= CHUNK {
            return None;
        }
        let left = left_subtree_len(size);
        let (one, other) = (self.value(0, left)?, self.value(left, size - left)?);
        let root = merge_subtrees_root(&one, &other, Mode::Hash);
        Some(Digest(*root.as_bytes()))
    }

    fn value(&self, at: u64, length: u64) -> Option<ChainingValue> {
        if let Some(run) = self.by_start.get(&at)
            && run.length == length
        {
            return Some(run.value);
        }
        if length <= CHUNK {
            return None;
        }
        let left = left_subtree_len(length);
        let (one, other) = (self.value(at, left)?, self.value(at + left, length - left)?);
        Some(merge_subtrees_non_root(&one, &other, Mode::Hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn runs_of(content: &[u8], offset: usize, length: usize, step: usize) -> Runs {
        let mut piece = Piece::new(offset as u64, length as u64).unwrap();
        for part in content[offset..offset + length].chunks(step) {
            piece.feed(part);
        }
        piece.runs().unwrap().2.clone()
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_in_any_order_give_the_digest_of_the_whole(
            size in 0usize..200_000, of in 1usize..60, step in 1usize..5000, rotate in 0usize..9,
        ) {
            let content = content(size);
            let of = of * CHUNK_LEN;
            let mut offsets: Vec<_> = (0..size).step_by(of).collect();
            if !offsets.is_empty() {
                let middle = rotate % offsets.len();
                offsets.rotate_left(middle);
            }
            let mut runs = Runs::default();
            for (done, offset) in offsets.iter().enumerate() {
                if size > 0 && done + 1 == offsets.len() {
                    prop_assert_eq!(runs.digest(size as u64), None);
                }
                runs.add(&runs_of(&content, *offset, of.min(size - offset), step));
            }
            prop_assert_eq!(runs.digest(size as u64), Some(Digest::of(&content)));
        }

        #[test]
        fn what_does_not_fit_together_gives_none_or_the_right_one(
            pieces in proptest::collection::vec((0usize..60, 1usize..70_000), 0..6),
        ) {
            let content = content(60 * CHUNK_LEN + 70_000);
            let mut runs = Runs::default();
            for (chunk, length) in pieces {
                runs.add(&runs_of(&content, chunk * CHUNK_LEN, length, 1 << 16));
            }
            for size in [1, 1000, 1024, 4096, 5000, 65536, 70_000] {
                let digest = runs.digest(size as u64);
                prop_assert!(digest.is_none() || digest == Some(Digest::of(&content[..size])));
            }
        }
    }

    #[test]
    fn a_piece_begins_with_a_chunk() {
        assert!(Piece::new(1000, 5).is_none());
        let mut piece = Piece::new(1024, 2000).unwrap();
        piece.feed(&[0; 1999]);
        assert!(piece.runs().is_none());
        piece.feed(&[0; 50]);
        assert_eq!(piece.runs().unwrap().1, 2000);
    }
}
