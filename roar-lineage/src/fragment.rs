//! The unit that travels: the record of one task as one observer saw it.
//!
//! A fragment describes itself (job, task, files, processes, coverage). It comes in
//! revisions, each complete in itself, so joining two fragments of one task and one
//! observer is taking the higher revision: commutative, associative, idempotent.
//!
//! In files a fragment is one frame ([`crate::frame`]) of a fragment file, whose first
//! bytes are [`MAGIC`]: append-only, checksummed, readable up to a torn end.

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::model::{Coverage, FileUse, FileVersion, Job, Package, Process, Stamp, Task};
use crate::object::{DrivenJob, ObjectUse};
use crate::s3::ObjectInfo;

/// First bytes of a fragment file; the last one is the format's version.
pub const MAGIC: [u8; 8] = *b"ROARFRG\x03";

/// The observer that is Ray's own control plane: its fragments tell how tasks ended, and
/// that a task was there which nobody traced. They tell of no files.
pub const RAY_OBSERVER: &str = "ray";

/// File name extension of a fragment file, without the dot.
pub const EXTENSION: &str = "roarfrag";

/// The record of one task as one observer saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fragment {
    /// Who saw it: unique for each supervisor.
    pub observer: String,
    /// Grows with every sealing by the same observer; the highest counts.
    pub revision: u64,
    /// The job that the task belongs to.
    pub job: Job,
    /// The task.
    pub task: Task,
    /// Inputs.
    pub reads: Vec<FileUse>,
    /// Outputs.
    pub writes: Vec<FileUse>,
    /// Files deleted that the task had not made.
    pub deletes: Vec<FileUse>,
    /// How many files were made and deleted again.
    pub ephemeral: u64,
    /// Those of them that are remembered, in case another task read one; and, of objects,
    /// versions that the task itself replaced.
    pub ephemerals: Vec<Ephemeral>,
    /// Distributions loaded.
    pub packages: Vec<Package>,
    /// Processes of the task.
    pub processes: Vec<Process>,
    /// What was seen and what was not.
    pub coverage: Coverage,
    /// Objects of Ray's that it received, or passed to tasks.
    pub objects: Vec<ObjectUse>,
    /// Jobs of Ray's whose driver it is.
    pub drives: Vec<DrivenJob>,
}

impl Fragment {
    /// What names a fragment: its task and its observer.
    pub fn key(&self) -> (&str, &str) {
        (&self.task.id, &self.observer)
    }

    /// The newer of two revisions of one fragment.
    pub fn join(self, other: Self) -> Self {
        if other.revision > self.revision {
            other
        } else {
            self
        }
    }

    /// The fragment as one frame.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut sealed = Vec::new();
        frame::append(&mut sealed, self)?;
        Ok(sealed)
    }
}

/// A file that a task made and deleted again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ephemeral {
    /// Absolute path, or an object URL.
    pub path: BString,
    /// Last version seen, if any was.
    pub version: Option<FileVersion>,
    /// What an object store said of it; none for files.
    pub object: Option<Box<ObjectInfo>>,
    /// When it was made.
    pub first: Stamp,
    /// When it was deleted.
    pub last: Stamp,
}

/// Why a fragment file could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The first bytes are not those of a fragment file.
    #[error("not a fragment file")]
    NotAFragmentFile,
    /// Written by a later version of roar.
    #[error("fragment format {0} is newer than this roar reads")]
    Newer(u8),
    /// Written by an earlier version of roar.
    #[error("fragment format {0} is older than this roar reads")]
    Older(u8),
    /// A frame whose checksum holds and whose content does not decode.
    #[error("damaged fragment")]
    Damaged,
}

/// Reads the content of a fragment file. A torn or damaged end is left out and reported
/// as `true` beside the fragments before it.
pub fn read(content: &[u8]) -> Result<(Vec<Fragment>, bool), ReadError> {
    let body = frame::body_of(content, MAGIC).map_err(|bad| match bad {
        frame::BadHeader::Foreign => ReadError::NotAFragmentFile,
        frame::BadHeader::Newer(version) => ReadError::Newer(version),
        frame::BadHeader::Older(version) => ReadError::Older(version),
    })?;
    let mut frames = frame::Frames::new(body);
    let mut fragments = Vec::new();
    for payload in frames.by_ref() {
        fragments.push(postcard::from_bytes(payload).map_err(|_| ReadError::Damaged)?);
    }
    Ok((fragments, frames.is_torn()))
}
