//! Ray's jobs: what they are called, and the processes that drive them.

use bstr::{BString, ByteSlice};
use roar_lineage::event::Event;
use roar_lineage::model::{self, Status, Task, TaskKind};
use roar_lineage::object::DrivenJob;

use crate::attribution::{Context, Kind, PageTask};
use crate::process_table::Membership;
use crate::scope;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// In a worker of a cluster that roar did not start, the job's name becomes known
    /// with its first task: all workers of one submission must agree on it.
    pub(crate) fn name_job(&mut self, context: &Context, task: &PageTask) {
        if !self.is_side {
            return;
        }
        let Some(scope) = self.scopes.first_mut() else {
            return;
        };
        let Some(mut job) = scope.recorder.state.job().cloned() else {
            return;
        };
        if !job.id.is_empty() {
            return;
        }
        let submission = match task.kind {
            Kind::JobSupervisor => task.detail.clone().unwrap_or_default(),
            _ => context.submission_id.clone(),
        };
        let within = if submission.is_empty() {
            &context.job_id
        } else {
            &submission
        };
        job.id = format!("ray-{}", model::task_id(&context.session, within));
        let observer = scope.recorder.state.observer().to_owned();
        scope.recorder.record(&Event::Began { observer, job });
    }

    /// A process that Ray's job supervisor starts is the driver of the submitted job,
    /// unless it is the one that Ray starts beside it to end the driver with its parent.
    pub(crate) fn become_driver(&mut self, pid: u32, argv: &[BString]) {
        let Some(process) = self.table.get(pid) else {
            return;
        };
        let Some(&(index, outer)) = process.membership.first() else {
            return;
        };
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let is_supervisor = scope.recorder.state.task(outer).is_some_and(|task| {
            task.kind == TaskKind::Worker && task.name == JOB_SUPERVISOR && process.page.is_none()
        });
        let entrypoint = match argv {
            [_, flag, command, ..] if flag == "-c" => command,
            _ => return,
        };
        if !is_supervisor || entrypoint.starts_with(b"while kill -s 0") {
            return;
        }
        let Some(job) = scope.recorder.state.job().map(|job| job.id.clone()) else {
            return;
        };
        let Some(outer) = scope.recorder.state.task(outer).cloned() else {
            return;
        };
        let (at, stamp) = scope::now();
        let mut task = Task {
            id: model::task_id(&job, "driver"),
            kind: TaskKind::RayDriver,
            name: program_name(entrypoint).into(),
            status: Status::Running,
            status_detail: None,
            started_at: at,
            started: stamp,
            pid: Some(pid),
            ..outer
        };
        if let Some(ray) = &mut task.ray {
            ray.task_id = None;
            ray.func = None;
            ray.actor_id = None;
        }
        self.name_command(index, entrypoint);
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let no = scope.add_task(task);
        self.own_tasks.push((pid, index, no));
        self.join(pid, Membership::from([(index, no)]));
    }

    fn name_command(&mut self, index: usize, entrypoint: &BString) {
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let Some(mut job) = scope.recorder.state.job().cloned() else {
            return;
        };
        let words: Vec<&[u8]> = entrypoint.fields().collect();
        job.command = roar_lineage::mask::arguments(&words);
        let observer = scope.recorder.state.observer().to_owned();
        scope.recorder.record(&Event::Began { observer, job });
    }

    /// A process that uses a job's objects, and runs no tasks, drives it.
    pub(crate) fn drives(&mut self, base: &Membership, context: &Context) {
        for (index, task) in base.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let (session, job_id) = (context.session.clone(), context.job_id.clone());
                let job = DrivenJob { session, job_id };
                scope.recorder.record(&Event::Drives { task: *task, job });
            }
        }
    }
}

/// Name of the record that stands for Ray's job supervisor.
pub(crate) const JOB_SUPERVISOR: &str = "JobSupervisor";

/// The first word of a shell command that is no assignment, without its directory.
fn program_name(command: &[u8]) -> &[u8] {
    let mut words = command.fields();
    let is_assignment = |word: &[u8]| word.contains(&b'=') && !word.starts_with(b"/");
    let program = words.find(|word| !is_assignment(word)).unwrap_or(command);
    scope::base_name(program)
}
