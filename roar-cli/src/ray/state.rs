//! Ray's own account of a job, from the dashboard's state API (Ray 2.54).
//!
//! A listing has no pages: it ends after 10 000 entries, and says how many there were.
//! Details are asked for only where they are needed: each repeats the runtime environment.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::collect::{CollectError, Dashboard, unexpected};

/// Most entries of one answer (RAY_MAX_LIMIT_FROM_API_SERVER).
const LIMIT: &str = "10000";

/// More questions for details than that become one for all.
const MANY: usize = 16;

/// A submitted job, or a driver that joined the cluster by itself.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedJob {
    /// Ray's id of the job; none before its driver has called `ray.init`.
    pub job_id: Option<String>,
    /// The submission, if it was one.
    pub submission_id: Option<String>,
    /// The command.
    #[serde(default)]
    pub entrypoint: String,
    /// `SUCCEEDED`, `FAILED`, …
    #[serde(default)]
    pub status: String,
    /// Milliseconds since the epoch.
    pub start_time: Option<i64>,
    /// As `start_time`.
    pub end_time: Option<i64>,
    /// The runtime environment of the submission.
    #[serde(default)]
    pub runtime_env: Value,
    /// Where the driver ran.
    pub driver_node_id: Option<String>,
    /// Exit status of the driver, if it ended by itself.
    pub driver_exit_code: Option<i32>,
}

/// An attempt of a task.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedTask {
    /// Hexadecimal.
    pub task_id: String,
    /// From 0.
    pub attempt_number: u32,
    /// `NORMAL_TASK`, `ACTOR_TASK`, `ACTOR_CREATION_TASK`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `fn` or `Class.method`.
    pub func_or_class_name: Option<String>,
    /// What `name` in the options says, else as `func_or_class_name`.
    pub name: Option<String>,
    /// `FINISHED`, `FAILED`, `RUNNING`, …
    pub state: String,
    /// Ray's job.
    pub job_id: String,
    /// Of an actor's.
    pub actor_id: Option<String>,
    /// Where it went.
    pub node_id: Option<String>,
    /// As `node_id`.
    pub worker_id: Option<String>,
    /// Process id of the worker.
    pub worker_pid: Option<u32>,
    /// Why it failed: a name of `ErrorType` (common.proto).
    pub error_type: Option<String>,
    /// In words (details only).
    pub error_message: Option<String>,
    /// Milliseconds since the epoch (details only).
    pub start_time_ms: Option<f64>,
    /// As `start_time_ms`.
    pub end_time_ms: Option<f64>,
    /// `PYTHON`, … (details only).
    pub language: Option<String>,
    /// (Details only.)
    pub runtime_env_info: Option<RuntimeEnvInfo>,
}

/// A runtime environment as Ray passes it on.
#[derive(Debug, Clone, Deserialize)]
pub struct RuntimeEnvInfo {
    serialized_runtime_env: Option<String>,
}

/// An actor.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedActor {
    actor_id: String,
    node_id: Option<String>,
    serialized_runtime_env: Option<String>,
}

/// All that Ray says of the jobs of one submission.
#[derive(Debug, Default)]
pub struct Account {
    /// Name of the session.
    pub session: String,
    /// The submission, if the dashboard still knows it.
    pub job: Option<ListedJob>,
    /// By task and attempt.
    pub tasks: Vec<ListedTask>,
    /// Actors by id.
    actors: BTreeMap<String, ListedActor>,
    /// Attempts that the listing left out.
    pub left_out: u64,
    /// Nodes that are gone.
    pub dead_nodes: BTreeSet<String>,
}

impl Account {
    /// The runtime environment of a task.
    pub fn runtime_env(&self, task: &ListedTask) -> Value {
        let actor = task.actor_id.as_ref().and_then(|id| self.actors.get(id));
        let of_task = task.runtime_env_info.as_ref();
        let text = match actor {
            Some(actor) => actor.serialized_runtime_env.as_ref(),
            None => of_task.and_then(|info| info.serialized_runtime_env.as_ref()),
        };
        let parsed = text.and_then(|text| serde_json::from_str(text).ok());
        parsed.unwrap_or(Value::Null)
    }

    /// The node that a task went to; that of its actor, since Ray does not say where a
    /// constructor ran.
    pub fn node<'a>(&'a self, task: &'a ListedTask) -> Option<&'a str> {
        let actor = task.actor_id.as_ref().and_then(|id| self.actors.get(id));
        let of_actor = actor.and_then(|actor| actor.node_id.as_deref());
        task.node_id.as_deref().or(of_actor)
    }
}

impl Dashboard {
    /// What Ray says of a submission, and of further Ray jobs that are known to be its.
    /// Details of attempts that failed, and of those that are not `recorded`.
    pub fn account(
        &self,
        submission: &str,
        jobs: &BTreeSet<String>,
        recorded: impl Fn(&ListedTask) -> bool,
    ) -> Result<Account, CollectError> {
        let listed: Vec<ListedJob> = parsed("/api/jobs/", self.json("/api/jobs/", &[])?)?;
        let is_it = |job: &ListedJob| job.submission_id.as_deref() == Some(submission);
        let mut account = Account {
            session: self.session()?,
            job: listed.into_iter().find(is_it),
            ..Account::default()
        };
        let own = account.job.as_ref().and_then(|job| job.job_id.clone());
        for job in jobs.iter().cloned().chain(own).collect::<BTreeSet<_>>() {
            self.add_tasks(&job, &mut account, &recorded)?;
        }
        let (dead, _): (Vec<Value>, _) =
            self.listed("/api/v0/nodes", &[("state", "DEAD")], false)?;
        let id = |node: &Value| node["node_id"].as_str().map(str::to_owned);
        account.dead_nodes = dead.iter().filter_map(id).collect();
        Ok(account)
    }

    fn add_tasks(
        &self,
        job: &str,
        account: &mut Account,
        recorded: impl Fn(&ListedTask) -> bool,
    ) -> Result<(), CollectError> {
        let path = "/api/v0/tasks";
        let of_job = ("job_id", job);
        let (tasks, total): (Vec<ListedTask>, _) = self.listed(path, &[of_job], false)?;
        account.left_out += total.saturating_sub(tasks.len() as u64);
        let mut by_key: BTreeMap<(String, u32), ListedTask> = BTreeMap::new();
        let mut needed = BTreeSet::new();
        let mut with_actors = false;
        for task in tasks {
            if !recorded(&task) {
                with_actors |= task.actor_id.is_some();
                needed.insert(("name", task.name.clone().unwrap_or_default()));
            } else if task.state == "FAILED" {
                needed.insert(("state", "FAILED".to_owned()));
            }
            by_key.insert((task.task_id.clone(), task.attempt_number), task);
        }
        let mut questions: Vec<Vec<(&str, &str)>> = needed
            .iter()
            .map(|(key, value)| vec![of_job, (*key, value.as_str())])
            .collect();
        if questions.len() > MANY {
            questions = vec![vec![of_job]];
        }
        for question in questions {
            let (detailed, _): (Vec<ListedTask>, _) = self.listed(path, &question, true)?;
            for task in detailed {
                by_key.insert((task.task_id.clone(), task.attempt_number), task);
            }
        }
        account.tasks.extend(by_key.into_values());
        if with_actors {
            let (actors, _): (Vec<ListedActor>, _) =
                self.listed("/api/v0/actors", &[of_job], true)?;
            let by_id = actors.into_iter().map(|a| (a.actor_id.clone(), a));
            account.actors.extend(by_id);
        }
        Ok(())
    }

    /// The entries that equal what is asked for, and how many there are in all.
    fn listed<T: DeserializeOwned>(
        &self,
        path: &str,
        equal: &[(&str, &str)],
        detail: bool,
    ) -> Result<(Vec<T>, u64), CollectError> {
        let mut query = vec![("limit", LIMIT), ("detail", if detail { "1" } else { "0" })];
        for (key, value) in equal {
            query.push(("filter_keys", key));
            query.push(("filter_predicates", "="));
            query.push(("filter_values", value));
        }
        let mut answer = self.json(path, &query)?;
        let found = &mut answer["data"]["result"];
        let number = |key: &str| found[key].as_u64().unwrap_or(0);
        // What the cluster itself had forgotten counts too.
        let forgotten = number("total").saturating_sub(number("num_after_truncation"));
        let total = number("num_filtered") + forgotten;
        Ok((parsed(path, found["result"].take())?, total))
    }
}

fn parsed<T: DeserializeOwned>(path: &str, answer: Value) -> Result<T, CollectError> {
    serde_json::from_value(answer).map_err(|error| unexpected(path, &error))
}
