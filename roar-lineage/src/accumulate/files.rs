//! The paths that one task used, found by hash: each event asks for one, and there may be a
//! million.

use std::hash::BuildHasher;

use bstr::BString;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::entry::Entry;

/// A path and its entry, unless the place is free.
type Slot = Option<(BString, Entry)>;

/// A task's entries by path, each in a place that stays its own.
#[derive(Default)]
pub(super) struct Files {
    slots: Vec<Slot>,
    free: Vec<usize>,
    places: HashTable<usize>,
    hasher: RandomState,
}

impl Files {
    pub(super) fn get(&self, path: &BString) -> Option<&Entry> {
        let place = self.place(self.hash(path), path)?;
        let (_, entry) = self.slots.get(place)?.as_ref()?;
        Some(entry)
    }

    pub(super) fn get_mut(&mut self, path: &BString) -> Option<&mut Entry> {
        let place = self.place(self.hash(path), path)?;
        let (_, entry) = self.slots.get_mut(place)?.as_mut()?;
        Some(entry)
    }

    /// The entry of a path: a new one, if there was none.
    pub(super) fn at(&mut self, path: &BString) -> &mut Entry {
        let hash = self.hash(path);
        let known = self.place(hash, path);
        let place = known.unwrap_or_else(|| self.add(hash, path));
        let new = || (path.clone(), Entry::default());
        &mut self.slots[place].get_or_insert_with(new).1
    }

    /// Forgets a path.
    pub(super) fn remove(&mut self, path: &BString) -> Option<Entry> {
        let slots = &self.slots;
        let is_it = |place: &usize| is_at(slots, *place, path);
        let found = self.places.find_entry(self.hash(path), is_it);
        let (place, _) = found.ok()?.remove();
        self.free.push(place);
        self.slots[place].take().map(|(_, entry)| entry)
    }

    /// All of them, from a place on.
    pub(super) fn from(&self, place: usize) -> impl Iterator<Item = (usize, &BString, &Entry)> {
        let rest = self.slots.iter().enumerate().skip(place);
        rest.filter_map(|(place, slot)| slot.as_ref().map(|(path, entry)| (place, path, entry)))
    }

    fn hash(&self, path: &BString) -> u64 {
        self.hasher.hash_one(path)
    }

    fn place(&self, hash: u64, path: &BString) -> Option<usize> {
        let is_it = |place: &usize| is_at(&self.slots, *place, path);
        self.places.find(hash, is_it).copied()
    }

    fn add(&mut self, hash: u64, path: &BString) -> usize {
        let place = self.free.pop().unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(None);
        }
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_at = |place: &usize| {
            let there = slots[*place].as_ref();
            hasher.hash_one(there.map_or(path, |(at, _)| at))
        };
        self.places.insert_unique(hash, place, hash_at);
        place
    }
}

fn is_at(slots: &[Slot], place: usize, path: &BString) -> bool {
    let there = slots.get(place).and_then(Option::as_ref);
    there.is_some_and(|(at, _)| at == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{FileVersion, How};

    fn version(ino: u64) -> FileVersion {
        FileVersion {
            dev: 1,
            ino,
            size: 0,
            mtime: 0,
            ctime: 0,
        }
    }

    proptest! {
        #[test]
        fn a_path_has_what_it_was_given_and_a_walk_in_parts_meets_each_once(
            steps in prop::collection::vec((0u8..40, any::<bool>()), 1..200),
        ) {
            let mut files = Files::default();
            let mut all: BTreeMap<BString, Vec<u64>> = BTreeMap::new();
            for (ino, (name, is_removed)) in (0..).zip(steps) {
                let path = BString::from(format!("/{name}"));
                if is_removed {
                    prop_assert_eq!(files.remove(&path).is_some(), all.remove(&path).is_some());
                } else {
                    files.at(&path).read(version(ino), How::Open, None, false, 0);
                    let inos = all.entry(path).or_default();
                    inos.truncate(15);
                    inos.push(ino);
                }
            }
            let inos = |entry: &Entry| -> Vec<u64> {
                entry.reads.iter().map(|seen| seen.version.ino).collect()
            };
            for name in 0..40 {
                let path = BString::from(format!("/{name}"));
                let there = all.get(&path).cloned();
                prop_assert_eq!(files.get(&path).map(inos), there.clone());
                prop_assert_eq!(files.get_mut(&path).map(|entry| inos(entry)), there);
            }
            let mut walked = BTreeMap::new();
            let mut next = 0;
            loop {
                let part: Vec<_> = files.from(next).take(3).collect();
                let Some((last, _, _)) = part.last() else { break };
                next = last + 1;
                for (_, path, entry) in part {
                    prop_assert!(walked.insert(path.clone(), inos(entry)).is_none());
                }
            }
            prop_assert_eq!(walked, all);
        }
    }
}
