//! Giving back: everything of the current session that queries work on.

use std::collections::{BTreeSet, HashMap};

use bstr::BString;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::names::{Named, of_names};
use super::{Store, StoreError, objects, overwritten};
use crate::digest::Digest;
use crate::fragment::RAY_OBSERVER;
use crate::model::{
    Category, Coverage, FileState, FileUse, FileVersion, Job, Package, Task, WallTime,
};
use crate::object::{DrivenJob, ObjectId, ObjectUse};

/// What a task did with a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An input.
    Read,
    /// An output.
    Write,
    /// Deleted, and not made by it.
    Delete,
    /// Made and deleted again.
    Ephemeral,
}

/// Where files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// Host; empty for object URLs.
    pub host: String,
    /// Path or URL.
    pub path: BString,
}

/// One use of one file.
#[derive(Clone, Debug)]
pub struct Use {
    /// Index of the task in [`Recorded::tasks`].
    pub task: usize,
    /// Index in [`Recorded::locations`].
    pub location: usize,
    /// What was done.
    pub role: Role,
    /// The file. Of an ephemeral one the category is not known: data is assumed.
    pub file: FileUse,
}

/// A task of the store.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The task.
    pub task: Task,
    /// Index of its job in [`Recorded::jobs`].
    pub job: usize,
}

/// A session as it was recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The session's id.
    pub session: String,
    /// Wall time of its start.
    pub started_at: WallTime,
    /// Its jobs by start.
    pub jobs: Vec<Job>,
    /// Their tasks.
    pub tasks: Vec<Usage>,
    /// Locations of their files.
    pub locations: Vec<Location>,
    /// What they did with files.
    pub uses: Vec<Use>,
    /// What was seen and what was not, by index of the job.
    pub coverage: Vec<(usize, Coverage)>,
    /// Objects of Ray's, by index of the task that recorded them.
    pub objects: Vec<(usize, ObjectUse)>,
    /// Jobs of Ray's, by index of their driver.
    pub drives: Vec<(usize, DrivenJob)>,
}

pub(super) fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

impl Store {
    /// The distributions that a task loaded.
    pub fn packages(&self, task: &str) -> Result<BTreeSet<Package>, StoreError> {
        let find = || -> rusqlite::Result<BTreeSet<Package>> {
            let sql = "SELECT name, version FROM package JOIN fragment ON fragment.n = fragment
                       JOIN task ON task.n = task WHERE task.id = ?";
            let mut find = self.connection.prepare(sql)?;
            let package = |row: &Row<'_>| {
                let (name, version) = (row.get(0)?, row.get(1)?);
                Ok(Package { name, version })
            };
            find.query_map([task], package)?.collect()
        };
        find().map_err(|error| self.explained(error))
    }

    /// The current session; with files of every category if `all`, else of those that
    /// edges are made of: data, code and temp.
    pub fn recorded(&self, all: bool) -> Result<Recorded, StoreError> {
        load(&self.connection, all).map_err(|error| self.explained(error))
    }
}

fn load(db: &Connection, all: bool) -> Result<Recorded, rusqlite::Error> {
    // One read transaction: a merge in between must not show by halves.
    let db = db.unchecked_transaction()?;
    let latest = "SELECT n, id, started_at FROM session ORDER BY n DESC LIMIT 1";
    let (session, id, started_at): (i64, String, i64) = db.query_row(latest, [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut recorded = Recorded {
        session: id,
        started_at,
        ..Recorded::default()
    };
    let mut jobs = Vec::new();
    each(
        &db,
        "SELECT n, record FROM job WHERE session = ?",
        session,
        |row| {
            jobs.push((
                row.get::<_, i64>(0)?,
                of_json::<Job>(&row.get::<_, String>(1)?)?,
            ));
            Ok(())
        },
    )?;
    jobs.sort_by(|(_, a), (_, b)| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let mut job_index = HashMap::new();
    for (index, (number, job)) in jobs.into_iter().enumerate() {
        job_index.insert(number, index);
        recorded.jobs.push(job);
    }
    let mut task_index = HashMap::new();
    let mut numbers = Vec::new();
    let tasks = "SELECT task.n, task.job, task.record FROM task JOIN job ON job.n = task.job
                 WHERE session = ? ORDER BY task.id";
    each(&db, tasks, session, |row| {
        let job = job_index
            .get(&row.get::<_, i64>(1)?)
            .copied()
            .unwrap_or_default();
        let number: i64 = row.get(0)?;
        task_index.insert(number, recorded.tasks.len());
        numbers.push(number);
        let task = of_json(&row.get::<_, String>(2)?)?;
        recorded.tasks.push(Usage { task, job });
        Ok(())
    })?;
    // That nobody traced a task is true as long as nobody's record of it is there.
    let coverage = format!(
        "SELECT task.job, coverage FROM fragment JOIN task ON task.n = fragment.task
         JOIN job ON job.n = task.job WHERE session = ? AND NOT (observer = '{RAY_OBSERVER}'
         AND EXISTS (SELECT 1 FROM fragment AS seen
                     WHERE seen.task = task.n AND seen.observer <> '{RAY_OBSERVER}'))"
    );
    each(&db, &coverage, session, |row| {
        let job = job_index
            .get(&row.get::<_, i64>(0)?)
            .copied()
            .unwrap_or_default();
        let coverage = of_json(&row.get::<_, String>(1)?)?;
        recorded.coverage.push((job, coverage));
        Ok(())
    })?;
    let of_task = |row: &Row<'_>| -> Result<Option<usize>, rusqlite::Error> {
        Ok(task_index.get(&row.get::<_, i64>(0)?).copied())
    };
    let objects = "SELECT task, object.session, object.id, receiver, size FROM object
                   JOIN fragment ON fragment.n = fragment JOIN task ON task.n = task
                   JOIN job ON job.n = task.job WHERE job.session = ? ORDER BY object.rowid";
    each(&db, objects, session, |row| {
        let used = ObjectUse {
            session: row.get(1)?,
            object: ObjectId(row.get(2)?),
            receiver: row.get(3)?,
            size: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
        };
        recorded
            .objects
            .extend(of_task(row)?.map(|task| (task, used)));
        Ok(())
    })?;
    let drives = "SELECT task, driven.session, job_id FROM driven
                  JOIN fragment ON fragment.n = fragment JOIN task ON task.n = task
                  JOIN job ON job.n = task.job WHERE job.session = ? ORDER BY driven.rowid";
    each(&db, drives, session, |row| {
        let job = DrivenJob {
            session: row.get(1)?,
            job_id: row.get(2)?,
        };
        recorded
            .drives
            .extend(of_task(row)?.map(|task| (task, job)));
        Ok(())
    })?;
    let mut locations: HashMap<i64, usize> = HashMap::new();
    let filter = filter(all);
    let uses = format!(
        "SELECT {USE} FROM job JOIN task ON task.job = job.n JOIN fragment ON fragment.task = task.n
         JOIN use ON use.fragment = fragment.n JOIN location ON location.n = use.location
         LEFT JOIN artifact ON artifact.n = use.artifact
         WHERE session = ? {filter} ORDER BY path, host, first, last, task.id, use.n"
    );
    each(&db, &uses, session, |row| {
        let Some(&task) = task_index.get(&row.get::<_, i64>(0)?) else {
            return Ok(());
        };
        let path = BString::from(row.get::<_, Vec<u8>>(3)?);
        let next = recorded.locations.len();
        let location = *locations.entry(row.get(1)?).or_insert(next);
        if location == next {
            recorded.locations.push(Location {
                host: row.get(2)?,
                path: path.clone(),
            });
        }
        recorded.uses.push(use_of(row, task, location, path)?);
        Ok(())
    })?;
    objects::share_digests(&mut recorded.uses);
    overwritten::supersede(&db, &mut recorded.uses, &recorded.tasks, &numbers)?;
    Ok(recorded)
}

fn each(
    db: &Connection,
    sql: &str,
    session: i64,
    mut take: impl FnMut(&Row<'_>) -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([session])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// What [`use_of`] has to have of each use.
pub(super) const USE: &str = "fragment.task, location.n, host, path, role, digest, use.size, state,
     category, how, via, unchanged, inferred, dev, ino, version_size, mtime, ctime, first, last,
     object";

/// The files of edges alone, unless `all`.
pub(super) fn filter(all: bool) -> &'static str {
    match all {
        true => "",
        false => "AND (category IS NULL OR category IN ('data', 'code', 'temp'))",
    }
}

pub(super) fn use_of(
    row: &Row<'_>,
    task: usize,
    location: usize,
    path: BString,
) -> Result<Use, rusqlite::Error> {
    Ok(Use {
        task,
        location,
        role: Role::of(row.get_ref(4)?.as_str()?).unwrap_or(Role::Read),
        file: file(row, path)?,
    })
}

fn file(row: &Row<'_>, path: BString) -> Result<FileUse, rusqlite::Error> {
    let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let version = match row.get::<_, Option<i64>>(13)? {
        None => None,
        Some(dev) => Some(FileVersion {
            dev: dev.cast_unsigned(),
            ino: unsigned(14)?,
            size: unsigned(15)?,
            mtime: row.get(16)?,
            ctime: row.get(17)?,
        }),
    };
    let category = row.get_ref(8)?.as_str_or_null()?.and_then(Category::of);
    Ok(FileUse {
        path,
        digest: row.get::<_, Option<[u8; 32]>>(5)?.map(Digest),
        size: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
        state: FileState::of(row.get_ref(7)?.as_str()?).unwrap_or(FileState::Skipped),
        category: category.unwrap_or(Category::Data),
        how: of_names(row.get_ref(9)?.as_str()?),
        via: row.get::<_, Option<Vec<u8>>>(10)?.map(BString::from),
        unchanged: row.get(11)?,
        inferred: row.get(12)?,
        version,
        object: match row.get_ref(20)?.as_str_or_null()? {
            Some(object) => Some(of_json(object)?),
            None => None,
        },
        first: unsigned(18)?,
        last: unsigned(19)?,
    })
}
