//! The rows of a fragment: its files, processes, packages and objects.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{CachedStatement, Connection, params};

use super::Role;
use super::merge::json;
use super::names::{Named, names_of};
use crate::digest::Digest;
use crate::fragment::{Ephemeral, Fragment};
use crate::model::{Category, FileState, FileUse, FileVersion};

/// Writes rows; `'f` is that of the fragments that they are of. Each statement is looked
/// up once, since a merge has a million rows.
pub(super) struct Rows<'a, 'f> {
    insert_use: CachedStatement<'a>,
    locations: Numbers<'a>,
    /// By host and path: the numbers of locations that were met.
    known_locations: HashMap<(&'f str, &'f [u8]), i64>,
    artifacts: Numbers<'a>,
    /// The numbers of artifacts that were met.
    known_artifacts: HashMap<Digest, i64>,
    insert_process: CachedStatement<'a>,
    insert_package: CachedStatement<'a>,
    insert_object: CachedStatement<'a>,
    insert_driven: CachedStatement<'a>,
}

/// Gives a row a number, or finds the one that it has. Most rows of a large merge are new, so
/// that is tried first. (An upsert costs more than both.)
struct Numbers<'a> {
    db: &'a Connection,
    insert: CachedStatement<'a>,
    find: CachedStatement<'a>,
}

impl Numbers<'_> {
    fn get(&mut self, key: impl rusqlite::Params + Copy) -> Result<i64, rusqlite::Error> {
        match self.insert.execute(key)? {
            0 => self.find.query_row(key, |row| row.get(0)),
            _ => Ok(self.db.last_insert_rowid()),
        }
    }
}

impl<'a, 'f> Rows<'a, 'f> {
    pub(super) fn new(db: &'a Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            insert_use: db.prepare_cached(
                "INSERT INTO use (fragment, location, role, artifact, size, state, category, how,
                 via, unchanged, inferred, dev, ino, version_size, mtime, ctime, first, last, object)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            locations: Numbers {
                db,
                insert: db.prepare_cached(
                    "INSERT INTO location (host, path) VALUES (?, ?) ON CONFLICT DO NOTHING",
                )?,
                find: db.prepare_cached("SELECT n FROM location WHERE host = ? AND path = ?")?,
            },
            known_locations: HashMap::new(),
            artifacts: Numbers {
                db,
                insert: db.prepare_cached(
                    "INSERT INTO artifact (digest) VALUES (?) ON CONFLICT DO NOTHING",
                )?,
                find: db.prepare_cached("SELECT n FROM artifact WHERE digest = ?")?,
            },
            known_artifacts: HashMap::new(),
            insert_process: db.prepare_cached("INSERT INTO process VALUES (?, ?, ?)")?,
            insert_package: db.prepare_cached("INSERT INTO package VALUES (?, ?, ?)")?,
            insert_object: db.prepare_cached("INSERT INTO object VALUES (?, ?, ?, ?, ?)")?,
            insert_driven: db.prepare_cached("INSERT INTO driven VALUES (?, ?, ?)")?,
        })
    }

    /// Writes those of `fragment`, whose own row has this number.
    pub(super) fn insert(
        &mut self,
        number: i64,
        fragment: &'f Fragment,
    ) -> Result<(), rusqlite::Error> {
        let host = &fragment.task.host;
        let roles = [
            (Role::Read, &fragment.reads),
            (Role::Write, &fragment.writes),
            (Role::Delete, &fragment.deletes),
        ];
        for (role, files) in roles {
            for file in files {
                let location = self.location(host, &file.path)?;
                self.insert_use(number, location, role, file)?;
            }
        }
        for gone in &fragment.ephemerals {
            let location = self.location(host, &gone.path)?;
            self.insert_use(number, location, Role::Ephemeral, &missing(gone))?;
        }
        for process in &fragment.processes {
            let row = params![number, process.pid, json(process)?];
            self.insert_process.execute(row)?;
        }
        for package in &fragment.packages {
            let row = params![number, package.name, package.version];
            self.insert_package.execute(row)?;
        }
        for used in &fragment.objects {
            let size = used.size.map(u64::cast_signed);
            let row = params![number, used.session, used.object.0, used.receiver, size];
            self.insert_object.execute(row)?;
        }
        for job in &fragment.drives {
            let row = params![number, job.session, job.job_id];
            self.insert_driven.execute(row)?;
        }
        Ok(())
    }

    fn insert_use(
        &mut self,
        fragment: i64,
        location: i64,
        role: Role,
        file: &FileUse,
    ) -> Result<(), rusqlite::Error> {
        let artifact = match file.digest {
            Some(digest) => Some(self.artifact(digest)?),
            None => None,
        };
        let bits = |part: fn(&FileVersion) -> i64| file.version.as_ref().map(part);
        self.insert_use.execute(params![
            fragment,
            location,
            role.name(),
            artifact,
            file.size.map(u64::cast_signed),
            file.state.name(),
            (role != Role::Ephemeral).then(|| file.category.name()),
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

    fn location(&mut self, host: &'f str, path: &'f [u8]) -> Result<i64, rusqlite::Error> {
        // An object's URL is the same everywhere.
        let host = if path.starts_with(b"/") { host } else { "" };
        if let Some(&number) = self.known_locations.get(&(host, path)) {
            return Ok(number);
        }
        let number = self.locations.get((host, path))?;
        self.known_locations.insert((host, path), number);
        Ok(number)
    }

    fn artifact(&mut self, digest: Digest) -> Result<i64, rusqlite::Error> {
        if let Some(&number) = self.known_artifacts.get(&digest) {
            return Ok(number);
        }
        let number = self.artifacts.get([digest.0])?;
        self.known_artifacts.insert(digest, number);
        Ok(number)
    }
}

/// A file that is gone, as a use. Its category is not known, and not stored.
fn missing(gone: &Ephemeral) -> FileUse {
    FileUse {
        path: gone.path.clone(),
        digest: None,
        size: gone.version.map(|version| version.size),
        state: FileState::Missing,
        category: Category::Data,
        how: BTreeSet::new(),
        via: None,
        unchanged: false,
        inferred: false,
        version: gone.version,
        object: gone.object.clone(),
        first: gone.first,
        last: gone.last,
    }
}
