//! A graph in which an actor is one node: its constructor's, which also did what its
//! methods did.
//!
//! Edges are found before, between calls: so an actor that reads what it wrote itself
//! follows nobody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Graph, ordered};
use crate::model::{Status, Task, TaskKind};
use crate::store::Role;

impl Graph {
    /// The same, with one node for each actor.
    pub fn by_actor(mut self) -> Self {
        let node = self.nodes_of_actors();
        self.edges_of_calls = Some(self.edges.clone());
        for (index, &to) in node.iter().enumerate() {
            if index != to {
                let call = self.recorded.tasks[index].task.clone();
                join(&mut self.recorded.tasks[to].task, &call);
            }
        }
        self.name_parents(&node);
        self.join_edges(&node);
        self.join_uses(&node);
        let is_hidden: Vec<bool> = node
            .iter()
            .enumerate()
            .map(|(index, &to)| index != to || self.task(index).kind == TaskKind::Worker)
            .collect();
        self.order = ordered(&self.recorded, &self.edges, &is_hidden);
        self
    }

    /// By task: the task that stands for it, an actor's first one for all of the actor's.
    fn nodes_of_actors(&self) -> Vec<usize> {
        let tasks = &self.recorded.tasks;
        let mut first: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        let actor = |index: usize| {
            let usage = &tasks[index];
            let is_actors = matches!(
                usage.task.kind,
                TaskKind::RayActorInit | TaskKind::RayActorMethod
            );
            let id = usage.task.ray.as_ref()?.actor_id.as_deref()?;
            is_actors.then_some((usage.job, id))
        };
        let key = |index: usize| {
            let task = &tasks[index].task;
            (
                task.kind != TaskKind::RayActorInit,
                task.started_at,
                &task.id,
            )
        };
        for index in 0..tasks.len() {
            if let Some(actor) = actor(index) {
                let known = first.entry(actor).or_insert(index);
                if key(index) < key(*known) {
                    *known = index;
                }
            }
        }
        let node = |index| actor(index).and_then(|actor| first.get(&actor).copied());
        (0..tasks.len())
            .map(|index| node(index).unwrap_or(index))
            .collect()
    }

    fn name_parents(&mut self, node: &[usize]) {
        let tasks = &self.recorded.tasks;
        let ids: HashMap<String, String> = (0..tasks.len())
            .filter(|&index| node[index] != index)
            .map(|index| {
                let id = |index: usize| tasks[index].task.id.clone();
                (id(index), id(node[index]))
            })
            .collect();
        for usage in &mut self.recorded.tasks {
            if let Some(id) = usage.task.parent.as_ref().and_then(|id| ids.get(id)) {
                usage.task.parent = Some(id.clone());
            }
        }
        for &index in node {
            // The class, not its constructor.
            let task = &mut self.recorded.tasks[index].task;
            if matches!(task.kind, TaskKind::RayActorInit | TaskKind::RayActorMethod) {
                task.kind = TaskKind::RayActorInit;
                let func = task.ray.as_mut().and_then(|ray| ray.func.as_mut());
                task.name = class_of(&task.name.to_string()).into();
                if let Some(func) = func {
                    *func = class_of(func).to_owned();
                }
            }
        }
    }

    fn join_edges(&mut self, node: &[usize]) {
        let mut own = BTreeSet::new();
        let mut seen = BTreeSet::new();
        self.edges.retain_mut(|edge| {
            let between = (node[edge.from], node[edge.to]);
            if between.0 == between.1 {
                own.extend(edge.uses().map(|[_, read]| (edge.to, read)));
                return false;
            }
            (edge.from, edge.to) = between;
            seen.insert((between, edge.path.clone(), edge.digest()))
        });
        // What an actor wrote before it read it is no input of its.
        for (task, read) in own {
            let path = self.recorded.uses[read].file.path.clone();
            let uses = &self.recorded.uses;
            let is_own =
                |index: &usize| uses[*index].role == Role::Read && uses[*index].file.path == path;
            self.uses[task].retain(|index| !is_own(index));
        }
    }

    fn join_uses(&mut self, node: &[usize]) {
        for (index, &to) in node.iter().enumerate() {
            if index != to {
                let moved = std::mem::take(&mut self.uses[index]);
                self.uses[to].extend(moved);
            }
        }
        let linked: BTreeSet<usize> = self
            .edges
            .iter()
            .filter_map(super::Edge::uses)
            .map(|[write, _]| write)
            .collect();
        let uses = &self.recorded.uses;
        let actors: BTreeSet<usize> = (0..node.len())
            .filter(|&index| node[index] != index)
            .collect();
        for to in actors.into_iter().map(|index| node[index]) {
            // Of a file that was written more than once, the last version, and those
            // that somebody has read.
            let mut last: BTreeMap<(usize, Role), usize> = BTreeMap::new();
            for &index in &self.uses[to] {
                let found = last
                    .entry((uses[index].location, uses[index].role))
                    .or_insert(index);
                if uses[*found].file.last <= uses[index].file.last {
                    *found = index;
                }
            }
            self.uses[to].retain(|index| {
                let used = &uses[*index];
                let is_last = last.get(&(used.location, used.role)) == Some(index);
                used.role == Role::Read || is_last || linked.contains(index)
            });
            self.uses[to].sort_unstable();
        }
    }
}

/// An actor goes on from its first call's start to its last call's end, and has the
/// status of what went worst.
fn join(actor: &mut Task, call: &Task) {
    let rank = |status| match status {
        Status::Completed => 0,
        Status::Running => 1,
        Status::Unknown => 2,
        Status::Failed => 3,
        Status::Killed => 4,
    };
    if rank(call.status) > rank(actor.status) {
        actor.status = call.status;
        actor.status_detail.clone_from(&call.status_detail);
    }
    if call.started_at < actor.started_at {
        actor.started_at = call.started_at;
        actor.started = call.started;
    }
    actor.ended_at = actor.ended_at.zip(call.ended_at).map(|(a, b)| a.max(b));
    actor.ended = actor.ended.zip(call.ended).map(|(a, b)| a.max(b));
}

/// `module.Class` of `module.Class.method`.
fn class_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(class, _)| class)
}
