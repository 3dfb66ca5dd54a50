//! The store: one SQLite file that keeps what was merged, and gives it back for queries.
//!
//! A merge is one transaction: all of it is there afterwards, or nothing of it.

mod artifacts;
mod excerpt;
mod load;
mod merge;
mod names;
mod neighbours;
mod objects;
mod overwritten;
mod rows;
mod schema;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub(crate) use excerpt::{Excerpt, Users};
pub use load::{Location, Recorded, Role, Usage, Use};
pub use merge::Merged;
pub(crate) use neighbours::Neighbours;

/// Name of the store's file in its directory.
pub const FILE_NAME: &str = "roar.db";

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// How many statements are kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// Most memory for pages (KiB). A merge visits indexes in no order, and what does not fit
/// is written and read again and again.
const CACHE: i64 = 64 << 10;

/// CEPH, SMB2, CIFS, Lustre, 9p, GPFS, which nix does not name (statfs(2)).
const NETWORK: &[u64] = &[
    0x00c3_6400,
    0xfe53_4d42,
    0xff53_4d42,
    0x0bd0_0bd0,
    0x0102_1997,
    0x4750_4653,
];

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no store at {}", .0.display())]
    Missing(PathBuf),
    /// Written by a later roar.
    #[error("{} has format {found}, and this roar reads up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Written by an earlier roar, where it cannot be made one of today.
    #[error("{} has the old format {found}, and cannot be written", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not a store, or damaged.
    #[error("{} is not a roar store or is damaged", .0.display())]
    Damaged(PathBuf),
    /// The file system is full.
    #[error("no space left for {}", .0.display())]
    Full(PathBuf),
    /// Another process kept it locked.
    #[error("{} is locked by another process", .0.display())]
    Busy(PathBuf),
    /// Some other failure of the system.
    #[error("failed to {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Some other failure of the database.
    #[error("failed to use {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
}

/// An open store.
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the store in `directory`, making both where they are missing.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let failed = |operation, at: &Path| {
            let path = at.to_owned();
            move |source| StoreError::Io {
                operation,
                path,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        options.open(&path).map_err(failed("open", &path))?;
        Self::connected(Self::prepare(&path), path)
    }

    /// Opens the store in `directory`, which must be there, also where nothing can be written.
    pub fn open_existing(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        if !path.exists() {
            return Err(StoreError::Missing(path));
        }
        match Self::prepare(&path) {
            Err(Preparation::Sql(error)) if is_unwritable(&error) && !has_log(&path) => {
                Self::connected(Self::prepare_unchanging(&path), path)
            }
            prepared => Self::connected(prepared, path),
        }
    }

    fn connected(
        prepared: Result<Connection, Preparation>,
        path: PathBuf,
    ) -> Result<Self, StoreError> {
        match prepared {
            Ok(connection) => Ok(Self { connection, path }),
            Err(Preparation::Newer(found)) => Err(StoreError::Newer {
                path,
                found,
                known: schema::MIGRATIONS.len() as u32,
            }),
            Err(Preparation::Older(found)) => Err(StoreError::Older { path, found }),
            Err(Preparation::Sql(source)) => Err(explained(&path, source)),
        }
    }

    /// Opens a store that nobody changes meanwhile, and which has the format of today.
    fn prepare_unchanging(path: &Path) -> Result<Connection, Preparation> {
        let mut uri = "file:".to_owned();
        for byte in path.as_os_str().as_bytes() {
            uri.push_str(&format!("%{byte:02x}"));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri + "?immutable=1", flags)?;
        let known = schema::MIGRATIONS.len() as u32;
        match format(&connection)? {
            found if found > known => Err(Preparation::Newer(found)),
            found if found < known => Err(Preparation::Older(found)),
            _ => Ok(connection),
        }
    }

    fn prepare(path: &Path) -> Result<Connection, Preparation> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // A merge refers to rows that it has just found or made: looking for them again is a
        // tenth of its time.
        connection.pragma_update(None, "foreign_keys", false)?;
        // Else a statement that could use a partial index is planned anew for every value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cache_size", -CACHE)?;
        let known = schema::MIGRATIONS.len() as u32;
        let found = format(&connection)?;
        if found > known {
            return Err(Preparation::Newer(found));
        }
        if found < known {
            if !is_on_network(path) {
                // Refused when another process has the file: the old mode serves as well.
                let _ = connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()));
            }
            let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = format(&migration)?;
            for step in schema::MIGRATIONS.iter().skip(found as usize) {
                migration.execute_batch(step)?;
            }
            migration.pragma_update(None, "user_version", known)?;
            migration.execute(
                "INSERT INTO session (id, started_at) SELECT lower(hex(randomblob(8))),
                 CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000
                 WHERE NOT EXISTS (SELECT 1 FROM session)",
                [],
            )?;
            migration.commit()?;
        }
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn explained(&self, error: rusqlite::Error) -> StoreError {
        explained(&self.path, error)
    }
}

/// The format of a store: how many of the migrations it has had.
fn format(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether a store could not be used since nothing can be written beside it.
fn is_unwritable(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Whether something of a store stands beside it still (<https://www.sqlite.org/wal.html>).
fn has_log(path: &Path) -> bool {
    let log = path.with_extension("db-wal");
    log.metadata().is_ok_and(|log| log.len() > 0)
}

enum Preparation {
    Newer(u32),
    Older(u32),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Preparation {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn explained(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged(path),
        Some(ErrorCode::DiskFull) => StoreError::Full(path),
        // SQLite's shared memory finds no room.
        Some(ErrorCode::SystemIoFailure) if is_full(&path) => StoreError::Full(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(path),
        _ => StoreError::Database { path, source },
    }
}

/// Whether there is less room than SQLite needs to begin (bytes).
fn is_full(path: &Path) -> bool {
    const LEAST: u64 = 128 << 10;
    let free = nix::sys::statvfs::statvfs(path.parent().unwrap_or(path));
    free.is_ok_and(|fs| fs.blocks_available() * fs.fragment_size() < LEAST)
}

/// Whether shared memory beside `path` may not be shared: WAL needs it.
fn is_on_network(path: &Path) -> bool {
    let Ok(found) = statfs::statfs(path) else {
        return false;
    };
    let kind = found.filesystem_type();
    let number = u64::try_from(kind.0).unwrap_or_default() & 0xffff_ffff;
    [
        statfs::NFS_SUPER_MAGIC,
        statfs::FUSE_SUPER_MAGIC,
        statfs::SMB_SUPER_MAGIC,
        statfs::AFS_SUPER_MAGIC,
        statfs::CODA_SUPER_MAGIC,
    ]
    .contains(&kind)
        || NETWORK.contains(&number)
}

#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod tests;
