//! Who made what tasks read.

use std::collections::HashMap;

use super::{Edge, Via};
use crate::digest::Digest;
use crate::store::{Recorded, Use};

/// By consumer and location: contents, and the tasks that they came from by their indices.
pub(super) struct Producers(HashMap<(usize, usize), Contents>);

type Contents = Vec<(Option<Digest>, usize)>;

impl Producers {
    /// Those that edges of files name.
    pub(super) fn new(recorded: &Recorded, edges: &[Edge]) -> Self {
        let mut producers: HashMap<_, Contents> = HashMap::new();
        for edge in edges {
            if let Via::File { digest, read, .. } = edge.via {
                let used = &recorded.uses[read];
                let of_location = producers.entry((used.task, used.location)).or_default();
                of_location.push((digest, edge.from));
            }
        }
        Self(producers)
    }

    /// The tasks that made what a use read. An edge stands for all uses of one content.
    pub(super) fn of(&self, used: &Use) -> impl Iterator<Item = usize> {
        let own = used.file.digest;
        let all = self.0.get(&(used.task, used.location));
        let meant = all
            .into_iter()
            .flatten()
            .filter(move |(digest, _)| digest.is_none() || own.is_none() || *digest == own);
        meant.map(|&(_, maker)| maker)
    }
}
