//! What Ray's ids tell: drivers, constructors, and the way of objects from task to task.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::edges::{Edge, Via};
use crate::model::{Category, RayIds, Status, Task, TaskKind};
use crate::object::{ObjectId, ObjectUse, hex};
use crate::store::Recorded;

/// A command whose job has Ray tasks is their driver, and their parent when it is the
/// only one.
pub(super) fn name_drivers(recorded: &mut Recorded) {
    let is_ray = |kind| {
        matches!(
            kind,
            TaskKind::RayTask | TaskKind::RayActorInit | TaskKind::RayActorMethod
        )
    };
    let mut ray_jobs: BTreeMap<usize, String> = BTreeMap::new();
    for usage in recorded
        .tasks
        .iter()
        .filter(|usage| is_ray(usage.task.kind))
    {
        let id = usage
            .task
            .ray
            .as_ref()
            .map(|ray| ray.job_id.clone())
            .unwrap_or_default();
        let known = ray_jobs.entry(usage.job).or_insert_with(|| id.clone());
        if id < *known {
            *known = id;
        }
    }
    let mut drivers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for usage in &mut recorded.tasks {
        let task = &mut usage.task;
        if let Some(ray_job) = ray_jobs.get(&usage.job)
            && task.kind.is_command()
        {
            task.kind = TaskKind::RayDriver;
            task.ray.get_or_insert_with(|| RayIds {
                job_id: ray_job.clone(),
                task_id: None,
                attempt: 0,
                actor_id: None,
                node_id: None,
                worker_id: None,
                func: None,
                session: None,
            });
            drivers.entry(usage.job).or_default().push(task.id.clone());
        }
    }
    for usage in &mut recorded.tasks {
        if is_ray(usage.task.kind)
            && usage.task.parent.is_none()
            && let Some([driver]) = drivers.get(&usage.job).map(Vec::as_slice)
        {
            usage.task.parent = Some(driver.clone());
        }
    }
}

/// Constructors that ended well, and workers whose tasks are not told apart, say nothing
/// where they touched neither data nor objects.
pub(super) fn idle(recorded: &Recorded, edges: &[Edge]) -> BTreeSet<usize> {
    let tasks = recorded.tasks.iter().enumerate();
    let candidates = tasks.filter(|(_, usage)| may_be_idle(&usage.task));
    let mut idle: BTreeSet<usize> = candidates.map(|(index, _)| index).collect();
    for used in &recorded.uses {
        if used.file.category == Category::Data {
            idle.remove(&used.task);
        }
    }
    for edge in edges {
        idle.remove(&edge.from);
        idle.remove(&edge.to);
    }
    idle
}

/// Whether a task is hidden if it touches nothing.
pub(super) fn may_be_idle(task: &Task) -> bool {
    match task.kind {
        TaskKind::RayActorInit => task.status == Status::Completed,
        TaskKind::RayTask => task.ray.as_ref().is_some_and(|ray| ray.task_id.is_none()),
        _ => false,
    }
}

/// A method uses what its actor's constructor read.
pub(super) fn of_actors(recorded: &Recorded) -> Vec<Edge> {
    let actor = |task: &Task| task.ray.as_ref().and_then(|ray| ray.actor_id.clone());
    let mut constructors: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (index, usage) in recorded.tasks.iter().enumerate() {
        if usage.task.kind == TaskKind::RayActorInit
            && let Some(id) = actor(&usage.task)
        {
            let last = constructors.entry((usage.job, id)).or_insert(index);
            if recorded.tasks[*last].task.started_at < usage.task.started_at {
                *last = index;
            }
        }
    }
    let edge = |(to, usage): (usize, &crate::store::Usage)| {
        let id = actor(&usage.task).filter(|_| usage.task.kind == TaskKind::RayActorMethod)?;
        let &from = constructors.get(&(usage.job, id.clone()))?;
        let path = id.into();
        Some(Edge {
            from,
            to,
            path,
            via: Via::Actor,
        })
    };
    recorded.tasks.iter().enumerate().filter_map(edge).collect()
}

/// An object joins its maker to the tasks that received it.
pub(super) fn of_objects(recorded: &Recorded) -> Vec<Edge> {
    let makers = Makers::new(recorded);
    let mut edges: Vec<Edge> = Vec::new();
    let mut places: HashMap<(usize, usize, ObjectId), usize> = HashMap::new();
    for (recorder, used) in &recorded.objects {
        for to in makers.receivers(*recorder, used) {
            let Some(from) = makers.of(used, to).filter(|from| *from != to) else {
                continue;
            };
            let place = *places.entry((from, to, used.object)).or_insert(edges.len());
            match edges.get_mut(place).map(|edge| &mut edge.via) {
                Some(Via::Object { size }) => *size = size.or(used.size),
                _ => edges.push(Edge {
                    from,
                    to,
                    path: used.object.hex().into(),
                    via: Via::Object { size: used.size },
                }),
            }
        }
    }
    edges
}

/// Tasks by what Ray calls them.
struct Makers<'a> {
    recorded: &'a Recorded,
    /// By session and task id: the attempts by start.
    attempts: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// By session and task id without its first byte.
    by_rest: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// By session and job id.
    drivers: HashMap<(&'a str, &'a str), usize>,
}

impl<'a> Makers<'a> {
    fn new(recorded: &'a Recorded) -> Self {
        let mut makers = Self {
            recorded,
            attempts: HashMap::new(),
            by_rest: HashMap::new(),
            drivers: HashMap::new(),
        };
        let mut by_start: Vec<usize> = (0..recorded.tasks.len()).collect();
        by_start.sort_by_key(|&index| recorded.tasks[index].task.started_at);
        for index in by_start {
            let ray = recorded.tasks[index].task.ray.as_ref();
            let Some(ray) = ray else { continue };
            let (Some(session), Some(id)) = (ray.session.as_deref(), ray.task_id.as_deref()) else {
                continue;
            };
            makers
                .attempts
                .entry((session, id))
                .or_default()
                .push(index);
            let rest = id.get(2..).unwrap_or_default();
            makers
                .by_rest
                .entry((session, rest))
                .or_default()
                .push(index);
        }
        for (index, job) in &recorded.drives {
            makers.drivers.insert((&job.session, &job.job_id), *index);
        }
        makers
    }

    fn task(&self, index: usize) -> &'a Task {
        &self.recorded.tasks[index].task
    }

    /// Who received it: every attempt of the task that it was passed to.
    fn receivers(&self, recorder: usize, used: &ObjectUse) -> Vec<usize> {
        let Some(receiver) = &used.receiver else {
            return vec![recorder];
        };
        let id = hex(receiver);
        let attempts = self.attempts.get(&(used.session.as_str(), id.as_str()));
        attempts.cloned().unwrap_or_default()
    }

    /// Which attempt made it: the last that completed before the receiver's end, else the
    /// last one.
    fn of(&self, used: &ObjectUse, receiver: usize) -> Option<usize> {
        let (session, maker) = (used.session.as_str(), hex(&used.object.maker()));
        let (_, rest) = maker.split_at_checked(2)?;
        let (unique, job) = rest.split_at_checked(38)?;
        if unique.bytes().all(|digit| digit == b'f') {
            return self.drivers.get(&(session, job)).copied();
        }
        let attempts = match used.object.was_put() {
            true => self.by_rest.get(&(session, rest)),
            false => self.attempts.get(&(session, maker.as_str())),
        }?;
        let limit = self.task(receiver).ended_at.unwrap_or(i64::MAX);
        let is_source = |index: &&usize| {
            let task = self.task(**index);
            task.status == Status::Completed && task.started_at <= limit
        };
        attempts
            .iter()
            .rev()
            .find(is_source)
            .or(attempts.last())
            .copied()
    }
}
