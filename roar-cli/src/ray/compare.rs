//! What Ray tells of a job against what came home of it.
//!
//! The outcome is fragments of the observer `ray`. They tell how tasks ended, where Ray
//! knows more, and of tasks that nobody recorded: those carry gap `untraced_worker` with
//! its cause. Such a gap counts as long as the task has no other fragment, so that it
//! goes when the record is found later, whatever the order. What concerns no single task
//! stands in the record of a task of its own, which is no node.

use std::collections::BTreeSet;

use roar_lineage::fragment::{Fragment, RAY_OBSERVER};
use roar_lineage::model::{self, Coverage, GapKind, Job, RayIds, Status, Task, TaskKind, WallTime};
use roar_worker::clock;
use serde_json::Value;

use super::gather::Gathered;
use super::state::{Account, ListedTask};

/// Errors of Ray (common.proto) by which a task ended without its own doing.
const DEATHS: &[&str] = &[
    "WORKER_DIED",
    "ACTOR_DIED",
    "NODE_DIED",
    "LOCAL_RAYLET_DIED",
    "OWNER_DIED",
    "OUT_OF_MEMORY",
    "OUT_OF_DISK_ERROR",
    "NODE_OUT_OF_MEMORY",
];
/// Methods that Ray calls by itself; Ray 2.43 also lists those of the actor that runs a
/// submission's driver.
const INTERNAL: &[&str] = &[
    ".__ray_terminate__",
    ".__ray_checkpoint__",
    "JobSupervisor.ping",
    "JobSupervisor.run",
    "JobSupervisor.__init__",
];
const MILLISECOND: i64 = 1_000_000;

/// What came home, looked at for comparison.
pub struct Home<'a> {
    fragments: &'a [Fragment],
    attempts: BTreeSet<(&'a str, u32)>,
    unended: BTreeSet<(&'a str, u32)>,
    workers: BTreeSet<&'a str>,
}

impl<'a> Home<'a> {
    /// Of these fragments.
    pub fn new(fragments: &'a [Fragment]) -> Self {
        let mut home = Self {
            fragments,
            attempts: BTreeSet::new(),
            unended: BTreeSet::new(),
            workers: BTreeSet::new(),
        };
        for task in fragments.iter().map(|fragment| &fragment.task) {
            let Some(ray) = &task.ray else { continue };
            home.workers.extend(ray.worker_id.as_deref());
            if let Some(id) = &ray.task_id {
                home.attempts.insert((id, ray.attempt));
                if task.status != Status::Completed {
                    home.unended.insert((id, ray.attempt));
                }
            }
        }
        home
    }

    /// The Ray jobs that these tasks are of.
    pub fn ray_jobs(&self) -> BTreeSet<String> {
        let ids = self.fragments.iter().filter_map(|f| f.task.ray.as_ref());
        let ids = ids.map(|ray| ray.job_id.clone());
        ids.filter(|id| !id.is_empty()).collect()
    }

    /// Whether an attempt is recorded.
    pub fn has(&self, task: &ListedTask) -> bool {
        let key = (task.task_id.as_str(), task.attempt_number);
        self.attempts.contains(&key)
    }

    fn may_have_run(&self, task: &ListedTask) -> bool {
        let worker = task.worker_id.as_deref();
        let is_traced = worker.is_some_and(|worker| self.workers.contains(worker));
        match task.state.as_str() {
            "FINISHED" | "RUNNING" => true,
            // A worker that is killed takes the news of a start along; one that is traced
            // would have recorded it.
            "FAILED" => task.start_time_ms.is_some() || (worker.is_some() && !is_traced),
            _ => false,
        }
    }
}

/// Nodes that the job worked on and that are gone.
pub fn lost_nodes(home: &Home<'_>, account: &Account) -> BTreeSet<String> {
    let seen = home.fragments.iter().filter_map(|f| f.task.ray.as_ref());
    let seen = seen.filter_map(|ray| ray.node_id.as_deref());
    let listed = account.tasks.iter().filter_map(|task| account.node(task));
    let nodes = seen.chain(listed).map(str::to_owned);
    nodes
        .filter(|node| account.dead_nodes.contains(node))
        .collect()
}

/// The fragments of Ray for a job.
pub fn with_ray(
    job: &Job,
    home: &Home<'_>,
    gathered: &Gathered,
    account: &Account,
) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    for task in &account.tasks {
        let name = task.func_or_class_name.as_deref().unwrap_or_default();
        if INTERNAL.iter().any(|internal| name.ends_with(internal)) {
            continue;
        }
        let key = (task.task_id.as_str(), task.attempt_number);
        let says_more = task.state == "FAILED" || home.unended.contains(&key);
        if home.has(task) {
            if says_more && matches!(task.state.as_str(), "FAILED" | "FINISHED") {
                fragments.push(fragment(job, claim(job, &account.session, task)));
            }
        } else if home.may_have_run(task) {
            let mut fragment = fragment(job, claim(job, &account.session, task));
            untraced(&mut fragment.coverage, &cause(task, gathered, account));
            fragments.push(fragment);
        }
    }
    fragments.extend(untraced_driver(job, home, gathered, account));
    fragments
}

/// What concerns the job as a whole, as gaps.
pub fn with_gaps(job: &Job, gaps: &[(GapKind, String)]) -> Fragment {
    let mut task = blank(job, "ray", TaskKind::Worker, "Ray");
    task.status = Status::Completed;
    let mut fragment = fragment(job, task);
    for (kind, detail) in gaps {
        fragment.coverage.add_gap(*kind, detail, 1);
    }
    fragment
}

/// The job as it was given, with how it ended where nothing that came home tells of it:
/// with `exit_code` where there was no driver.
pub fn as_given(account: &Account, given: Job, exit_code: Option<i32>) -> Job {
    match &account.job {
        Some(listed) => Job {
            ended_at: wall(listed.end_time),
            exit_code: listed.driver_exit_code.or(exit_code),
            ..given
        },
        None => given,
    }
}

/// Ray tells times in milliseconds.
fn wall(time: Option<i64>) -> Option<WallTime> {
    time.map(|at| at.saturating_mul(MILLISECOND))
}

fn untraced(coverage: &mut Coverage, cause: &str) {
    coverage.add_gap(
        GapKind::UntracedWorker,
        &format!("untraced work: {cause}"),
        1,
    );
}

/// Why nobody recorded a task, as exactly as can be known.
fn cause(task: &ListedTask, gathered: &Gathered, account: &Account) -> String {
    if let Some(language) = task.language.as_deref().filter(|l| *l != "PYTHON") {
        return format!("a worker in another language ({language})");
    }
    let environment = account.runtime_env(task);
    let container = &environment["container"];
    let image = [&environment["image_uri"], &container["image"]];
    if let Some(image) = image.into_iter().find_map(Value::as_str) {
        return format!("a container image of its own ({image})");
    }
    if !container.is_null() {
        return "a container image of its own".to_owned();
    }
    for profiler in ["nsight", "rocprof_sys"] {
        // The key that Ray stores has an underscore.
        if !environment[profiler].is_null() || !environment[format!("_{profiler}")].is_null() {
            return format!("the profiler {profiler}");
        }
    }
    let of_job = account.job.as_ref();
    let of_job = of_job.and_then(|job| job.runtime_env["py_executable"].as_str());
    match environment["py_executable"].as_str() {
        Some(own) if own.starts_with("uv run") => "the driver ran under `uv run`".to_owned(),
        Some(own) if Some(own) != of_job && !own.contains("roar-worker") => {
            let program = own.split_whitespace().next().unwrap_or_default();
            format!("a py_executable of its own ({program})")
        }
        None if !environment.is_null() => {
            "a prestarted worker (its runtime_env names no launcher)".to_owned()
        }
        _ => of_node(account.node(task), gathered, account),
    }
}

fn of_node(node: Option<&str>, gathered: &Gathered, account: &Account) -> String {
    match node {
        Some(node) if account.dead_nodes.contains(node) => format!("lost node {node}"),
        Some(node) if gathered.is_without(node) => {
            format!("roar-worker is missing on node {node}, or could not start there")
        }
        Some(node) if gathered.lacks_some_of(node) => {
            format!("a record on node {node} could not be had")
        }
        _ => "unknown cause (its worker left no record)".to_owned(),
    }
}

fn untraced_driver(
    job: &Job,
    home: &Home<'_>,
    gathered: &Gathered,
    account: &Account,
) -> Option<Fragment> {
    let listed = account.job.as_ref()?;
    let is_driver = |f: &Fragment| f.task.kind == TaskKind::RayDriver;
    let has_run = listed.job_id.is_some() || listed.driver_exit_code.is_some();
    if !has_run || home.fragments.iter().any(is_driver) {
        return None;
    }
    let program = listed
        .entrypoint
        .split_whitespace()
        .next()
        .unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    let mut task = blank(job, "driver", TaskKind::RayDriver, name);
    task.status = match (listed.status.as_str(), listed.driver_exit_code) {
        (_, Some(0)) | ("SUCCEEDED", _) => Status::Completed,
        ("FAILED", _) => Status::Failed,
        ("STOPPED", _) => Status::Killed,
        _ => Status::Unknown,
    };
    task.exit_code = listed.driver_exit_code;
    task.started_at = wall(listed.start_time).unwrap_or(job.started_at);
    task.ended_at = wall(listed.end_time);
    let mut fragment = fragment(job, task);
    let node = listed.driver_node_id.as_deref();
    untraced(&mut fragment.coverage, &of_node(node, gathered, account));
    Some(fragment)
}

fn fragment(job: &Job, task: Task) -> Fragment {
    Fragment {
        observer: RAY_OBSERVER.to_owned(),
        // Asked later, Ray knows more.
        revision: clock::wall().cast_unsigned(),
        job: job.clone(),
        task,
        reads: Vec::new(),
        writes: Vec::new(),
        deletes: Vec::new(),
        ephemeral: 0,
        ephemerals: Vec::new(),
        packages: Vec::new(),
        processes: Vec::new(),
        coverage: Coverage::default(),
        objects: Vec::new(),
        drives: Vec::new(),
    }
}

fn blank(job: &Job, identity: &str, kind: TaskKind, name: &str) -> Task {
    Task {
        id: model::task_id(&job.id, identity),
        parent: None,
        kind,
        name: name.into(),
        status: Status::Unknown,
        status_detail: None,
        exit_code: None,
        signal: None,
        started_at: job.started_at,
        ended_at: None,
        started: 0,
        ended: None,
        host: String::new(),
        boot: String::new(),
        pid: None,
        ray: None,
    }
}

/// An attempt as Ray tells of it.
fn claim(job: &Job, session: &str, task: &ListedTask) -> Task {
    let attempt = task.attempt_number;
    let identity = model::ray_identity(session, &task.job_id, &task.task_id, attempt);
    let kind = match task.kind.as_str() {
        "ACTOR_CREATION_TASK" => TaskKind::RayActorInit,
        "ACTOR_TASK" => TaskKind::RayActorMethod,
        _ => TaskKind::RayTask,
    };
    let func = task.func_or_class_name.clone();
    let mut claim = blank(job, &identity, kind, func.as_deref().unwrap_or_default());
    (claim.status, claim.status_detail) = ended(task);
    let wall = |time: Option<f64>| time.map(|at| at as WallTime * MILLISECOND);
    claim.started_at = wall(task.start_time_ms).unwrap_or(job.started_at);
    claim.ended_at = wall(task.end_time_ms);
    claim.pid = task.worker_pid;
    claim.ray = Some(RayIds {
        job_id: task.job_id.clone(),
        task_id: Some(task.task_id.clone()),
        attempt,
        actor_id: task.actor_id.clone(),
        node_id: task.node_id.clone(),
        worker_id: task.worker_id.clone(),
        func,
        session: Some(session.to_owned()),
    });
    claim
}

/// How Ray says that it ended. An exception's class is known better where it was raised.
fn ended(task: &ListedTask) -> (Status, Option<String>) {
    let error = task.error_type.as_deref().unwrap_or_default();
    let status = match (task.state.as_str(), error) {
        ("FINISHED", _) => return (Status::Completed, None),
        ("RUNNING", _) => return (Status::Running, None),
        ("FAILED", "" | "TASK_EXECUTION_EXCEPTION") => return (Status::Failed, None),
        ("FAILED", error) if DEATHS.contains(&error) => Status::Killed,
        ("FAILED", _) => Status::Failed,
        _ => return (Status::Unknown, None),
    };
    let mut detail = error.to_lowercase().replace('_', " ");
    let message = task.error_message.as_deref().unwrap_or_default();
    if let Some(line) = message.lines().map(str::trim).find(|line| !line.is_empty()) {
        detail = format!("{detail}: {line}");
    }
    (status, Some(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(state: &str, error: Option<&str>, message: &str) -> ListedTask {
        let text = serde_json::json!({
            "task_id": "a", "attempt_number": 0, "type": "NORMAL_TASK", "state": state,
            "job_id": "01000000", "error_type": error, "error_message": message,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn errors_of_ray_become_a_status_and_one_line() {
        let oom = ended(&listed(
            "FAILED",
            Some("OUT_OF_MEMORY"),
            "\nTask was killed\nmore",
        ));
        assert_eq!(
            oom,
            (
                Status::Killed,
                Some("out of memory: Task was killed".into())
            )
        );
        let cancelled = ended(&listed("FAILED", Some("TASK_CANCELLED"), ""));
        assert_eq!(cancelled, (Status::Failed, Some("task cancelled".into())));
        let raised = ended(&listed("FAILED", Some("TASK_EXECUTION_EXCEPTION"), "User"));
        assert_eq!(raised, (Status::Failed, None));
    }

    #[test]
    fn what_never_reached_a_worker_did_not_run() {
        let home = Home::new(&[]);
        let mut task = listed("FAILED", Some("TASK_CANCELLED"), "");
        assert!(!home.may_have_run(&task));
        task.worker_id = Some("w".into());
        assert!(home.may_have_run(&task));
    }
}
