//! `roar.inputs/1`: the sources, which no recorded task made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::BString;
use serde::Serialize;

use super::{Graph, Via};
use crate::digest::Digest;
use crate::document::File;
use crate::store::{Role, Use};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Inputs {
    /// `roar.inputs/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// By path.
    pub files: Vec<Source>,
}

/// One content of one file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// The file.
    #[serde(flatten)]
    pub file: File,
    /// Ids of the tasks that read it, by step.
    pub consumers: Vec<String>,
}

impl Graph {
    /// What was read and no recorded task had made.
    pub fn inputs(&self) -> Inputs {
        let mut made: HashMap<(usize, &BString), Vec<Option<Digest>>> = HashMap::new();
        for edge in &self.edges {
            if let Via::File { digest, .. } = edge.via {
                let digests = made.entry((edge.to, &edge.path)).or_default();
                digests.push(digest);
            }
        }
        // An edge stands for all uses of one content.
        let is_made = |used: &Use| {
            let own = used.file.digest;
            let edges = made.get(&(used.task, &used.file.path));
            let is_it =
                |digest: &Option<Digest>| digest.is_none() || own.is_none() || *digest == own;
            edges.is_some_and(|digests| digests.iter().any(is_it))
        };
        let mut sources: BTreeMap<_, (&Use, BTreeSet<usize>)> = BTreeMap::new();
        for (position, &task) in self.order.iter().enumerate() {
            for &index in &self.uses[task] {
                let used = &self.recorded.uses[index];
                let is_shown = self.all || used.file.category.is_shown();
                if used.role == Role::Read && is_shown && !is_made(used) {
                    let host = &self.recorded.locations[used.location].host;
                    let content = (&used.file.path, host, used.file.digest);
                    let source = sources.entry(content);
                    let (_, consumers) = source.or_insert_with(|| (used, BTreeSet::new()));
                    consumers.insert(position);
                }
            }
        }
        let source = |(used, consumers): (&Use, BTreeSet<usize>)| Source {
            file: self.file(used),
            consumers: consumers
                .iter()
                .map(|&position| self.task(self.order[position]).id.clone())
                .collect(),
        };
        Inputs {
            schema: "roar.inputs/1",
            session: self.recorded.session.clone(),
            files: sources.into_values().map(source).collect(),
        }
    }
}
