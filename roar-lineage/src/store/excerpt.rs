//! The part of a session that a question reaches, loaded as it is reached. What is loaded of
//! a path, or around a task, is all that [`crate::query`] derives its edges from, so that
//! they are those of the whole session.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use bstr::BString;
use rusqlite::{Connection, Params, Row, Transaction};

use super::load::{USE, filter, of_json, use_of};
use super::{Location, Recorded, Store, StoreError, Usage, Use, artifacts, objects, overwritten};
use crate::digest::Digest;
use crate::model::TaskKind;

/// The part that was reached so far.
pub(crate) struct Excerpt<'a> {
    /// Read in one transaction: a merge in between must not show by halves.
    db: Transaction<'a>,
    all: bool,
    /// What was loaded. Uses of one path that were loaded at once stand together and in the
    /// order of [`Store::recorded`]; coverage, objects and drives are not loaded.
    pub(crate) recorded: Recorded,
    tasks: Tasks,
    /// By number: the index in [`Recorded::locations`].
    locations: HashMap<i64, usize>,
}

/// Which uses of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// All but reads.
    Writers,
    /// All.
    All,
}

impl Store {
    /// The current session, nothing of which is loaded.
    pub(crate) fn excerpt(&self, all: bool) -> Result<Excerpt<'_>, StoreError> {
        self.try_excerpt(all).map_err(|error| self.explained(error))
    }

    fn try_excerpt(&self, all: bool) -> Result<Excerpt<'_>, rusqlite::Error> {
        let db = self.connection.unchecked_transaction()?;
        let latest = "SELECT n, id, started_at FROM session ORDER BY n DESC LIMIT 1";
        let (session, id, started_at) = db.query_row(latest, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        Ok(Excerpt {
            db,
            all,
            recorded: Recorded {
                session: id,
                started_at,
                ..Recorded::default()
            },
            tasks: Tasks {
                session,
                indices: HashMap::new(),
                numbers: Vec::new(),
                jobs: HashMap::new(),
            },
            locations: HashMap::new(),
        })
    }
}

impl Excerpt<'_> {
    /// The paths and URLs of what a task left.
    pub(crate) fn paths_written(&self, task: usize) -> Result<Vec<BString>, rusqlite::Error> {
        let sql = format!(
            "SELECT DISTINCT path FROM fragment JOIN use ON use.fragment = fragment.n
             JOIN location ON location.n = use.location
             WHERE task = ? AND role IN ('write', 'ephemeral') {}",
            filter(self.all)
        );
        self.list(&sql, [self.number(task)], path_of)
    }

    /// The paths and URLs below one.
    pub(crate) fn paths_below(&self, path: &[u8]) -> Result<Vec<BString>, rusqlite::Error> {
        let sql = "SELECT DISTINCT path FROM location WHERE path > ? AND path < ?";
        self.list(sql, artifacts::below(path), path_of)
    }

    /// The paths where the content was.
    pub(crate) fn paths_with(&self, digest: Digest) -> Result<Vec<BString>, rusqlite::Error> {
        let sql = format!(
            "SELECT DISTINCT path FROM artifact JOIN use ON artifact = artifact.n
             JOIN location ON location.n = use.location WHERE digest = ? {}",
            filter(self.all)
        );
        self.list(&sql, [digest.0], path_of)
    }

    /// Loads the files that a task read, and tells the URLs of objects that it read. (What one
    /// use knows of an object's version counts for all of its uses.)
    pub(crate) fn load_reads(
        &mut self,
        task: usize,
    ) -> Result<(Range<usize>, BTreeSet<BString>), rusqlite::Error> {
        let sql = format!(
            "SELECT {USE}, use.n FROM fragment JOIN use ON use.fragment = fragment.n
             JOIN location ON location.n = use.location
             LEFT JOIN artifact ON artifact.n = use.artifact
             WHERE fragment.task = ? AND role = 'read' {}",
            filter(self.all)
        );
        let mut reads = self.uses(&sql, [self.number(task)])?;
        let is_object = |used: &mut Use| !used.file.path.starts_with(b"/");
        let objects = reads.extract_if(.., is_object);
        let urls = objects.map(|used| used.file.path).collect();
        Ok((self.keep(reads), urls))
    }

    /// Loads the uses of a path.
    pub(crate) fn load_path(
        &mut self,
        path: &[u8],
        users: Users,
    ) -> Result<Range<usize>, rusqlite::Error> {
        let of_users = match users {
            Users::Writers => {
                "INDEXED BY use_writer ON use.location = location.n AND role <> 'read'"
            }
            Users::All => "INDEXED BY use_location ON use.location = location.n",
        };
        let sql = format!(
            "SELECT {USE}, use.n FROM location CROSS JOIN use {of_users}
             JOIN fragment ON fragment.n = use.fragment
             LEFT JOIN artifact ON artifact.n = use.artifact WHERE path = ? {}",
            filter(self.all)
        );
        let mut uses = self.uses(&sql, [path])?;
        objects::share_digests(&mut uses);
        let tasks = &self.recorded.tasks;
        overwritten::supersede(&self.db, &mut uses, tasks, &self.tasks.numbers)?;
        Ok(self.keep(uses))
    }

    /// The uses that `sql` finds, in their order.
    fn uses(&mut self, sql: &str, key: impl Params) -> Result<Vec<Use>, rusqlite::Error> {
        let mut found: Vec<(i64, Use)> = Vec::new();
        {
            let mut statement = self.db.prepare_cached(sql)?;
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                let task = self
                    .tasks
                    .index(&self.db, &mut self.recorded, row.get(0)?)?;
                let Some(task) = task else {
                    continue;
                };
                let path = BString::from(row.get::<_, Vec<u8>>(3)?);
                let next = self.recorded.locations.len();
                let location = *self.locations.entry(row.get(1)?).or_insert(next);
                if location == next {
                    self.recorded.locations.push(Location {
                        host: row.get(2)?,
                        path: path.clone(),
                    });
                }
                found.push((row.get(21)?, use_of(row, task, location, path)?));
            }
        }
        let recorded = &self.recorded;
        let key = |(number, used): &(i64, Use)| {
            let host = &recorded.locations[used.location].host;
            let id = &recorded.tasks[used.task].task.id;
            (host, used.file.first, used.file.last, id, *number)
        };
        found.sort_by(|a, b| {
            let paths = a.1.file.path.cmp(&b.1.file.path);
            paths.then_with(|| key(a).cmp(&key(b)))
        });
        Ok(found.into_iter().map(|(_, used)| used).collect())
    }

    /// Adds uses to those that were reached, but for those of no node.
    fn keep(&mut self, mut uses: Vec<Use>) -> Range<usize> {
        let recorded = &mut self.recorded;
        uses.retain(|used| recorded.tasks[used.task].task.kind != TaskKind::Worker);
        let start = recorded.uses.len();
        recorded.uses.append(&mut uses);
        start..recorded.uses.len()
    }

    /// Whether a task used data.
    pub(crate) fn used_data(&self, task: usize) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM fragment JOIN use ON use.fragment = fragment.n
                   WHERE task = ? AND (category IS NULL OR category = 'data'))";
        let mut statement = self.db.prepare_cached(sql)?;
        statement.query_row([self.number(task)], |row| row.get(0))
    }

    /// A row's values of each row that `sql` finds.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        key: impl Params,
        value: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, rusqlite::Error> {
        let mut statement = self.db.prepare_cached(sql)?;
        statement.query_map(key, value)?.collect()
    }

    /// The index of the task with this number, if it is of the session.
    pub(super) fn task(&mut self, number: i64) -> Result<Option<usize>, rusqlite::Error> {
        self.tasks.index(&self.db, &mut self.recorded, number)
    }

    /// The number of the task with this index.
    pub(super) fn number(&self, task: usize) -> i64 {
        self.tasks.numbers[task]
    }
}

/// Which tasks are loaded.
struct Tasks {
    session: i64,
    /// By number: the index in [`Recorded::tasks`], if it is of the session.
    indices: HashMap<i64, Option<usize>>,
    /// By index.
    numbers: Vec<i64>,
    /// By number: the index in [`Recorded::jobs`], if it is of the session.
    jobs: HashMap<i64, Option<usize>>,
}

impl Tasks {
    fn index(
        &mut self,
        db: &Connection,
        recorded: &mut Recorded,
        number: i64,
    ) -> Result<Option<usize>, rusqlite::Error> {
        if let Some(&index) = self.indices.get(&number) {
            return Ok(index);
        }
        let mut find = db.prepare_cached("SELECT job, record FROM task WHERE n = ?")?;
        let mut rows = find.query([number])?;
        let mut index = None;
        if let Some(row) = rows.next()?
            && let Some(job) = self.job(db, recorded, row.get(0)?)?
        {
            index = Some(recorded.tasks.len());
            let task = of_json(row.get_ref(1)?.as_str()?)?;
            recorded.tasks.push(Usage { task, job });
            self.numbers.push(number);
        }
        self.indices.insert(number, index);
        Ok(index)
    }

    fn job(
        &mut self,
        db: &Connection,
        recorded: &mut Recorded,
        number: i64,
    ) -> Result<Option<usize>, rusqlite::Error> {
        if let Some(&index) = self.jobs.get(&number) {
            return Ok(index);
        }
        let mut find = db.prepare_cached("SELECT record FROM job WHERE n = ? AND session = ?")?;
        let mut rows = find.query([number, self.session])?;
        let mut index = None;
        if let Some(row) = rows.next()? {
            index = Some(recorded.jobs.len());
            recorded.jobs.push(of_json(row.get_ref(0)?.as_str()?)?);
        }
        self.jobs.insert(number, index);
        Ok(index)
    }
}

fn path_of(row: &Row<'_>) -> Result<BString, rusqlite::Error> {
    row.get::<_, Vec<u8>>(0).map(BString::from)
}
