//! `roar.trace/1`: the report of one traced command.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{File, Text, WORKER_FILES, files, iso_time, joined_coverage};
use crate::fragment::Fragment;
use crate::join;
use crate::model::{self, Coverage, Gap, GapKind, Package, Status, TaskKind};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct TraceReport {
    /// `roar.trace/1`.
    pub schema: &'static str,
    /// The command as a whole.
    pub run: Run,
    /// Who observed.
    pub tracer: Tracer,
    /// What was seen and what was not.
    pub coverage: CoverageCounts,
    /// Tasks by their start.
    pub tasks: Vec<Task>,
    /// Processes by their start.
    pub processes: Vec<Process>,
}

/// The command as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The job's id.
    pub id: String,
    /// `command`.
    #[serde(flatten)]
    pub command: Text,
    /// `cwd`.
    #[serde(flatten)]
    pub cwd: Text,
    /// ISO 8601.
    pub started_at: String,
    /// Seconds; to the last end that is known while the run is going on.
    pub duration_s: f64,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal that killed it.
    pub signal: Option<i32>,
}

/// Who observed.
#[derive(Clone, Debug, Serialize)]
pub struct Tracer {
    /// roar's version.
    pub version: String,
    /// `notify`, `ptrace` or `preload`.
    pub backend: String,
    /// `on` or `off`.
    pub accel: &'static str,
    /// Kernel release.
    pub kernel: String,
}

/// What was seen and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct CoverageCounts {
    /// Nothing lost, and no gap that could hide a file.
    pub complete: bool,
    /// Events decoded.
    pub events: u64,
    /// Notifications received.
    pub notified: u64,
    /// Events through the accelerator.
    pub accelerated: u64,
    /// Calls known to have gone unseen.
    pub lost: u64,
    /// Events of no known task.
    pub unattributed: u64,
    /// One entry for each kind and detail.
    pub gaps: Vec<Gap>,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Stable id.
    pub id: String,
    /// The task that started it.
    pub parent: Option<String>,
    /// What it is.
    pub kind: TaskKind,
    /// `name`.
    #[serde(flatten)]
    pub name: Text,
    /// How it ended.
    pub status: Status,
    /// More about it.
    pub status_detail: Option<String>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// ISO 8601.
    pub started_at: String,
    /// ISO 8601.
    pub ended_at: Option<String>,
    /// Inputs.
    pub reads: Vec<File>,
    /// Outputs.
    pub writes: Vec<File>,
    /// Deleted files that it had not made.
    pub deletes: Vec<File>,
    /// How many files were made and deleted again.
    pub ephemeral: u64,
    /// Distributions loaded.
    pub packages: Vec<Package>,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// `exe`.
    #[serde(flatten)]
    pub exe: Text,
    /// `argv`.
    #[serde(flatten)]
    pub argv: Text,
    /// Id of its task.
    pub task: String,
    /// ISO 8601.
    pub started_at: String,
    /// How it ended, or that it went on when the record was made.
    pub status: Status,
    /// ISO 8601.
    pub ended_at: Option<String>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal that killed it.
    pub signal: Option<i32>,
}

/// The report of the job that `fragments` belong to, with files of every category if
/// `all`. None without fragments.
pub fn trace_report(fragments: &[Fragment], all: bool) -> Option<TraceReport> {
    let current = join::newest(fragments);
    let job = join::jobs(current.iter().map(|fragment| &fragment.job))?;
    let mut by_task: BTreeMap<&str, Vec<&Fragment>> = BTreeMap::new();
    for fragment in &current {
        by_task.entry(&fragment.task.id).or_default().push(fragment);
    }
    let mut tasks = Vec::new();
    let mut unattributed = Coverage::default();
    for parts in by_task.values() {
        let Some(task) = join::tasks(
            parts
                .iter()
                .map(|part| (part.observer.as_str(), &part.task)),
        ) else {
            continue;
        };
        if task.kind == TaskKind::Worker {
            let count = parts.iter().map(|part| shown_files(part)).sum();
            if count > 0 {
                unattributed.add_gap(GapKind::Unattributed, WORKER_FILES, count);
            }
            continue;
        }
        tasks.push((task.started_at, task_object(&task, parts, all)));
    }
    tasks.sort_by(|(a_start, a), (b_start, b)| (a_start, &a.id).cmp(&(b_start, &b.id)));
    let coverages = current.iter().map(|fragment| &fragment.coverage);
    let coverage = joined_coverage(coverages.chain([&unattributed]));
    Some(TraceReport {
        schema: "roar.trace/1",
        run: run_object(&job, &current),
        tracer: Tracer {
            version: job.tracer.version.clone(),
            backend: job.tracer.backend.clone(),
            accel: if job.tracer.accel { "on" } else { "off" },
            kernel: job.tracer.kernel.clone(),
        },
        coverage: CoverageCounts {
            complete: coverage.is_complete(),
            events: coverage.events,
            notified: coverage.notified,
            accelerated: coverage.accelerated,
            lost: coverage.lost,
            unattributed: coverage.unattributed,
            gaps: super::documented(coverage.gaps),
        },
        tasks: tasks.into_iter().map(|(_, task)| task).collect(),
        processes: process_objects(&current),
    })
}

/// How many inputs and outputs of a fragment are data or code.
pub(crate) fn shown_files(fragment: &Fragment) -> u64 {
    let files = fragment.reads.iter().chain(&fragment.writes);
    files.filter(|file| file.category.is_shown()).count() as u64
}

fn run_object(job: &model::Job, fragments: &[&Fragment]) -> Run {
    let last_seen = || {
        let ends = fragments.iter().filter_map(|part| part.task.ended_at);
        ends.max().unwrap_or(job.started_at)
    };
    let ended_at = job.ended_at.unwrap_or_else(last_seen);
    let nanoseconds = ended_at.saturating_sub(job.started_at).max(0);
    Run {
        id: job.id.clone(),
        command: Text::list("command", &job.command),
        cwd: Text::new("cwd", &job.cwd),
        started_at: iso_time(job.started_at),
        duration_s: nanoseconds as f64 / 1e9,
        exit_code: job.exit_code,
        signal: job.signal,
    }
}

fn task_object(task: &model::Task, parts: &[&Fragment], all: bool) -> Task {
    let union = |role: fn(&Fragment) -> &Vec<model::FileUse>| {
        let mut uses = Vec::new();
        for part in parts {
            uses.extend_from_slice(role(part));
        }
        files(&uses, all)
    };
    let mut packages: Vec<Package> = Vec::new();
    for part in parts {
        packages.extend_from_slice(&part.packages);
    }
    packages.sort();
    packages.dedup();
    Task {
        id: task.id.clone(),
        parent: task.parent.clone(),
        kind: task.kind,
        name: Text::new("name", &task.name),
        status: task.status,
        status_detail: task.status_detail.clone(),
        exit_code: task.exit_code,
        started_at: iso_time(task.started_at),
        ended_at: task.ended_at.map(iso_time),
        reads: union(|part| &part.reads),
        writes: union(|part| &part.writes),
        deletes: union(|part| &part.deletes),
        ephemeral: parts.iter().map(|part| part.ephemeral).sum(),
        packages,
    }
}

fn process_objects(fragments: &[&Fragment]) -> Vec<Process> {
    let mut processes = Vec::new();
    for fragment in fragments {
        let owned = fragment.processes.iter();
        processes.extend(owned.map(|process| (process, &fragment.task.id)));
    }
    processes.sort_by_key(|(process, _)| (process.started_at, process.start_ticks, process.pid));
    let mut gaps = fragments.iter().flat_map(|part| &part.coverage.gaps);
    let is_running = gaps.any(|gap| gap.kind == GapKind::StillRunning);
    let object = |(process, task): (&model::Process, &String)| Process {
        pid: process.pid,
        ppid: process.ppid,
        exe: Text::or_null("exe", process.exe.as_ref()),
        argv: Text::list("argv", &process.argv),
        task: task.clone(),
        started_at: iso_time(process.started_at),
        status: process_status(process, is_running),
        ended_at: process.ended_at.map(iso_time),
        exit_code: process.exit_code,
        signal: process.signal,
    };
    processes.into_iter().map(object).collect()
}

fn process_status(process: &model::Process, is_running: bool) -> Status {
    match (process.ended_at, process.exit_code, process.signal) {
        (None, ..) if is_running => Status::Running,
        (Some(_), _, Some(_)) => Status::Killed,
        (Some(_), Some(0), None) => Status::Completed,
        (Some(_), Some(_), None) => Status::Failed,
        _ => Status::Unknown,
    }
}
