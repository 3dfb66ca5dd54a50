//! How a file was used, as a set that takes two bytes: there is one for each use of each file.

use std::collections::BTreeSet;

use crate::model::How;

const ALL: [How; 13] = [
    How::Open,
    How::Append,
    How::Modify,
    How::Truncate,
    How::Rename,
    How::Link,
    How::Exec,
    How::Import,
    How::Inherited,
    How::Get,
    How::Put,
    How::Copy,
    How::Multipart,
];

/// A set of ways.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Ways(u16);

impl Ways {
    /// True when it was not in the set.
    pub(super) fn insert(&mut self, how: How) -> bool {
        let before = *self;
        self.extend(how.into());
        *self != before
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn contains(self, how: How) -> bool {
        self.0 & Self::from(how).0 != 0
    }

    pub(super) fn to_set(self) -> BTreeSet<How> {
        ALL.into_iter().filter(|how| self.contains(*how)).collect()
    }
}

impl From<How> for Ways {
    fn from(how: How) -> Self {
        Self(1 << how as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_all_has_each_once() {
        let mut ways = Ways::default();
        for (index, how) in ALL.into_iter().enumerate() {
            assert_eq!(how as usize, index);
            assert!(!ways.contains(how));
            assert!(ways.insert(how));
            assert!(!ways.insert(how));
        }
        assert_eq!(ways.to_set(), BTreeSet::from(ALL));
    }
}
