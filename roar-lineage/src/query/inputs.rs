//! `roar.inputs/1`: the sources, which no recorded task made.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Graph;
use super::producers::Producers;
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
        let producers = Producers::new(&self.recorded, self.edges_of_tasks());
        let mut sources: BTreeMap<_, (&Use, BTreeSet<usize>)> = BTreeMap::new();
        for (position, &task) in self.order.iter().enumerate() {
            for &index in &self.uses[task] {
                let used = &self.recorded.uses[index];
                if used.role == Role::Read
                    && self.is_shown(used)
                    && producers.of(used).next().is_none()
                {
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
