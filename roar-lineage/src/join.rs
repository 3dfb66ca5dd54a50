//! What several observers say of one task or one job, as one record. The result does
//! not depend on the order in which they are heard.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::fragment::{Fragment, RAY_OBSERVER};
use crate::model::{Job, Status, Task};

/// The highest revision of each fragment, ordered by task and observer.
pub fn newest(fragments: &[Fragment]) -> Vec<&Fragment> {
    let mut newest: BTreeMap<(&str, &str), &Fragment> = BTreeMap::new();
    for fragment in fragments {
        let kept = newest.entry(fragment.key()).or_insert(fragment);
        if fragment.revision > kept.revision {
            *kept = fragment;
        }
    }
    newest.into_values().collect()
}

/// One task from what each observer says of it, by observer. Who saw it start first says
/// what it is and where it ran; who saw the most definite end (killed over failed over
/// completed over running) says how it ended. What Ray says is heard last.
pub fn tasks<'a>(claims: impl IntoIterator<Item = (&'a str, &'a Task)>) -> Option<Task> {
    let (rays, seen): (Vec<_>, Vec<_>) = claims
        .into_iter()
        .partition(|(observer, _)| *observer == RAY_OBSERVER);
    let ray = rays.into_iter().map(|(_, task)| task).next();
    let seen = seen_tasks(seen.into_iter().map(|(_, task)| task).collect());
    match (seen, ray) {
        (Some(seen), Some(ray)) => Some(ended(seen, ray)),
        (seen, ray) => seen.or_else(|| ray.cloned()),
    }
}

/// How a task ended that was seen, and of which Ray tells as well. A process that is gone
/// cannot say how its last task went: Ray's word counts there, and where Ray has an error
/// that was not seen. What was seen to end was not killed.
fn ended(mut seen: Task, ray: &Task) -> Task {
    let status = match (seen.status, ray.status) {
        (status, Status::Unknown | Status::Running) => status,
        (Status::Unknown | Status::Running, status) => status,
        (Status::Killed, Status::Completed) => Status::Completed,
        (Status::Completed, Status::Failed) => Status::Failed,
        (status, _) => status,
    };
    let is_new = status != seen.status;
    seen.status = status;
    if is_new || (ray.status_detail.is_some() && status != Status::Completed) {
        seen.status_detail.clone_from(&ray.status_detail);
    }
    seen.ended_at = seen.ended_at.or(ray.ended_at);
    seen
}

fn seen_tasks(mut claims: Vec<&Task>) -> Option<Task> {
    let text = |task: &Task| serde_json::to_string(task).unwrap_or_default();
    if claims.len() > 1 {
        claims.sort_by_cached_key(|task| (task.started_at, text(task)));
    }
    let (&first, others) = claims.split_first()?;
    let mut task = first.clone();
    for other in others {
        task.parent = task.parent.or_else(|| other.parent.clone());
        task.ray = task.ray.or_else(|| other.ray.clone());
        task.pid = task.pid.or(other.pid);
    }
    let key = |claim: &Task| (claim.status, claim.ended_at, Reverse(claim.exit_code));
    let last = claims.iter().max_by_key(|claim| key(claim))?;
    task.status = last.status;
    task.status_detail.clone_from(&last.status_detail);
    task.exit_code = last.exit_code;
    task.signal = last.signal;
    task.ended_at = last.ended_at;
    // Stamps of another boot say nothing here.
    task.ended = last.ended.filter(|_| last.boot == task.boot);
    Some(task)
}

/// One job from what each fragment says of it: who says it started first says what it
/// is, who says it ended last says how. A semilattice: jobs can be joined one by one.
pub fn jobs<'a>(claims: impl IntoIterator<Item = &'a Job>) -> Option<Job> {
    let mut claims = claims.into_iter();
    let mut joined = claims.next()?.clone();
    for claim in claims {
        joined = job(joined, claim);
    }
    Some(joined)
}

/// The join of two claims about one job.
pub fn job(one: Job, other: &Job) -> Job {
    if one == *other {
        return one;
    }
    let end = |job: &Job| (job.ended_at, job.exit_code, job.signal);
    let last = end(&one).max(end(other));
    // The end is left out of the comparison, since the two parts are joined apart.
    let start = |job: &Job| {
        let mut job = job.clone();
        (job.ended_at, job.exit_code, job.signal) = (None, None, None);
        (
            job.started_at,
            serde_json::to_string(&job).unwrap_or_default(),
        )
    };
    let mut first = if start(other) < start(&one) {
        other.clone()
    } else {
        one
    };
    (first.ended_at, first.exit_code, first.signal) = last;
    first
}
