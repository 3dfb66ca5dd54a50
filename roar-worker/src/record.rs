//! What was observed, into the records of the runs that it belongs to.

use roar_lineage::accumulate::Versions;
use roar_lineage::event::{Access, Event, TaskNo};
use roar_lineage::model::{GapKind, How};

use crate::attribution::Work;
use crate::digest_pool::HashJob;
use crate::process_table::Membership;
use crate::supervisor::Supervisor;

impl Supervisor {
    pub(crate) fn count(&mut self, membership: &Membership, events: usize) {
        for (index, _) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.count(events);
            }
        }
    }

    pub(crate) fn unreadable(&mut self, membership: &Membership) {
        self.gap(
            membership,
            GapKind::UnreadableMemory,
            "arguments of a call could not be read",
        );
    }

    pub(crate) fn gap(&mut self, membership: &Membership, kind: GapKind, detail: &str) {
        for (index, task) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.gap(*task, kind, detail, 1);
            }
        }
    }

    /// Records what a task did to files.
    pub(crate) fn record(&mut self, work: &Work, accesses: Vec<Access>, stamp: u64) {
        let Some(membership) = self.tasks_of(work, accesses.len()) else {
            return;
        };
        let Some((last, others)) = membership.split_last() else {
            return;
        };
        for access in accesses {
            for whose in others {
                self.record_one(membership, *whose, access.clone(), stamp);
            }
            self.record_one(membership, *last, access, stamp);
        }
    }

    /// The tasks that so many events belong to; where nobody knows, they are counted.
    pub(crate) fn tasks_of<'a>(&mut self, work: &'a Work, events: usize) -> Option<&'a Membership> {
        if let Work::Task(membership) = work {
            return Some(membership);
        }
        if let (true, Some(scope)) = (events > 0, self.scopes.first_mut()) {
            scope.count_unattributed(events);
        }
        None
    }

    fn record_one(
        &mut self,
        membership: &Membership,
        (index, task): (usize, TaskNo),
        access: Access,
        stamp: u64,
    ) {
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let event = Event::Access {
            task,
            stamp,
            access,
        };
        if !scope.recorder.record(&event) {
            return;
        }
        match &event {
            Event::Access {
                access: Access::Read {
                    path, version, how, ..
                },
                ..
            } => {
                let executed = matches!(how, How::Exec | How::Import);
                let classifier = scope.recorder.state.classifier();
                let category = || classifier.category(path, executed);
                if scope.hashing.enabled
                    && scope.hashing.wants(Versions::Read, category(), *version)
                {
                    self.pool.when_idle(HashJob {
                        path: path.clone(),
                        version: *version,
                        is_gone: false,
                        is_early: true,
                    });
                }
            }
            _ => {
                let page = scope
                    .page_of
                    .get(&task)
                    .and_then(|pid| self.table.get(*pid));
                if let Some(page) = page.and_then(|process| process.page.as_ref()) {
                    page.mark_dirty(membership);
                }
            }
        }
    }
}
