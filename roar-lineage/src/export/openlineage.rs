//! OpenLineage run events (<https://openlineage.io/spec/2-0-2/OpenLineage.json>): a START and
//! an end for each task; datasets are named by <https://openlineage.io/docs/spec/naming>.

use std::collections::HashMap;

use bstr::ByteSlice;
use serde_json::{Value, json};

use super::{Exported, URN, hex_of, title};
use crate::document::{File, command_line};
use crate::model::{Job, Status};
use crate::query::Node;

const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const FACETS: &str = "https://openlineage.io/spec/facets";

/// The events of all tasks, by step.
pub fn openlineage(exported: &Exported) -> Value {
    let names: HashMap<&str, Value> = exported
        .nodes()
        .map(|(node, _, job)| (node.id.as_str(), job_name(exported, node, job)))
        .collect();
    let events = exported
        .nodes()
        .flat_map(|(node, _, job)| of_task(exported, node, job, &names));
    Value::Array(events.collect())
}

fn of_task(
    exported: &Exported,
    node: &Node,
    job: &Job,
    names: &HashMap<&str, Value>,
) -> Vec<Value> {
    let mut run = json!({"runId": uuid(&node.id), "facets": {}});
    if let Some((id, name)) = node
        .parent
        .as_deref()
        .and_then(|id| names.get_key_value(id))
    {
        let parent = json!({"run": {"runId": uuid(id)}, "job": name});
        run["facets"]["parent"] = facet("1-1-0/ParentRunFacet", parent);
    }
    if matches!(node.status, Status::Failed | Status::Killed) {
        let message = match (&node.status_detail, node.exit_code) {
            (Some(detail), _) => detail.clone(),
            (None, Some(code)) => format!("exit status {code}"),
            (None, None) => "killed".to_owned(),
        };
        let error = json!({"message": message, "programmingLanguage": "unknown"});
        run["facets"]["errorMessage"] = facet("1-0-1/ErrorMessageRunFacet", error);
    }
    let mut named = names.get(node.id.as_str()).cloned().unwrap_or_default();
    let (integration, kind) = match node.kind.is_command() {
        true => ("ROAR", "COMMAND"),
        false => ("RAY", "TASK"),
    };
    let kind = json!({"processingType": "BATCH", "integration": integration, "jobType": kind});
    named["facets"] = json!({"jobType": facet("2-0-3/JobTypeJobFacet", kind)});
    if node.kind.is_command() {
        let words: Vec<_> = job.command.iter().map(|word| word.to_str_lossy()).collect();
        named["facets"]["roar_command"] = json!({
            "_producer": producer(),
            "_schemaURL": format!("{URN}:openlineage:command"),
            "argv": words,
            "cwd": job.cwd.to_str_lossy(),
            "commit": job.git.as_ref().and_then(|git| git.commit.as_deref()),
        });
    }
    let datasets = |files: &[File]| -> Vec<Value> {
        files.iter().map(|file| dataset(exported, file)).collect()
    };
    let event = |kind: &str, at: &str, inputs: Vec<Value>, outputs: Vec<Value>| {
        json!({
            "eventType": kind, "eventTime": at, "run": run, "job": named,
            "inputs": inputs, "outputs": outputs,
            "producer": producer(), "schemaURL": EVENT,
        })
    };
    let mut events = vec![event("START", &node.started_at, Vec::new(), Vec::new())];
    let end = match node.status {
        Status::Completed => "COMPLETE",
        Status::Failed => "FAIL",
        Status::Killed => "ABORT",
        Status::Running => "RUNNING",
        Status::Unknown => "OTHER",
    };
    let at = node.ended_at.as_deref().unwrap_or(&node.started_at);
    events.push(event(
        end,
        at,
        datasets(&node.reads),
        datasets(&node.writes),
    ));
    events
}

/// What one job is over all its runs: the command in its project, or the function.
fn job_name(exported: &Exported, node: &Node, job: &Job) -> Value {
    let root = exported.root.to_str_lossy();
    let mut name = title(node, job);
    let line = command_line(&job.command);
    if node.kind.is_command() && line != name {
        // What is called so with other arguments, or elsewhere, is another job.
        let identity = format!("{line}\0{}", job.cwd);
        name = format!("{name} {}", hex_of(identity.as_bytes(), 8));
    }
    json!({"namespace": format!("roar:{root}"), "name": name})
}

fn dataset(exported: &Exported, file: &File) -> Value {
    let path = file.path.bytes();
    let (namespace, name) = match path.strip_prefix(b"s3://") {
        Some(object) => match object.split_once_str("/") {
            Some((bucket, key)) => (format!("s3://{}", bucket.as_bstr()), key),
            None => (format!("s3://{}", object.as_bstr()), &b"/"[..]),
        },
        None => match file.other_node(exported.host) {
            Some(node) => (format!("file://{node}"), path.as_bytes()),
            None => ("file".to_owned(), path.as_bytes()),
        },
    };
    let mut dataset = json!({"namespace": namespace, "name": name.to_str_lossy(), "facets": {}});
    if let Some(version) = file
        .digest
        .as_ref()
        .or(file.version_id.as_ref())
        .or(file.etag.as_ref())
    {
        let version = json!({"datasetVersion": version});
        dataset["facets"]["version"] = facet("1-0-1/DatasetVersionDatasetFacet", version);
    }
    dataset
}

fn facet(name: &str, content: Value) -> Value {
    let of = name.rsplit('/').next().unwrap_or(name);
    let mut facet = content;
    facet["_producer"] = producer().into();
    facet["_schemaURL"] = format!("{FACETS}/{name}.json#/$defs/{of}").into();
    facet
}

fn producer() -> String {
    format!("{URN}:{}", env!("CARGO_PKG_VERSION"))
}

/// A UUID of version 8 (RFC 9562) for a task's id.
pub(super) fn uuid(id: &str) -> String {
    let hex = hex_of(id.as_bytes(), 32);
    format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}
