//! Equal content at another place than that where it was read: who made it last before. It is no
//! more than a guess how it came there, and orders nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{EdgeObject, Graph};
use crate::digest::Digest;
use crate::document::Text;
use crate::model::Stamp;
use crate::store::{Role, Use};

impl Graph {
    /// An edge from each task that was the last to write what another read, elsewhere: that has
    /// the path where it was read. None where that content was written there as well.
    pub fn same_content(&self) -> Vec<EdgeObject> {
        let mut writes: HashMap<Digest, Vec<(usize, &Use)>> = HashMap::new();
        let mut reads = Vec::new();
        for &task in &self.order {
            let uses = self.uses[task].iter().map(|&at| &self.recorded.uses[at]);
            for used in uses.filter(|used| self.is_shown(used)) {
                match (used.role, used.file.digest) {
                    (Role::Write, Some(digest)) => {
                        writes.entry(digest).or_default().push((task, used));
                    }
                    // All empty files are the same.
                    (Role::Read, Some(digest)) if used.file.size != Some(0) => {
                        reads.push((task, used, digest));
                    }
                    _ => {}
                }
            }
        }
        let mut found = BTreeSet::new();
        let mut edges = Vec::new();
        for (to, read, digest) in reads {
            let began = self.wall(read, read.file.first);
            let mut last: BTreeMap<usize, (i128, usize)> = BTreeMap::new();
            let writes = writes.get(&digest).map_or(&[][..], Vec::as_slice);
            if writes
                .iter()
                .any(|(_, write)| write.location == read.location)
            {
                continue;
            }
            for (from, write) in writes {
                let at = self.wall(write, write.file.last);
                if *from != to && write.location != read.location && at <= began {
                    let known = last.entry(write.location).or_insert((at, *from));
                    *known = (*known).max((at, *from));
                }
            }
            for (_, from) in last.into_values() {
                if found.insert((from, to, &read.file.path)) {
                    edges.push(EdgeObject {
                        from: self.task(from).id.clone(),
                        to: self.task(to).id.clone(),
                        via: if read.file.path.starts_with(b"/") {
                            "file"
                        } else {
                            "s3"
                        },
                        path: Text::new("path", &read.file.path),
                        digest: Some(digest.to_string()),
                        size: None,
                        inferred: true,
                    });
                }
            }
        }
        edges
    }

    /// Wall time of a stamp, from the start of its task.
    fn wall(&self, used: &Use, stamp: Stamp) -> i128 {
        let task = self.task(used.task);
        i128::from(task.started_at) + i128::from(stamp) - i128::from(task.started)
    }
}
