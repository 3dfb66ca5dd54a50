//! What should be where, by the record: the last that tasks left or saw of each file.

use std::collections::BTreeMap;

use super::Graph;
use super::subject::{NotFound, Subject};
use crate::document::File;
use crate::model::{FileState, FileUse, FileVersion, WallTime};
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
        let is_shown = |file: &FileUse| self.all || file.category.is_shown();
        let is_meant = |file: &FileUse| match &subject {
            None | Some(Subject::Task(..)) => is_shown(file),
            Some(below @ Subject::Below(_)) => below.is(file) && is_shown(file),
            Some(other) => other.is(file),
        };
        let mut last: BTreeMap<usize, &Use> = BTreeMap::new();
        for used in self.recorded.uses.iter().filter(is_in_view) {
            let known = last.entry(used.location).or_insert(used);
            if self.order_of(used) >= self.order_of(known) {
                *known = used;
            }
        }
        let mut last: Vec<&Use> = last
            .into_values()
            .filter(|used| matches!(used.role, Role::Read | Role::Write))
            .filter(|used| used.file.state != FileState::Missing)
            .filter(|used| is_meant(&used.file))
            .collect();
        last.sort_by_key(|used| (&used.file.path, used.location));
        let standing = |used: &Use| Standing {
            file: self.file(used),
            version: used.file.version,
        };
        Ok(last.into_iter().map(standing).collect())
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
