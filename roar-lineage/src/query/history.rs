//! `roar.log/1` and `roar.status/1`: the session's jobs, and the session at a glance.

use serde::Serialize;

use super::Graph;
use super::dag::Summary;
use crate::document::{Text, iso_time};

/// The history, newest job first.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    /// `roar.log/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// Newest first.
    pub jobs: Vec<LogEntry>,
}

/// One job.
#[derive(Clone, Debug, Serialize)]
pub struct LogEntry {
    /// Id.
    pub id: String,
    /// `command`.
    #[serde(flatten)]
    pub command: Text,
    /// `cwd`.
    #[serde(flatten)]
    pub cwd: Text,
    /// ISO 8601.
    pub started_at: String,
    /// ISO 8601.
    pub ended_at: Option<String>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Commit of the project then.
    pub commit: Option<String>,
    /// Steps of its tasks.
    pub steps: Vec<usize>,
}

/// The session at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct StatusDocument {
    /// `roar.status/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// ISO 8601.
    pub started_at: String,
    /// How many jobs.
    pub jobs: usize,
    /// How many tasks.
    pub tasks: usize,
    /// How many of them failed or were killed.
    pub failed: usize,
    /// How many edges.
    pub edges: usize,
    /// What was not seen.
    pub coverage: Summary,
    /// The newest job.
    pub last: Option<LogEntry>,
}

impl Graph {
    /// The history, newest job first.
    pub fn log(&self) -> Log {
        let mut steps = vec![Vec::new(); self.recorded.jobs.len()];
        for (position, &index) in self.order.iter().enumerate() {
            steps[self.recorded.tasks[index].job].push(position + 1);
        }
        let jobs = self.recorded.jobs.iter().zip(steps).rev();
        let entry = |(job, steps): (&crate::model::Job, Vec<usize>)| LogEntry {
            id: job.id.clone(),
            command: Text::list("command", &job.command),
            cwd: Text::new("cwd", &job.cwd),
            started_at: iso_time(job.started_at),
            ended_at: job.ended_at.map(iso_time),
            exit_code: job.exit_code,
            signal: job.signal,
            commit: job.git.as_ref().and_then(|git| git.commit.clone()),
            steps,
        };
        Log {
            schema: "roar.log/1",
            session: self.recorded.session.clone(),
            jobs: jobs.map(entry).collect(),
        }
    }

    /// The session at a glance.
    pub fn status(&self) -> StatusDocument {
        use crate::model::Status::{Failed, Killed};
        let coverage = self.coverage();
        let failed = self
            .steps()
            .filter(|(_, task)| matches!(task.status, Failed | Killed));
        StatusDocument {
            schema: "roar.status/1",
            session: self.recorded.session.clone(),
            started_at: iso_time(self.recorded.started_at),
            jobs: self.recorded.jobs.len(),
            tasks: self.order.len(),
            failed: failed.count(),
            edges: self.edges.len(),
            coverage: Summary {
                complete: coverage.is_complete(),
                gaps: crate::document::documented(coverage.gaps),
            },
            last: self.log().jobs.into_iter().next(),
        }
    }
}
