//! `roar.show/1`: what is known of one step, task, path or digest.

use serde::Serialize;

use super::dag::{EdgeObject, Node};
use super::{Contents, Edge, Graph};
use crate::digest::Digest;
use crate::document::File;
use crate::store::{Role, Use};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Show {
    /// `roar.show/1`.
    pub schema: &'static str,
    /// What was asked for.
    #[serde(rename = "ref")]
    pub reference: String,
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
    /// Its name.
    pub name: String,
}

/// Why a reference stands for nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotFound {
    /// No such step.
    #[error("the session has {0} steps")]
    NoSuchStep(usize),
    /// Several tasks or digests begin so.
    #[error("{0} begin so")]
    Ambiguous(usize),
    /// Nothing of that name.
    #[error("no step, task, file or digest of this session")]
    Nothing,
}

impl Graph {
    /// What is known of `reference`: `@5`, a task id or its unique beginning, a path
    /// (relative to `cwd`), a directory that is a composite, a digest or its beginning.
    pub fn show(&self, reference: &[u8], cwd: &[u8]) -> Result<Show, NotFound> {
        let found = self.find(reference, cwd)?;
        let reference = String::from_utf8_lossy(reference).into_owned();
        Ok(Show {
            schema: "roar.show/1",
            reference,
            found,
        })
    }

    fn find(&self, reference: &[u8], cwd: &[u8]) -> Result<Found, NotFound> {
        let text = std::str::from_utf8(reference).unwrap_or_default();
        if let Some(step) = text
            .strip_prefix('@')
            .and_then(|step| step.parse::<usize>().ok())
        {
            let index = step
                .checked_sub(1)
                .and_then(|position| self.order.get(position));
            let index = *index.ok_or(NotFound::NoSuchStep(self.order.len()))?;
            return Ok(self.shown_task(step, index));
        }
        let path = absolute(reference, cwd);
        let uses = self.sightings(|used| used.file.path == path);
        if !uses.is_empty() {
            return Ok(Found::File { uses });
        }
        let directory = [path.strip_suffix(b"/").unwrap_or(&path), b"/"].concat();
        let composites = self.contents(|path, _| *path == directory);
        if !composites.is_empty() {
            return Ok(Found::Composite { composites });
        }
        let hex = text.strip_prefix("blake3:").unwrap_or(text);
        let is_hex = hex.len() >= 4 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hex {
            return Err(NotFound::Nothing);
        }
        let hex = hex.to_ascii_lowercase();
        let tasks = self.order.iter().enumerate();
        let mut tasks = tasks.filter(|(_, index)| self.task(**index).id.starts_with(&hex));
        if hex == text
            && let Some((position, &index)) = tasks.next()
        {
            return match tasks.count() {
                0 => Ok(self.shown_task(position + 1, index)),
                more => Err(NotFound::Ambiguous(more + 1)),
            };
        }
        let begins = |used: &Use| {
            used.file
                .digest
                .filter(|digest| digest.hex().starts_with(&hex))
        };
        let digests: std::collections::BTreeSet<_> =
            self.recorded.uses.iter().filter_map(begins).collect();
        match digests.len() {
            0 => self.composite_by_digest(&hex),
            1 => Ok(Found::File {
                uses: self.sightings(|used| begins(used).is_some()),
            }),
            several => Err(NotFound::Ambiguous(several)),
        }
    }

    fn composite_by_digest(&self, hex: &str) -> Result<Found, NotFound> {
        let begins = |digest: Option<Digest>| digest.filter(|one| one.hex().starts_with(hex));
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
                name: self.task(used.task).name.to_string(),
            },
            role: used.role,
            file: self.file(used),
        };
        let mut sightings: Vec<_> = meant.map(sighting).collect();
        sightings.sort_by_key(|sighting| (sighting.by.step, sighting.role));
        sightings
    }
}

/// `path` from `cwd`, without `.` and `..`. URLs stay as they are.
pub(super) fn absolute(path: &[u8], cwd: &[u8]) -> Vec<u8> {
    if path.starts_with(b"s3://") {
        return path.to_vec();
    }
    let start = if path.starts_with(b"/") { b"" } else { cwd };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [start, path]
        .into_iter()
        .flat_map(|half| half.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut absolute = Vec::new();
    for part in parts {
        absolute.push(b'/');
        absolute.extend_from_slice(part);
    }
    absolute
}
