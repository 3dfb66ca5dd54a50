//! What Ray's ids may join to one task: the objects that it received or made, the tasks at
//! their other ends, and the calls of its actor.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Row;

use super::excerpt::Excerpt;
use super::{Recorded, Role};
use crate::model::{Task, TaskKind};
use crate::object::{DrivenJob, ObjectId, ObjectUse, RayTaskId, hex};

/// One task and those around it, as a session of their own.
#[derive(Default)]
pub(crate) struct Neighbours {
    /// The tasks, their objects and drives.
    pub(crate) recorded: Recorded,
    /// By index of a task here: its index in the excerpt.
    pub(crate) indices: Vec<usize>,
}

/// A row by its number, with that of the task that recorded it.
type Numbered<T> = (i64, (i64, T));

/// Rows around a task: numbers of tasks, and objects and drives, see [`Numbered`].
#[derive(Default)]
struct Around {
    tasks: BTreeSet<i64>,
    objects: BTreeMap<i64, (i64, ObjectUse)>,
    drives: BTreeMap<i64, (i64, DrivenJob)>,
}

/// What finds the attempts of a Ray task: an object that it put names it without its first
/// byte.
fn ray_task(session: &str, id: &str) -> String {
    format!("{session}/{}", id.get(2..).unwrap_or_default())
}

/// What finds the constructors and the calls of a task's actor.
fn actor_ids(task: &Task) -> Option<[String; 2]> {
    let actor = task.ray.as_ref()?.actor_id.as_ref()?;
    let is_actors = matches!(task.kind, TaskKind::RayActorInit | TaskKind::RayActorMethod);
    is_actors.then(|| [format!("init/{actor}"), format!("call/{actor}")])
}

/// What a task is found by, see [`ray_task`] and [`actor_ids`].
pub(super) fn ids(task: &Task) -> (Option<String>, Option<String>) {
    let ray = task.ray.as_ref();
    let ids = ray.and_then(|ray| ray.session.as_ref().zip(ray.task_id.as_ref()));
    let actor = actor_ids(task).map(|[init, call]| match task.kind {
        TaskKind::RayActorInit => init,
        _ => call,
    });
    (ids.map(|(session, id)| ray_task(session, id)), actor)
}

const OBJECTS: &str = "SELECT object.rowid, task, object.session, object.id, receiver, size
     FROM object JOIN fragment ON fragment.n = fragment WHERE";

impl Excerpt<'_> {
    /// Those of a task: with the objects that it received, or with another role those that
    /// it made.
    pub(crate) fn neighbours(
        &mut self,
        task: usize,
        role: Role,
    ) -> Result<Neighbours, rusqlite::Error> {
        let mut around = Around::default();
        match role {
            Role::Read => self.received(task, &mut around)?,
            _ => self.made(task, &mut around)?,
        }
        if around.objects.is_empty() {
            return Ok(Neighbours::default());
        }
        around.tasks.insert(self.number(task));
        self.joined(around)
    }

    /// An actor's constructors, with one of its calls; with a constructor, all of its calls.
    pub(crate) fn actor(&mut self, task: usize) -> Result<Neighbours, rusqlite::Error> {
        let Some([init, call]) = actor_ids(&self.recorded.tasks[task].task) else {
            return Ok(Neighbours::default());
        };
        let mut around = Around::default();
        around.tasks.insert(self.number(task));
        let is_init = self.recorded.tasks[task].task.kind == TaskKind::RayActorInit;
        for id in [Some(init), is_init.then_some(call)].into_iter().flatten() {
            let sql = "SELECT n FROM task WHERE actor = ?";
            let tasks: Vec<i64> = self.list(sql, [id], |row| row.get(0))?;
            around.tasks.extend(tasks);
        }
        self.joined(around)
    }

    fn received(&self, task: usize, around: &mut Around) -> Result<(), rusqlite::Error> {
        let own = format!("{OBJECTS} task = ? AND receiver IS NULL");
        around
            .objects
            .extend(self.list(&own, [self.number(task)], object)?);
        if let Some((session, id)) = self.ray_ids(task) {
            let passed = format!("{OBJECTS} receiver = ? AND object.session = ?");
            around
                .objects
                .extend(self.list(&passed, (bytes(id), session), object)?);
        }
        for (_, used) in around.objects.values() {
            let maker = hex(&used.object.maker());
            around.tasks.extend(self.attempts(&used.session, &maker)?);
            let job = maker.get(40..).unwrap_or_default();
            around.drives.extend(self.drives(&used.session, job)?);
        }
        Ok(())
    }

    fn made(&self, task: usize, around: &mut Around) -> Result<(), rusqlite::Error> {
        // Ray's session and, but for its first byte, the maker's id in the objects' own ids.
        let mut makers: Vec<(String, Vec<u8>)> = Vec::new();
        if let Some((session, id)) = self.ray_ids(task) {
            around.tasks.extend(self.attempts(session, id)?);
            makers.push((session.to_owned(), bytes(id.get(2..).unwrap_or_default())));
        }
        let driven = "SELECT driven.session, job_id FROM fragment
                      JOIN driven ON fragment = fragment.n WHERE task = ?";
        let driven = self.list(driven, [self.number(task)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        for (session, job) in driven {
            around.drives.extend(self.drives(&session, &job)?);
            makers.push((session, [vec![0xff; 19], bytes(&job)].concat()));
        }
        for (session, maker) in makers {
            let passed = format!("{OBJECTS} substr(object.id, 2, 23) = ? AND object.session = ?");
            around
                .objects
                .extend(self.list(&passed, (maker, session), object)?);
        }
        for (_, used) in around.objects.values() {
            if let Some(receiver) = &used.receiver {
                let attempts = self.attempts(&used.session, &hex(receiver))?;
                around.tasks.extend(attempts);
            }
        }
        Ok(())
    }

    /// Ray's session and id of a task.
    fn ray_ids(&self, task: usize) -> Option<(&str, &str)> {
        let ray = self.recorded.tasks[task].task.ray.as_ref()?;
        ray.session.as_deref().zip(ray.task_id.as_deref())
    }

    fn attempts(&self, session: &str, id: &str) -> Result<Vec<i64>, rusqlite::Error> {
        let sql = "SELECT n FROM task WHERE ray_task = ?";
        self.list(sql, [ray_task(session, id)], |row| row.get(0))
    }

    fn drives(
        &self,
        session: &str,
        job: &str,
    ) -> Result<Vec<Numbered<DrivenJob>>, rusqlite::Error> {
        let sql = "SELECT driven.rowid, task, session, job_id FROM driven
                   JOIN fragment ON fragment.n = fragment WHERE job_id = ? AND session = ?";
        self.list(sql, [job, session], |row| {
            let (session, job_id) = (row.get(2)?, row.get(3)?);
            Ok((row.get(0)?, (row.get(1)?, DrivenJob { session, job_id })))
        })
    }

    /// What was found that is of the session, in the order of [`super::Store::recorded`].
    fn joined(&mut self, mut around: Around) -> Result<Neighbours, rusqlite::Error> {
        around
            .tasks
            .extend(around.objects.values().map(|(task, _)| *task));
        around
            .tasks
            .extend(around.drives.values().map(|(task, _)| *task));
        let mut found = Vec::new();
        for number in around.tasks {
            found.extend(self.task(number)?.map(|index| (number, index)));
        }
        found.sort_by_key(|(_, index)| &self.recorded.tasks[*index].task.id);
        let place: BTreeMap<i64, usize> = found
            .iter()
            .enumerate()
            .map(|(place, (number, _))| (*number, place))
            .collect();
        let at = |number: i64| place.get(&number).copied();
        let objects = around.objects.into_values();
        let drives = around.drives.into_values();
        let indices: Vec<usize> = found.iter().map(|(_, index)| *index).collect();
        let tasks = indices
            .iter()
            .map(|&index| self.recorded.tasks[index].clone());
        Ok(Neighbours {
            recorded: Recorded {
                tasks: tasks.collect(),
                objects: objects
                    .filter_map(|(task, used)| Some((at(task)?, used)))
                    .collect(),
                drives: drives
                    .filter_map(|(task, job)| Some((at(task)?, job)))
                    .collect(),
                ..Recorded::default()
            },
            indices,
        })
    }
}

fn object(row: &Row<'_>) -> Result<Numbered<ObjectUse>, rusqlite::Error> {
    let used = ObjectUse {
        session: row.get(2)?,
        object: ObjectId(row.get(3)?),
        receiver: row.get::<_, Option<RayTaskId>>(4)?,
        size: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
    };
    Ok((row.get(0)?, (row.get(1)?, used)))
}

/// The bytes of hexadecimal digits; none where they are no such.
fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    digits.collect::<Option<_>>().unwrap_or_default()
}
