//! Taking fragments in: commutative, associative and idempotent. Of each task and
//! observer the highest revision stays, and replaces the rows of the one before.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;

use super::rows::Rows;
use super::{Store, StoreError, neighbours};
use crate::fragment::Fragment;
use crate::join;
use crate::model::{Job, Task};

/// What a merge did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Merged {
    /// Fragments that were new, or newer than what was there.
    pub taken: usize,
    /// Fragments that were there already.
    pub known: usize,
}

impl Store {
    /// Takes `fragments` in, all or none.
    pub fn merge(&mut self, fragments: &[Fragment]) -> Result<Merged, StoreError> {
        self.try_merge(fragments)
            .map_err(|error| self.explained(error))
    }

    fn try_merge(&mut self, fragments: &[Fragment]) -> Result<Merged, rusqlite::Error> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let deferred = Deferred::drop(&transaction, fragments)?;
        let mut merge = Merge::new(&transaction)?;
        let jobs = merge.jobs(fragments)?;
        let mut merged = Merged::default();
        let mut touched = BTreeSet::new();
        for fragment in fragments {
            let job = jobs
                .get(fragment.job.id.as_str())
                .copied()
                .unwrap_or_default();
            match merge.fragment(fragment, job)? {
                Some(task) => {
                    touched.insert(task);
                    merged.taken += 1;
                }
                None => merged.known += 1,
            }
        }
        for task in touched {
            merge.join_task(task)?;
        }
        deferred.create(&transaction)?;
        merge.sweep()?;
        drop(merge);
        transaction.commit()?;
        Ok(merged)
    }
}

struct Merge<'a, 'f> {
    db: &'a Connection,
    rows: Rows<'a, 'f>,
    /// Locations and artifacts that replaced rows had pointed to.
    loosened: (BTreeSet<i64>, BTreeSet<i64>),
}

/// Indexes of uses that are left out while many are written: making one of all rows takes
/// half the time of keeping it up to date with each.
struct Deferred(Vec<String>);

impl Deferred {
    /// Fewer uses than that are never many.
    const LEAST: usize = 10_000;

    /// Drops them if there are more uses in `fragments` than in the store. (That of fragments
    /// is needed meanwhile.)
    fn drop(db: &Connection, fragments: &[Fragment]) -> Result<Self, rusqlite::Error> {
        let count = |one: &Fragment| one.reads.len() + one.writes.len() + one.deletes.len();
        let added: usize = fragments.iter().map(count).sum();
        let there: Option<i64> = db.query_row("SELECT max(n) FROM use", [], |row| row.get(0))?;
        if added < Self::LEAST || there.is_some_and(|there| there > added as i64) {
            return Ok(Self(Vec::new()));
        }
        let mut find = db.prepare(
            "SELECT name, sql FROM sqlite_schema
             WHERE type = 'index' AND tbl_name = 'use' AND name <> 'use_fragment'",
        )?;
        let found = find.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let found: Vec<(String, String)> = found.collect::<Result<_, _>>()?;
        for (name, _) in &found {
            db.execute(&format!("DROP INDEX {name}"), [])?;
        }
        Ok(Self(found.into_iter().map(|(_, sql)| sql).collect()))
    }

    fn create(self, db: &Connection) -> Result<(), rusqlite::Error> {
        self.0
            .iter()
            .try_for_each(|sql| db.execute(sql, []).map(drop))
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn of_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, rusqlite::Error> {
    super::load::of_json(text)
}

impl<'a, 'f> Merge<'a, 'f> {
    fn new(db: &'a Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            db,
            rows: Rows::new(db)?,
            loosened: Default::default(),
        })
    }

    fn jobs(&self, fragments: &'f [Fragment]) -> Result<BTreeMap<&'f str, i64>, rusqlite::Error> {
        let mut joined: BTreeMap<&str, Job> = BTreeMap::new();
        for fragment in fragments {
            let job = match joined.remove(fragment.job.id.as_str()) {
                Some(job) => join::job(job, &fragment.job),
                None => fragment.job.clone(),
            };
            joined.insert(&fragment.job.id, job);
        }
        let mut numbers = BTreeMap::new();
        for (id, mut job) in joined {
            let find = "SELECT record FROM job WHERE id = ?";
            let found: Option<String> =
                self.db.query_row(find, [id], |row| row.get(0)).optional()?;
            if let Some(record) = found {
                job = join::job(job, &of_json(&record)?);
            }
            let number = self.db.query_row(
                "INSERT INTO job (id, session, record) VALUES (?, (SELECT max(n) FROM session), ?)
                 ON CONFLICT (id) DO UPDATE SET record = excluded.record RETURNING n",
                params![id, json(&job)?],
                |row| row.get(0),
            )?;
            numbers.insert(id, number);
        }
        Ok(numbers)
    }

    /// The task's number, if the fragment was taken.
    fn fragment(
        &mut self,
        fragment: &'f Fragment,
        job: i64,
    ) -> Result<Option<i64>, rusqlite::Error> {
        let mut insert = self.db.prepare_cached(
            "INSERT INTO task (id, job, record) VALUES (?, ?, '') ON CONFLICT DO NOTHING",
        )?;
        insert.execute(params![fragment.task.id, job])?;
        let mut find = self.db.prepare_cached("SELECT n FROM task WHERE id = ?")?;
        let task: i64 = find.query_row([&fragment.task.id], |row| row.get(0))?;
        let mut find = self
            .db
            .prepare_cached("SELECT n, revision FROM fragment WHERE task = ? AND observer = ?")?;
        let old: Option<(i64, i64)> = find
            .query_row(params![task, fragment.observer], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        if let Some((number, revision)) = old {
            if revision.cast_unsigned() >= fragment.revision {
                return Ok(None);
            }
            self.remove(number)?;
        }
        let mut insert = self.db.prepare_cached(
            "INSERT INTO fragment (task, observer, revision, claim, ephemeral, coverage)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        let number = insert.insert(params![
            task,
            fragment.observer,
            fragment.revision.cast_signed(),
            json(&fragment.task)?,
            fragment.ephemeral.cast_signed(),
            json(&fragment.coverage)?,
        ])?;
        self.rows.insert(number, fragment)?;
        Ok(Some(task))
    }

    fn remove(&mut self, fragment: i64) -> Result<(), rusqlite::Error> {
        let mut find = self
            .db
            .prepare_cached("SELECT location, artifact FROM use WHERE fragment = ?")?;
        let mut rows = find.query([fragment])?;
        while let Some(row) = rows.next()? {
            self.loosened.0.insert(row.get(0)?);
            self.loosened.1.extend(row.get::<_, Option<i64>>(1)?);
        }
        for table in ["use", "process", "package", "object", "driven"] {
            let sql = format!("DELETE FROM {table} WHERE fragment = ?");
            self.db.prepare_cached(&sql)?.execute([fragment])?;
        }
        self.db
            .prepare_cached("DELETE FROM fragment WHERE n = ?")?
            .execute([fragment])?;
        Ok(())
    }

    fn join_task(&self, task: i64) -> Result<(), rusqlite::Error> {
        let mut find = self.db.prepare_cached(
            "SELECT observer, claim FROM fragment WHERE task = ? ORDER BY observer",
        )?;
        let mut claims: Vec<(String, Task)> = Vec::new();
        let mut rows = find.query([task])?;
        while let Some(row) = rows.next()? {
            claims.push((row.get(0)?, of_json(&row.get::<_, String>(1)?)?));
        }
        if let Some(joined) = join::tasks(
            claims
                .iter()
                .map(|(observer, task)| (observer.as_str(), task)),
        ) {
            let (ray_task, actor) = neighbours::ids(&joined);
            let mut update = self.db.prepare_cached(
                "UPDATE task SET record = ?, ray_task = ?, actor = ? WHERE n = ?",
            )?;
            update.execute(params![json(&joined)?, ray_task, actor, task])?;
        }
        Ok(())
    }

    /// Removes what only replaced rows had pointed to.
    fn sweep(&self) -> Result<(), rusqlite::Error> {
        let mut sweep = self.db.prepare_cached(
            "DELETE FROM location WHERE n = ?1 AND NOT EXISTS (SELECT 1 FROM use WHERE location = ?1)")?;
        for location in &self.loosened.0 {
            sweep.execute([location])?;
        }
        let mut sweep = self.db.prepare_cached(
            "DELETE FROM artifact WHERE n = ?1 AND NOT EXISTS (SELECT 1 FROM use WHERE artifact = ?1)")?;
        for artifact in &self.loosened.1 {
            sweep.execute([artifact])?;
        }
        Ok(())
    }
}
