//! What was found out when a task had ended: what is at its paths, and digests.

use bstr::BString;

use super::Accumulator;
use crate::event::{Outcome, TaskNo};
use crate::model::{FileVersion, Stamp};

impl Accumulator {
    pub(super) fn has_digest(&self, version: FileVersion) -> bool {
        matches!(self.digests.get(version), Some(Outcome::Exact(_)))
    }

    pub(super) fn left(
        &mut self,
        no: TaskNo,
        path: &BString,
        version: Option<FileVersion>,
        last: Stamp,
    ) -> bool {
        let write = self
            .tasks
            .get_mut(&no)
            .and_then(|state| state.files.get_mut(path))
            .and_then(|entry| entry.write.as_mut());
        match write {
            Some(write) if write.left != Some(version) => {
                write.left = Some(version);
                write.last = write.last.max(last);
                true
            }
            Some(_) => false,
            None => self.is_still_there(no, path, version),
        }
    }

    /// Takes a delete back when the same file is there: the call had failed.
    fn is_still_there(&mut self, no: TaskNo, path: &BString, version: Option<FileVersion>) -> bool {
        let Some(state) = self.tasks.get_mut(&no) else {
            return false;
        };
        let entry = state.files.get_mut(path);
        match (entry, version) {
            (Some(entry), Some(there))
                if entry
                    .deleted
                    .as_ref()
                    .is_some_and(|deleted| deleted.0 == there) =>
            {
                entry.deleted = None;
                state.forget_if_empty(path);
                true
            }
            _ => false,
        }
    }
}
