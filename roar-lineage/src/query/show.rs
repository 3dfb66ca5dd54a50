//! `roar.show/1`: what is known of one step, task, path or digest.

use serde::Serialize;

use super::dag::{EdgeObject, Node};
use super::subject::{self, NotFound, Subject};
use super::{Contents, Edge, Graph};
use crate::digest::Digest;
use crate::document::{File, Text};
use crate::store::{Role, Use};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Show {
    /// `roar.show/1`.
    pub schema: &'static str,
    /// `ref`: what was asked for.
    #[serde(flatten)]
    pub reference: Text,
    /// What it is.
    #[serde(flatten)]
    pub found: Found,
}

/// What a reference stands for.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Found {
    /// A step or task.
    Task {
        /// The task.
        task: Box<Node>,
        /// Edges to it.
        inputs: Vec<EdgeObject>,
        /// Edges from it.
        outputs: Vec<EdgeObject>,
    },
    /// A path, URL or digest.
    File {
        /// Who used it, by step.
        uses: Vec<Sighting>,
    },
    /// A directory that is one artifact, or its digest.
    Composite {
        /// What was there, by path: each version that tasks left or read.
        composites: Vec<Contents>,
    },
}

/// One use of one file.
#[derive(Clone, Debug, Serialize)]
pub struct Sighting {
    /// By whom.
    #[serde(flatten)]
    pub by: Producer,
    /// `read`, `write`, `delete` or `ephemeral`.
    pub role: Role,
    /// The file.
    pub file: File,
}

/// A task in short.
#[derive(Clone, Debug, Serialize)]
pub struct Producer {
    /// Its step.
    pub step: usize,
    /// Its id.
    pub task: String,
    /// `name`.
    #[serde(flatten)]
    pub name: Text,
}

impl Graph {
    /// What is known of `reference`: `@5`, a task id or its unique beginning, a path
    /// (relative to `cwd`), a directory that is a composite, a digest or its beginning.
    pub fn show(&self, reference: &[u8], cwd: &[u8]) -> Result<Show, NotFound> {
        let found = self.find(reference, cwd)?;
        Ok(Show {
            schema: "roar.show/1",
            reference: Text::new("ref", reference),
            found,
        })
    }

    fn find(&self, reference: &[u8], cwd: &[u8]) -> Result<Found, NotFound> {
        let uses = match self.subject(reference, cwd) {
            Ok(Subject::Task(step, index)) => return Ok(self.shown_task(step, index)),
            Ok(Subject::Path(path)) => self.sightings(|used| used.file.path == path),
            Ok(Subject::Content(digest)) => self.sightings(|used| used.file.digest == Some(digest)),
            Ok(Subject::Below(directory)) => {
                let composites = self.contents(|path, _| *path == directory);
                if !composites.is_empty() {
                    return Ok(Found::Composite { composites });
                }
                self.sightings(|used| used.file.path.starts_with(&directory))
            }
            Err(NotFound::Nothing) => return self.composite_by_digest(reference),
            Err(other) => return Err(other),
        };
        Ok(Found::File { uses })
    }

    fn composite_by_digest(&self, reference: &[u8]) -> Result<Found, NotFound> {
        let hex = subject::hexadecimal(reference).ok_or(NotFound::Nothing)?;
        let begins = |digest: Option<Digest>| digest.filter(|one| one.hex().starts_with(&hex));
        let composites = self.contents(|_, digest| begins(digest).is_some());
        let digests: std::collections::BTreeSet<_> = composites
            .iter()
            .map(|contents| &contents.composite.digest)
            .collect();
        match digests.len() {
            0 => Err(NotFound::Nothing),
            1 => Ok(Found::Composite { composites }),
            several => Err(NotFound::Ambiguous(several)),
        }
    }

    fn shown_task(&self, step: usize, index: usize) -> Found {
        let edges = |end: fn(&Edge) -> usize| {
            let edges = self.edges.iter().filter(move |edge| end(edge) == index);
            edges.map(|edge| self.edge(edge)).collect()
        };
        Found::Task {
            task: Box::new(self.node(step, index, &self.linked())),
            inputs: edges(|edge| edge.to),
            outputs: edges(|edge| edge.from),
        }
    }

    fn sightings(&self, is_meant: impl Fn(&Use) -> bool) -> Vec<Sighting> {
        let mut steps = vec![0; self.recorded.tasks.len()];
        for (position, &index) in self.order.iter().enumerate() {
            steps[index] = position + 1;
        }
        let meant = self.recorded.uses.iter().filter(|used| is_meant(used));
        let sighting = |used: &Use| Sighting {
            by: Producer {
                step: steps[used.task],
                task: self.task(used.task).id.clone(),
                name: Text::new("name", &self.task(used.task).name),
            },
            role: used.role,
            file: self.file(used),
        };
        let mut sightings: Vec<_> = meant.map(sighting).collect();
        sightings.sort_by_key(|sighting| (sighting.by.step, sighting.role));
        sightings
    }
}
