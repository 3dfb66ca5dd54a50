//! What the dashboard knows of a submitted job.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::collect::{CollectError, Dashboard, unexpected};

/// A submitted job.
#[derive(Debug, Clone, Deserialize)]
pub struct JobInfo {
    /// PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
    pub status: String,
    /// What it runs.
    #[serde(default)]
    pub entrypoint: String,
    /// How that ended, once it has; none where it never began, or went with its node.
    #[serde(default)]
    driver_exit_code: Option<i32>,
    /// Who it is to Ray, once it has joined.
    #[serde(default)]
    driver_info: Option<Value>,
    #[serde(default)]
    runtime_env: Option<Map<String, Value>>,
}

impl JobInfo {
    /// Whether nothing more will happen.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "SUCCEEDED" | "FAILED" | "STOPPED")
    }

    /// Whether it failed, and nobody knows what it runs to have begun.
    pub fn failed_unbegun(&self) -> bool {
        self.status == "FAILED" && self.driver_exit_code.is_none() && self.driver_info.is_none()
    }

    /// A variable of its runtime environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let variables = self.runtime_env.as_ref()?.get("env_vars")?;
        variables.get(name)?.as_str()
    }
}

impl Dashboard {
    /// The job of a submission; `None` when the cluster knows none of that id.
    pub fn job(&self, submission_id: &str) -> Result<Option<JobInfo>, CollectError> {
        let path = format!("/api/jobs/{submission_id}");
        match self.json(&path, &[]) {
            Ok(info) => serde_json::from_value(info)
                .map(Some)
                .map_err(|error| unexpected(&path, &error)),
            Err(CollectError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of the cluster's session.
    pub fn session(&self) -> Result<String, CollectError> {
        let path = "/api/version";
        let version = self.json(path, &[])?;
        let name = version["session_name"].as_str().map(str::to_owned);
        name.ok_or_else(|| unexpected(path, &"no session_name"))
    }
}
