//! What is asked of the store. Everything is derived from what was recorded when it is
//! asked: edges, steps, which command was the driver of a Ray job.

mod actors;
mod composites;
mod dag;
mod diff;
mod edges;
mod flow;
mod history;
mod inputs;
mod lineage;
mod producers;
mod ray;
mod same_content;
mod show;
mod standing;
mod steps;
mod subject;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{self, WORKER_FILES, joined_coverage};
use crate::model::{Coverage, GapKind, Job, Task, TaskKind};
use crate::store::{Recorded, Role, Store, StoreError, Usage, Use};

pub use composites::{Composite, Contents};
pub use dag::{Dag, EdgeObject, Node};
pub use diff::{Change, Diff, Side, Verdict};
pub use edges::{Edge, Via};
pub use flow::{Flow, Version};
pub use history::{Log, LogEntry, StatusDocument};
pub use inputs::{Inputs, Source};
pub use lineage::{Artifact, Direction, Lineage, Relative, lineage};
pub use show::{Found, Producer, Show, Sighting};
pub use standing::Standing;
pub use subject::NotFound;
pub use work::{Changed, Part, Work};

/// A session as a graph.
#[derive(Debug)]
pub struct Graph {
    recorded: Recorded,
    /// Indices of tasks in the order of their steps: step 1 first.
    order: Vec<usize>,
    edges: Vec<Edge>,
    /// Those before actors were joined, where they are.
    edges_of_calls: Option<Vec<Edge>>,
    /// By task: indices of its uses.
    uses: Vec<Vec<usize>>,
    all: bool,
}

impl Graph {
    /// The current session; with files and edges of every category if `all`.
    pub fn load(store: &Store, all: bool) -> Result<Self, StoreError> {
        Ok(Self::new(store.recorded(all)?, all))
    }

    fn new(mut recorded: Recorded, all: bool) -> Self {
        let is_worker: Vec<bool> = recorded
            .tasks
            .iter()
            .map(|usage| usage.task.kind == TaskKind::Worker)
            .collect();
        for (job, coverage) in worker_files(&recorded, &is_worker) {
            recorded.coverage.push((job, coverage));
        }
        recorded.uses.retain(|used| !is_worker[used.task]);
        ray::name_drivers(&mut recorded);
        let mut edges = edges::of_files(&recorded);
        edges.extend(ray::of_objects(&recorded));
        let mut is_hidden = is_worker;
        if !all {
            for index in ray::idle(&recorded, &edges) {
                is_hidden[index] = true;
            }
        }
        edges.extend(ray::of_actors(&recorded));
        edges.retain(|edge| !is_hidden[edge.from] && !is_hidden[edge.to]);
        let mut uses = vec![Vec::new(); recorded.tasks.len()];
        for (index, used) in recorded.uses.iter().enumerate() {
            uses[used.task].push(index);
        }
        let order = ordered(&recorded, &edges, &is_hidden);
        Self {
            recorded,
            order,
            edges,
            edges_of_calls: None,
            uses,
            all,
        }
    }

    /// Tasks with their step, first step first.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &Task)> {
        let tasks = self.order.iter().map(|&index| self.task(index));
        tasks
            .enumerate()
            .map(|(position, task)| (position + 1, task))
    }

    /// A step's job, and the step that its command is.
    pub fn job_of(&self, step: usize) -> Result<(&Job, Option<usize>), NotFound> {
        let job = self.recorded.tasks[self.at_step(step)?].job;
        let is_command = |index: &usize| {
            let Usage { task, job: of } = &self.recorded.tasks[*index];
            *of == job && task.kind.is_command()
        };
        let command = self.order.iter().position(is_command);
        Ok((
            &self.recorded.jobs[job],
            command.map(|position| position + 1),
        ))
    }

    /// Edges between tasks, also those of one actor.
    fn edges_of_tasks(&self) -> &[Edge] {
        self.edges_of_calls.as_deref().unwrap_or(&self.edges)
    }

    /// Id of the session.
    pub fn session(&self) -> &str {
        &self.recorded.session
    }

    /// The session's jobs by start.
    pub fn jobs(&self) -> &[Job] {
        &self.recorded.jobs
    }

    fn task(&self, index: usize) -> &Task {
        &self.recorded.tasks[index].task
    }

    fn coverage(&self) -> Coverage {
        joined_coverage(self.recorded.coverage.iter().map(|(_, coverage)| coverage))
    }

    /// A file of a node. What was gone before another task's end is missing.
    fn file(&self, used: &Use) -> document::File {
        let mut file = document::File::new(&used.file);
        let host = &self.recorded.locations[used.location].host;
        file.node = Some(host.clone()).filter(|host| !host.is_empty());
        file
    }

    /// The files of a task in one role: those of shown categories, and those of edges.
    fn files(&self, task: usize, role: Role, linked: &BTreeSet<usize>) -> Vec<document::File> {
        let mut files: Vec<document::File> = Vec::new();
        for &index in &self.uses[task] {
            let used = &self.recorded.uses[index];
            let is_role = used.role == role
                || (role == Role::Write && used.role == Role::Ephemeral && linked.contains(&index));
            let is_shown = self.is_shown(used) || linked.contains(&index);
            let file = (is_role && is_shown).then(|| self.file(used));
            // Two observers may have seen the same.
            files.extend(file.filter(|file| !files.iter().rev().take(8).any(|seen| seen == file)));
        }
        files
    }
}

/// Ray workers' own files, which belong to no known task.
fn worker_files(recorded: &Recorded, is_worker: &[bool]) -> Vec<(usize, Coverage)> {
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for used in &recorded.uses {
        let counts_here = matches!(used.role, Role::Read | Role::Write);
        if is_worker[used.task] && counts_here && used.file.category.is_shown() {
            *counts.entry(recorded.tasks[used.task].job).or_default() += 1;
        }
    }
    let gap = |(job, count)| {
        let mut coverage = Coverage::default();
        coverage.add_gap(GapKind::Unattributed, WORKER_FILES, count);
        (job, coverage)
    };
    counts.into_iter().map(gap).collect()
}

fn ordered(recorded: &Recorded, edges: &[Edge], is_hidden: &[bool]) -> Vec<usize> {
    let key = |index: usize| {
        let task = &recorded.tasks[index].task;
        (task.started_at, &task.id)
    };
    let mut by_start: Vec<usize> = (0..recorded.tasks.len()).collect();
    by_start.sort_by(|&a, &b| key(a).cmp(&key(b)));
    let mut rank = vec![0; by_start.len()];
    for (position, &index) in by_start.iter().enumerate() {
        rank[index] = position;
    }
    // Files that only --all shows number nothing, so that a step keeps its number.
    let counts = |edge: &&Edge| match edge.via {
        Via::File { read, .. } => recorded.uses[read].file.category.is_hashed(),
        Via::Object { .. } | Via::Actor => true,
    };
    let pairs: Vec<_> = edges
        .iter()
        .filter(counts)
        .map(|edge| (edge.from, edge.to))
        .collect();
    let order = steps::order(&rank, &pairs);
    order
        .into_iter()
        .filter(|&index| !is_hidden[index])
        .collect()
}

#[cfg(test)]
mod composite_tests;
#[cfg(test)]
mod lineage_tests;
#[cfg(test)]
mod object_tests;
#[cfg(test)]
mod standing_tests;
#[cfg(test)]
mod tests;
