//! What should be where, by the record: the last that tasks left or saw of each file.

use std::collections::BTreeMap;

use super::Graph;
use super::subject::{NotFound, Subject};
use crate::document::File;
use crate::model::{FileState, FileVersion, WallTime};
use crate::store::{Role, Use};

/// What a file was when it was last used.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The file.
    pub file: File,
    /// Its version, where one is known.
    pub version: Option<FileVersion>,
}

impl Graph {
    /// What all files should be, or those that `reference` stands for (of a step or task, what
    /// they were to it), by path. What was deleted or gone at last is none of them.
    pub fn standing(
        &self,
        reference: Option<&[u8]>,
        cwd: &[u8],
    ) -> Result<Vec<Standing>, NotFound> {
        let subject = match reference {
            Some(reference) => Some(self.subject(reference, cwd)?),
            None => None,
        };
        let is_in_view = |used: &&Use| match subject {
            Some(Subject::Task(_, task)) => used.task == task,
            _ => true,
        };
        let is_meant = |used: &Use| match &subject {
            None | Some(Subject::Task(..)) => self.is_shown(used),
            Some(below @ Subject::Below(_)) => below.is(&used.file) && self.is_shown(used),
            Some(other) => other.is(&used.file),
        };
        let uses = self.recorded.uses.iter();
        let mut last: Vec<&Use> = self
            .last_of_locations(uses.filter(is_in_view))
            .into_iter()
            .filter(|used| matches!(used.role, Role::Read | Role::Write))
            .filter(|used| used.file.state != FileState::Missing)
            .filter(|used| is_meant(used))
            .collect();
        last.sort_by_key(|used| (&used.file.path, used.location));
        Ok(last
            .into_iter()
            .map(|used| self.standing_of(used))
            .collect())
    }

    /// The last use of each location.
    pub(super) fn last_of_locations<'a>(
        &'a self,
        uses: impl Iterator<Item = &'a Use>,
    ) -> Vec<&'a Use> {
        let mut last: BTreeMap<usize, &Use> = BTreeMap::new();
        for used in uses {
            let known = last.entry(used.location).or_insert(used);
            if self.order_of(used) >= self.order_of(known) {
                *known = used;
            }
        }
        last.into_values().collect()
    }

    pub(super) fn standing_of(&self, used: &Use) -> Standing {
        Standing {
            file: self.file(used),
            version: used.file.version,
        }
    }

    pub(super) fn is_shown(&self, used: &Use) -> bool {
        self.all || used.file.category.is_shown()
    }

    /// Of two uses of one file the later one: when it was seen or left, as wall time, since tasks
    /// may be of several boots. What a task left it left at its end.
    pub(super) fn order_of(&self, used: &Use) -> (WallTime, bool) {
        let task = self.task(used.task);
        let after_start = used.file.last.saturating_sub(task.started);
        let at = task.started_at.saturating_add_unsigned(after_start);
        let is_write = used.role == Role::Write;
        let is_left = is_write && used.file.state != FileState::Superseded;
        let at = at.max(task.ended_at.filter(|_| is_left).unwrap_or(at));
        (at, is_write)
    }
}
