//! Digests of versions that were hashed before, for one user and one boot.
//!
//! A version (device, inode, size, mtime, ctime) names one content within a boot, so
//! that a file is hashed once, and what a task overwrote may still be known afterwards.
//! Whoever asks must have seen that the version is the one on disk, or that it was.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::digest::Digest;
use crate::model::FileVersion;

/// Format of the table; caches of another format are made anew.
const FORMAT: i64 = 1;
/// Most digests that are written at once.
const MOST: usize = 128;
/// How long one waits for others to be written with.
const PATIENCE: Duration = Duration::from_secs(1);

/// A cache on disk.
pub struct DigestCache {
    connection: Connection,
    /// What is not on disk yet, and since when.
    unwritten: Vec<(FileVersion, Digest)>,
    since: Instant,
    /// Whether it could not be read once: without memory SQLite may try for seconds each time.
    is_broken: bool,
}

impl DigestCache {
    /// Opens `directory/digests.db`, readable by its owner only; makes it where it is
    /// missing. Entries of other boots than `boot` go.
    pub fn open(directory: &Path, boot: &str) -> Result<Self, Box<dyn std::error::Error>> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let path = directory.join("digests.db");
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let connection = Connection::open(&path)?;
        connection.busy_timeout(Duration::from_millis(500))?;
        // What is lost with a crash is hashed again.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -512;",
        )?;
        let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known: Option<String> = match format {
            FORMAT => connection
                .query_row("SELECT boot FROM current", [], |row| row.get(0))
                .optional()?,
            _ => None,
        };
        if known.as_deref() != Some(boot) {
            connection.execute_batch(
                "BEGIN IMMEDIATE;
                 DROP TABLE IF EXISTS digests;
                 DROP TABLE IF EXISTS current;
                 CREATE TABLE current (boot TEXT NOT NULL);
                 CREATE TABLE digests (
                   dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,
                   mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB NOT NULL,
                   PRIMARY KEY (dev, ino, size, mtime, ctime)) WITHOUT ROWID;
                 PRAGMA user_version = 1;",
            )?;
            connection.execute("INSERT INTO current VALUES (?1)", [boot])?;
            connection.execute_batch("COMMIT")?;
        }
        Ok(Self {
            connection,
            unwritten: Vec::new(),
            since: Instant::now(),
            is_broken: false,
        })
    }

    /// The digest of a version, if it was hashed before. A cache that cannot be read knows none,
    /// and is asked no more.
    pub fn get(&mut self, version: FileVersion) -> Option<Digest> {
        let mut unwritten = self.unwritten.iter();
        if let Some((_, digest)) = unwritten.find(|(known, _)| *known == version) {
            return Some(*digest);
        }
        if self.is_broken {
            return None;
        }
        let known = self.read(version);
        self.is_broken = known.is_err();
        known.ok()?.map(Digest)
    }

    fn read(&self, version: FileVersion) -> rusqlite::Result<Option<[u8; 32]>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT digest FROM digests
             WHERE dev = ?1 AND ino = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5",
        )?;
        let row = statement.query_row(key(version), |row| row.get(0));
        row.optional()
    }

    /// Remembers a digest, which is written with others, at the latest by `flush`.
    pub fn put(&mut self, version: FileVersion, digest: Digest) {
        if self.unwritten.is_empty() {
            self.since = Instant::now();
        }
        self.unwritten.push((version, digest));
        if self.unwritten.len() >= MOST || self.since.elapsed() > PATIENCE {
            self.flush();
        }
    }

    /// Writes what is not on disk yet. A cache that cannot be written is no error.
    pub fn flush(&mut self) {
        let unwritten = std::mem::take(&mut self.unwritten);
        if !unwritten.is_empty() && !self.is_broken {
            let _ = self.write(&unwritten);
        }
    }

    fn write(&mut self, digests: &[(FileVersion, Digest)]) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut statement = transaction
            .prepare_cached("INSERT OR REPLACE INTO digests VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for (version, digest) in digests {
            let [dev, ino, size, mtime, ctime] = key(*version);
            statement.execute(params![dev, ino, size, mtime, ctime, digest.0])?;
        }
        drop(statement);
        transaction.commit()
    }
}

impl Drop for DigestCache {
    fn drop(&mut self) {
        self.flush();
    }
}

fn key(version: FileVersion) -> [i64; 5] {
    version.words().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_kept_for_its_version_and_boot() {
        let directory = tempfile::tempdir().unwrap();
        let version = FileVersion {
            dev: 1,
            ino: u64::MAX,
            size: 3,
            mtime: 4,
            ctime: -5,
        };
        let other = FileVersion {
            ctime: 6,
            ..version
        };
        let digest = Digest::of(b"x");
        let mut cache = DigestCache::open(directory.path(), "boot").unwrap();
        cache.put(version, digest);
        assert_eq!((cache.get(version), cache.get(other)), (Some(digest), None));
        drop(cache);
        let mut cache = DigestCache::open(directory.path(), "boot").unwrap();
        assert_eq!(cache.get(version), Some(digest));
        drop(cache);
        assert_eq!(
            DigestCache::open(directory.path(), "next")
                .unwrap()
                .get(version),
            None
        );
    }

    #[test]
    fn others_know_a_digest_once_it_is_flushed_or_many_wait() {
        let directory = tempfile::tempdir().unwrap();
        let open = || DigestCache::open(directory.path(), "boot").unwrap();
        let (mut cache, mut other) = (open(), open());
        let version = |ino| FileVersion {
            dev: 1,
            ino,
            size: 3,
            mtime: 4,
            ctime: 5,
        };
        let digest = Digest::of(b"x");
        cache.put(version(0), digest);
        assert_eq!(other.get(version(0)), None);
        cache.flush();
        assert_eq!(other.get(version(0)), Some(digest));
        (1..=MOST).for_each(|ino| cache.put(version(ino as u64), digest));
        assert_eq!(other.get(version(1)), Some(digest));
    }

    #[test]
    fn a_cache_that_cannot_be_read_is_asked_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = DigestCache::open(directory.path(), "boot").unwrap();
        let other = Connection::open(directory.path().join("digests.db")).unwrap();
        let version = FileVersion {
            dev: 1,
            ino: 2,
            size: 3,
            mtime: 4,
            ctime: 5,
        };
        cache.put(version, Digest::of(b"x"));
        cache.flush();
        other
            .execute_batch("ALTER TABLE digests RENAME TO gone")
            .unwrap();
        assert_eq!(cache.get(version), None);
        other
            .execute_batch("ALTER TABLE gone RENAME TO digests")
            .unwrap();
        assert_eq!(cache.get(version), None);
        let mut next = DigestCache::open(directory.path(), "boot").unwrap();
        assert_eq!(next.get(version), Some(Digest::of(b"x")));
    }
}
