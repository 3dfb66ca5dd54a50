//! What a task made and deleted again.

use bstr::BString;

use super::TaskState;
use crate::fragment::Ephemeral;
use crate::model::FileVersion;

/// Ephemeral files remembered by path for each task; the count goes on.
const MAX_EPHEMERALS: usize = 1000;

impl TaskState {
    pub(super) fn ephemeral(&mut self, gone: Ephemeral) {
        self.ephemeral += 1;
        self.remember(gone);
    }

    pub(super) fn remember(&mut self, gone: Ephemeral) {
        if self.ephemerals.len() < MAX_EPHEMERALS {
            self.ephemerals.push(gone);
        }
    }
}

/// Whether a version is one of these, opened again through a descriptor.
pub(super) fn has(ephemerals: &[Ephemeral], path: &BString, version: FileVersion) -> bool {
    let words = |it: FileVersion| (it.dev, it.ino, it.size, it.mtime);
    let is_it = |gone: &Ephemeral| {
        let was = gone.version.map(words);
        was == Some(words(version)) && gone.path == *path
    };
    ephemerals.iter().any(is_it)
}
