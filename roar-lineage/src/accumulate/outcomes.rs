//! What hashing came to, by version: there may be a million.

use foldhash::HashMap;

use crate::event::Outcome;
use crate::model::FileVersion;

/// Half of a version's digest: two versions of a run have the same with a probability of
/// 2⁻¹²⁸ times the pairs that there are.
type Key = [u8; 16];

/// The outcomes that are known.
#[derive(Default)]
pub(super) struct Outcomes(HashMap<Key, Outcome>);

impl Outcomes {
    pub(super) fn get(&self, version: FileVersion) -> Option<Outcome> {
        let is_any = !self.0.is_empty();
        is_any.then(|| self.0.get(&key(version)).copied())?
    }

    pub(super) fn has(&self, version: FileVersion) -> bool {
        !self.0.is_empty() && self.0.contains_key(&key(version))
    }

    /// Gives what was known before.
    pub(super) fn insert(&mut self, version: FileVersion, outcome: Outcome) -> Option<Outcome> {
        self.0.insert(key(version), outcome)
    }
}

fn key(version: FileVersion) -> Key {
    let digest = blake3::hash(version.words().map(u64::to_le_bytes).as_flattened());
    let mut key = Key::default();
    key.copy_from_slice(&digest.as_bytes()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::FileState;

    fn version() -> impl Strategy<Value = FileVersion> {
        (0u64..2, 0u64..3, 0u64..2, 0i64..2, -1i64..2).prop_map(|(dev, ino, size, mtime, ctime)| {
            FileVersion {
                dev,
                ino,
                size,
                mtime,
                ctime,
            }
        })
    }

    proptest! {
        #[test]
        fn each_version_has_the_outcome_that_it_was_given_last(
            given in prop::collection::vec((version(), any::<bool>()), 1..60),
        ) {
            let mut outcomes = Outcomes::default();
            let mut all = Vec::new();
            for (version, is_missing) in given {
                let state = if is_missing { FileState::Missing } else { FileState::Unreadable };
                outcomes.insert(version, Outcome::None(state));
                all.retain(|(known, _)| *known != version);
                all.push((version, Outcome::None(state)));
            }
            for (version, outcome) in all {
                prop_assert_eq!(outcomes.get(version), Some(outcome));
            }
        }
    }
}
