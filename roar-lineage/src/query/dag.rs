//! `roar.dag/1`: the graph of tasks.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Composite, Edge, Graph, Via};
use crate::document::{File, Given, Text, iso_time};
use crate::model::{Gap, RayIds, Status, TaskKind};
use crate::store::{Recorded, Role};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Dag {
    /// `roar.dag/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// By step.
    pub nodes: Vec<Node>,
    /// By producer's and consumer's step, and path.
    pub edges: Vec<EdgeObject>,
    /// Directories that are one artifact, by path.
    pub composites: Vec<Composite>,
    /// Of all jobs together.
    pub coverage: Summary,
}

/// What was not seen.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Nothing lost, and no gap that could hide a file.
    pub complete: bool,
    /// One entry for each kind and detail.
    pub gaps: Vec<Gap>,
}

/// A task.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Number for people, from 1.
    pub step: usize,
    /// Stable id.
    pub id: String,
    /// Its job's id.
    pub job: String,
    /// The task that started it.
    pub parent: Option<String>,
    /// What it is.
    pub kind: TaskKind,
    /// `name`.
    #[serde(flatten)]
    pub name: Text,
    /// `command` and `git`, of a command and of a driver.
    #[serde(flatten)]
    pub given: Option<Given>,
    /// How it ended.
    pub status: Status,
    /// More about it.
    pub status_detail: Option<String>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// ISO 8601.
    pub started_at: String,
    /// ISO 8601.
    pub ended_at: Option<String>,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: Option<u32>,
    /// Ray's names.
    pub ray: Option<RayIds>,
    /// Inputs.
    pub reads: Vec<File>,
    /// Outputs.
    pub writes: Vec<File>,
    /// Deleted files that it had not made.
    pub deletes: Vec<File>,
}

/// From a producer to a consumer.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeObject {
    /// The producer's id.
    pub from: String,
    /// The consumer's id.
    pub to: String,
    /// `file`, `s3`, `object` or `actor`.
    pub via: &'static str,
    /// `path`: where it was, or the object's or actor's id.
    #[serde(flatten)]
    pub path: Text,
    /// Of the content.
    pub digest: Option<String>,
    /// Of an object's serialized value (bytes), where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Concluded, not observed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
}

impl Graph {
    /// The whole graph as a document.
    pub fn dag(&self) -> Dag {
        let linked = self.linked();
        let nodes = self.order.iter().enumerate();
        let coverage = self.coverage();
        let mut position = vec![0; self.recorded.tasks.len()];
        for (step, &index) in self.order.iter().enumerate() {
            position[index] = step;
        }
        let mut edges: Vec<_> = self.edges.iter().collect();
        edges.sort_by_key(|edge| (position[edge.from], position[edge.to], &edge.path));
        Dag {
            schema: "roar.dag/1",
            session: self.recorded.session.clone(),
            nodes: nodes
                .map(|(step, &index)| self.node(step + 1, index, &linked))
                .collect(),
            edges: edges.into_iter().map(|edge| self.edge(edge)).collect(),
            composites: self.composites(),
            coverage: Summary {
                complete: coverage.is_complete(),
                gaps: crate::document::documented(coverage.gaps),
            },
        }
    }

    /// Uses that edges join.
    pub(super) fn linked(&self) -> BTreeSet<usize> {
        let ends = self.edges.iter().filter_map(Edge::uses);
        ends.flatten().collect()
    }

    pub(super) fn node(&self, step: usize, index: usize, linked: &BTreeSet<usize>) -> Node {
        let task = self.task(index);
        let job = &self.recorded.jobs[self.recorded.tasks[index].job];
        Node {
            step,
            id: task.id.clone(),
            job: job.id.clone(),
            parent: task.parent.clone(),
            kind: task.kind,
            name: Text::new("name", &task.name),
            given: Given::new(job, task),
            status: task.status,
            status_detail: task.status_detail.clone(),
            exit_code: task.exit_code,
            started_at: iso_time(task.started_at),
            ended_at: task.ended_at.map(iso_time),
            host: task.host.clone(),
            pid: task.pid,
            ray: task.ray.clone(),
            reads: self.files(index, Role::Read, linked),
            writes: self.files(index, Role::Write, linked),
            deletes: self.files(index, Role::Delete, linked),
        }
    }

    pub(super) fn edge(&self, edge: &Edge) -> EdgeObject {
        EdgeObject::new(&self.recorded, edge)
    }
}

impl EdgeObject {
    /// The object for `edge`.
    pub(super) fn new(recorded: &Recorded, edge: &Edge) -> Self {
        let (via, size) = match edge.via {
            Via::File { .. } if edge.path.starts_with(b"/") => ("file", None),
            Via::File { .. } => ("s3", None),
            Via::Object { size } => ("object", size),
            Via::Actor => ("actor", None),
        };
        Self {
            from: recorded.tasks[edge.from].task.id.clone(),
            to: recorded.tasks[edge.to].task.id.clone(),
            via,
            path: Text::new("path", &edge.path),
            digest: edge.digest().map(|digest| digest.to_string()),
            size,
            inferred: edge.via == Via::Actor,
        }
    }
}
