//! Tasks within processes: from the attribution page's entries to the record's tasks.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roar_lineage::event::{Event, TaskNo};
use roar_lineage::model::{self, GapKind, RayIds, Status, Task, TaskKind};
use roar_lineage::object::ObjectUse;

use crate::attribution::{Change, Context, Kind, Page, PageEnd, PageObject, PageTask, Work};
use crate::driver::JOB_SUPERVISOR;
use crate::process_table::Membership;
use crate::rings::Record;
use crate::scope;
use crate::supervisor::{Supervisor, Turn};

/// How long the end of a process may take that has left its filter (milliseconds).
const LAST_END_MS: u16 = 200;

/// Role of a process that runs a job's script and no tasks.
const DRIVER: &str = "driver";

impl Supervisor {
    /// Takes in what has happened on all pages and in all rings.
    pub(crate) fn look_at_pages(&mut self) {
        for pid in self.table.with_page() {
            self.catch_up(pid);
        }
        self.catch_up_all();
        self.known_directory = None;
        if self.renames {
            self.rename_directories();
        }
    }

    /// Takes in what has happened on a process's page and in its rings.
    pub(crate) fn catch_up(&mut self, pid: u32) {
        // First: the page knows every task that these were opened for.
        let opened = self.opened_by(pid);
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        let Some(mut page) = process.page.take() else {
            if !opened.is_empty() {
                let base = process.membership.clone();
                self.hold_logs(&base, true);
                self.record_opened(pid, &opened, None);
                self.hold_logs(&base, false);
            }
            return;
        };
        let base = process.membership.clone();
        let ended = self.take_in(pid, &base, &mut page, &opened);
        self.put_back(pid, page);
        if ended.is_empty() {
            return;
        }
        self.settle_stores();
        let page = self.table.get_mut(pid).and_then(|it| it.page.take());
        if let Some(page) = page {
            self.tasks_ended(&base, &page, &ended);
            self.put_back(pid, page);
        }
    }

    fn put_back(&mut self, pid: u32, page: Page) {
        if let Some(process) = self.table.get_mut(pid) {
            process.page = Some(page);
        }
    }

    /// Takes in all but the ends of tasks, and gives those.
    fn take_in(
        &mut self,
        pid: u32,
        base: &Membership,
        page: &mut Page,
        opened: &[Record],
    ) -> Vec<PageEnd> {
        let changes = page.changes();
        let objects = page.objects();
        let lost = page.lost_objects();
        if changes.is_empty() && objects.is_empty() && lost == 0 {
            self.record_opened(pid, opened, Some(page));
            return Vec::new();
        }
        let context = page.context();
        self.hold_logs(base, true);
        let mut ended = Vec::new();
        for change in changes {
            match change {
                Change::Began(task) => self.task_began(pid, base, page, &context, &task),
                Change::Ended(end) => ended.push(end),
            }
        }
        self.record_opened(pid, opened, Some(page));
        self.take_objects(base, page, &context, objects, lost);
        self.hold_logs(base, false);
        ended
    }

    fn tasks_ended(&mut self, base: &Membership, page: &Page, ended: &[PageEnd]) {
        self.hold_logs(base, true);
        for end in ended {
            self.task_ended(base, page, end);
        }
        self.hold_logs(base, false);
        for end in ended {
            page.release(end.number);
        }
    }

    fn hold_logs(&mut self, base: &Membership, is_held: bool) {
        for (index, _) in base.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.recorder.hold(is_held);
            }
        }
    }

    fn task_began(
        &mut self,
        pid: u32,
        base: &Membership,
        page: &mut Page,
        context: &Context,
        task: &PageTask,
    ) {
        self.name_job(context, task);
        if task.kind == Kind::Internal {
            page.assign(task.number, base.clone());
            return;
        }
        let mut membership = Vec::new();
        for (index, outer) in base.iter() {
            let Some(scope) = self.scopes.get_mut(*index) else {
                continue;
            };
            let parent = scope.recorder.state.task(*outer);
            let parent = parent
                .filter(|p| p.kind != TaskKind::Worker)
                .map(|p| p.id.clone());
            let Some(job) = scope.recorder.state.job().map(|job| job.id.clone()) else {
                continue;
            };
            let mut record = record_of(&job, pid, context, task);
            record.parent = parent;
            if let Some(outer) = scope.recorder.state.task(*outer) {
                record.host.clone_from(&outer.host);
                record.boot.clone_from(&outer.boot);
            }
            if task.kind == Kind::JobSupervisor {
                // Not a node: what it starts becomes one.
                record.kind = TaskKind::Worker;
                record.status_detail.clone_from(&task.detail);
            }
            let no = scope.add_task(record);
            scope.page_of.insert(no, pid);
            membership.push((*index, no));
        }
        page.assign(task.number, membership.into());
    }

    fn task_ended(&mut self, base: &Membership, page: &Page, end: &PageEnd) {
        // Ray's own work is the process's.
        let membership = page.membership(end.number).filter(|tasks| *tasks != base);
        let Some(membership) = membership.cloned() else {
            return;
        };
        let status = if end.failed {
            Status::Failed
        } else {
            Status::Completed
        };
        for (index, no) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let detail = end.detail.clone().map(cancelled);
                scope.end_task(*no, status, detail, (None, None), end.at);
                scope.hash_when_idle(*no, &mut self.pool);
                scope.page_of.remove(no);
            }
        }
    }

    /// Records which objects went into tasks, and through the process itself.
    fn take_objects(
        &mut self,
        base: &Membership,
        page: &Page,
        context: &Context,
        objects: Vec<PageObject>,
        lost: u64,
    ) {
        if context.role == DRIVER && !objects.is_empty() {
            self.drives(base, context);
        }
        for found in objects {
            let membership = match found.number {
                0 => Some(base),
                // Ray's own work is the process's.
                number => page.membership(number).filter(|tasks| *tasks != base),
            };
            let used = ObjectUse {
                session: context.session.clone(),
                object: found.object,
                receiver: found.receiver,
                size: found.size,
            };
            for (index, task) in membership.into_iter().flat_map(|tasks| tasks.iter()) {
                if let Some(scope) = self.scopes.get_mut(*index) {
                    let (task, used) = (*task, used.clone());
                    scope.recorder.record(&Event::Object { task, used });
                }
            }
        }
        for (index, task) in base.iter().filter(|_| lost > 0) {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let detail = "objects came faster than they were taken";
                scope.gap(*task, GapKind::LostRecords, detail, lost);
            }
        }
    }

    /// The process is gone: what still ran in it was killed with it.
    pub(crate) fn end_page(
        &mut self,
        pid: u32,
        base: &Membership,
        page: Option<Page>,
        at: (i64, u64),
    ) {
        let Some(mut page) = page else { return };
        let ended = self.take_in(pid, base, &mut page, &[]);
        self.tasks_ended(base, &page, &ended);
        let running: Vec<_> = page
            .running()
            .filter_map(|number| page.membership(number).cloned())
            .collect();
        for (index, no) in running
            .iter()
            .flat_map(|membership| membership.iter().copied())
        {
            if no != 0
                && let Some(scope) = self.scopes.get_mut(index)
            {
                let detail = Some("the worker process ended".to_owned());
                scope.end_task(no, Status::Killed, detail, (None, None), at);
                scope.page_of.remove(&no);
            }
        }
    }

    /// Nothing is left under the filter: ends what was not yet seen to end. The listener
    /// may hang up a moment before the last process can be waited for.
    pub(crate) fn end_all(&mut self) -> Vec<Turn> {
        let patience = PollTimeout::from(LAST_END_MS);
        let left: Vec<u32> = self.table.iter().map(|process| process.key.pid).collect();
        let ends = left.into_iter().map(|pid| {
            let process = self.table.get(pid);
            if let Some(pidfd) = process.and_then(|process| process.pidfd.as_ref()) {
                let _ = poll(
                    &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
                    patience,
                );
            }
            self.process_ended(pid)
        });
        ends.collect()
    }

    /// A process of a pool or of a fork server works for another task of its parent's page.
    pub(crate) fn hand_over(&mut self, parent: u32, pid: u32, number: u64) {
        self.catch_up(pid);
        let Some(process) = self.table.get(parent) else {
            return;
        };
        let Some(page) = process.page.as_ref().filter(|_| !process.is_inner) else {
            return;
        };
        let membership = match number {
            0 => Some(process.membership.clone()),
            number => page.membership(number).cloned(),
        };
        let work = membership.map_or(Work::Unknown, Work::Task);
        if self.table.hand_over(pid, work.clone())
            && let Work::Task(membership) = work
        {
            self.join(pid, membership);
        }
    }

    /// Makes a process do a task's work, and records it as the task's.
    pub(crate) fn join(&mut self, pid: u32, membership: Membership) {
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        process.membership = membership.clone();
        let (key, ppid) = (process.key, process.ppid);
        for (index, task) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let (exe, argv, at) = (None, Vec::new(), scope::now().0);
                let task: TaskNo = *task;
                scope.recorder.record(&Event::Process {
                    key,
                    ppid,
                    task,
                    exe,
                    argv,
                    at,
                });
            }
        }
    }
}

/// The exceptions by which Ray ends a cancelled task say so. (Its own list of tasks calls
/// one that was interrupted finished.)
fn cancelled(detail: String) -> String {
    match detail.as_str() {
        "KeyboardInterrupt" | "TaskCancelledError" => format!("task cancelled: {detail}"),
        _ => detail,
    }
}

fn record_of(job: &str, pid: u32, context: &Context, task: &PageTask) -> Task {
    let identity = model::ray_identity(&context.session, &task.job_id, &task.task_id, task.attempt);
    let components = if task.actor_id.is_some() { 2 } else { 1 };
    let name = task.func.rmatch_indices('.').nth(components - 1);
    let name = name.map_or(task.func.as_str(), |(at, _)| {
        task.func.get(at + 1..).unwrap_or("")
    });
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Task {
        id: model::task_id(job, &identity),
        parent: None,
        kind: match task.kind {
            Kind::ActorInit => TaskKind::RayActorInit,
            Kind::ActorMethod => TaskKind::RayActorMethod,
            _ => TaskKind::RayTask,
        },
        name: if task.kind == Kind::JobSupervisor {
            JOB_SUPERVISOR.into()
        } else {
            name.into()
        },
        status: Status::Running,
        status_detail: None,
        exit_code: None,
        signal: None,
        started_at: task.began.0,
        ended_at: None,
        started: task.began.1,
        ended: None,
        host: String::new(),
        boot: String::new(),
        pid: Some(pid),
        ray: Some(RayIds {
            job_id: task.job_id.clone(),
            task_id: some(&task.task_id),
            attempt: task.attempt,
            actor_id: task.actor_id.clone(),
            node_id: some(&context.node_id),
            worker_id: some(&context.worker_id),
            func: some(&task.func),
            session: some(&context.session),
        }),
    }
}
