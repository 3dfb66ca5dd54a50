//! Taking fragments in: commutative, associative and idempotent. Of each task and
//! observer the highest revision stays, and replaces the rows of the one before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::BString;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;

use super::names::{name_of, names_of};
use super::{Role, Store, StoreError};
use crate::digest::Digest;
use crate::fragment::Fragment;
use crate::join;
use crate::model::{FileState, FileUse, FileVersion, Job, Task};

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
        let mut merge = Merge::new(&transaction);
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
        merge.sweep()?;
        drop(merge);
        transaction.commit()?;
        Ok(merged)
    }
}

struct Merge<'a> {
    db: &'a Connection,
    locations: HashMap<(String, BString), i64>,
    artifacts: HashMap<Digest, i64>,
    /// Locations and artifacts that replaced rows had pointed to.
    loosened: (BTreeSet<i64>, BTreeSet<i64>),
}

fn json<T: Serialize>(value: &T) -> Result<String, rusqlite::Error> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn of_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, rusqlite::Error> {
    super::load::of_json(text)
}

impl<'a> Merge<'a> {
    fn new(db: &'a Connection) -> Self {
        Self {
            db,
            locations: HashMap::new(),
            artifacts: HashMap::new(),
            loosened: Default::default(),
        }
    }

    fn jobs<'f>(
        &self,
        fragments: &'f [Fragment],
    ) -> Result<BTreeMap<&'f str, i64>, rusqlite::Error> {
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
    fn fragment(&mut self, fragment: &Fragment, job: i64) -> Result<Option<i64>, rusqlite::Error> {
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
        self.contents(number, fragment)?;
        Ok(Some(task))
    }

    fn contents(&mut self, number: i64, fragment: &Fragment) -> Result<(), rusqlite::Error> {
        let host = &fragment.task.host;
        let roles = [
            (Role::Read, &fragment.reads),
            (Role::Write, &fragment.writes),
            (Role::Delete, &fragment.deletes),
        ];
        for (role, files) in roles {
            for file in files {
                self.add_use(number, host, role, file, Some(name_of(file.category)))?;
            }
        }
        for gone in &fragment.ephemerals {
            let file = FileUse {
                path: gone.path.clone(),
                digest: None,
                size: gone.version.map(|version| version.size),
                state: FileState::Missing,
                category: crate::model::Category::Data,
                how: BTreeSet::new(),
                via: None,
                unchanged: false,
                inferred: false,
                version: gone.version,
                object: gone.object.clone(),
                first: gone.first,
                last: gone.last,
            };
            self.add_use(number, host, Role::Ephemeral, &file, None)?;
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO process VALUES (?, ?, ?)")?;
        for process in &fragment.processes {
            insert.execute(params![number, process.pid, json(process)?])?;
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO package VALUES (?, ?, ?)")?;
        for package in &fragment.packages {
            insert.execute(params![number, package.name, package.version])?;
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO object VALUES (?, ?, ?, ?, ?)")?;
        for used in &fragment.objects {
            let size = used.size.map(u64::cast_signed);
            insert.execute(params![
                number,
                used.session,
                used.object.0,
                used.receiver,
                size
            ])?;
        }
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO driven VALUES (?, ?, ?)")?;
        for job in &fragment.drives {
            insert.execute(params![number, job.session, job.job_id])?;
        }
        Ok(())
    }

    fn add_use(
        &mut self,
        fragment: i64,
        host: &str,
        role: Role,
        file: &FileUse,
        category: Option<String>,
    ) -> Result<(), rusqlite::Error> {
        let location = self.location(host, &file.path)?;
        let artifact = file
            .digest
            .map(|digest| self.artifact(digest))
            .transpose()?;
        let bits = |part: fn(&FileVersion) -> i64| file.version.as_ref().map(part);
        let mut insert = self.db.prepare_cached(
            "INSERT INTO use (fragment, location, role, artifact, size, state, category, how, via,
             unchanged, inferred, dev, ino, version_size, mtime, ctime, first, last, object)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        insert.execute(params![
            fragment,
            location,
            name_of(role),
            artifact,
            file.size.map(u64::cast_signed),
            name_of(file.state),
            category,
            names_of(&file.how),
            file.via.as_ref().map(|via| via.as_slice()),
            file.unchanged,
            file.inferred,
            bits(|version| version.dev.cast_signed()),
            bits(|version| version.ino.cast_signed()),
            bits(|version| version.size.cast_signed()),
            bits(|version| version.mtime),
            bits(|version| version.ctime),
            file.first.cast_signed(),
            file.last.cast_signed(),
            file.object.as_deref().map(json).transpose()?,
        ])?;
        Ok(())
    }

    fn location(&mut self, host: &str, path: &BString) -> Result<i64, rusqlite::Error> {
        // An object's URL is the same everywhere.
        let host = if path.starts_with(b"/") { host } else { "" };
        let key = (host.to_owned(), path.clone());
        if let Some(&number) = self.locations.get(&key) {
            return Ok(number);
        }
        let mut upsert = self.db.prepare_cached(
            "INSERT INTO location (host, path) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET host = host RETURNING n",
        )?;
        let number = upsert.query_row(params![host, path.as_slice()], |row| row.get(0))?;
        self.locations.insert(key, number);
        Ok(number)
    }

    fn artifact(&mut self, digest: Digest) -> Result<i64, rusqlite::Error> {
        if let Some(&number) = self.artifacts.get(&digest) {
            return Ok(number);
        }
        let mut upsert = self.db.prepare_cached(
            "INSERT INTO artifact (digest) VALUES (?)
             ON CONFLICT DO UPDATE SET digest = digest RETURNING n",
        )?;
        let number = upsert.query_row([digest.0], |row| row.get(0))?;
        self.artifacts.insert(digest, number);
        Ok(number)
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
            let mut update = self
                .db
                .prepare_cached("UPDATE task SET record = ? WHERE n = ?")?;
            update.execute(params![json(&joined)?, task])?;
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
