//! A map that remembers so many entries, and forgets the oldest.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub(super) struct Recent<K, V, const MOST: usize> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V, const MOST: usize> Default for Recent<K, V, MOST> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, V, const MOST: usize> Recent<K, V, MOST> {
    /// The entry of a key, made if it is not there.
    pub(super) fn entry<Q>(&mut self, key: &Q, make: impl FnOnce() -> V) -> &mut V
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if !self.values.contains_key(key) {
            if self.order.len() >= MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(oldest.borrow());
            }
            self.order.push_back(key.to_owned());
        }
        self.values.entry(key.to_owned()).or_insert_with(make)
    }

    /// The entry of a key.
    pub(super) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.values.get_mut(key)
    }

    /// All entries.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    /// Takes an entry out.
    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.order.retain(|known| known.borrow() != key);
        self.values.remove(key)
    }
}
