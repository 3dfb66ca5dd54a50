//! OpenTelemetry spans as OTLP/JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): a trace for each job,
//! a span for each task that has ended, a link for each task that it followed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::ByteSlice;
use serde_json::{Value, json};

use super::{Exported, hex_of, title};
use crate::document::File;
use crate::model::{Job, Status, Task};
use crate::query::Node;

/// An `ExportTraceServiceRequest`.
pub fn otlp(exported: &Exported) -> Value {
    let jobs: HashMap<&str, &str> = exported
        .dag
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node.job.as_str()))
        .collect();
    let mut followed: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for edge in &exported.dag.edges {
        followed.entry(&edge.to).or_default().insert(&edge.from);
    }
    let mut hosts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (node, task, job) in exported.nodes() {
        let Some(mut span) = span(exported, node, task, job) else {
            continue;
        };
        let links = followed.get(node.id.as_str()).into_iter().flatten();
        let link = |id: &&str| {
            let trace = trace_id(jobs.get(id)?);
            Some(json!({"traceId": trace, "spanId": span_id(id)}))
        };
        span["links"] = links.filter_map(link).collect();
        hosts.entry(&node.host).or_default().push(span);
    }
    let resource = |(host, spans): (&str, Vec<Value>)| {
        json!({
            "resource": {"attributes": [
                attribute("service.name", string("roar")),
                attribute("host.name", string(host)),
            ]},
            "scopeSpans": [{
                "scope": {"name": "roar", "version": env!("CARGO_PKG_VERSION")},
                "spans": spans,
            }],
        })
    };
    let resources: Vec<Value> = hosts.into_iter().map(resource).collect();
    json!({"resourceSpans": resources})
}

fn span(exported: &Exported, node: &Node, task: &Task, job: &Job) -> Option<Value> {
    let ended = task.ended_at?;
    let uris = |files: &[File]| list(files.iter().map(|file| exported.uri(file)));
    let mut attributes = vec![
        attribute("roar.reads", uris(&node.reads)),
        attribute("roar.writes", uris(&node.writes)),
    ];
    if node.kind.is_command() {
        let words = job.command.iter();
        let words = list(words.map(|word| word.to_str_lossy().into_owned()));
        attributes.push(attribute("process.command_args", words));
        let cwd = job.cwd.to_str_lossy();
        attributes.push(attribute("process.working_directory", string(&cwd)));
    }
    if let Some(func) = node.ray.as_ref().and_then(|ray| ray.func.as_deref()) {
        attributes.push(attribute("code.function.name", string(func)));
    }
    if let Some(pid) = node.pid {
        attributes.push(attribute("process.pid", integer(pid)));
    }
    if let Some(code) = node.exit_code {
        attributes.push(attribute("process.exit.code", integer(code)));
    }
    let status = match node.status {
        Status::Completed => json!({"code": 1}),
        Status::Failed | Status::Killed => {
            json!({"code": 2, "message": node.status_detail.as_deref().unwrap_or_default()})
        }
        Status::Running | Status::Unknown => json!({}),
    };
    let mut span = json!({
        "traceId": trace_id(&job.id),
        "spanId": span_id(&node.id),
        "name": title(node, job),
        "kind": 1,
        "startTimeUnixNano": task.started_at.to_string(),
        "endTimeUnixNano": ended.max(task.started_at).to_string(),
        "attributes": attributes,
        "status": status,
    });
    if let Some(parent) = &node.parent {
        span["parentSpanId"] = span_id(parent).into();
    }
    Some(span)
}

/// 16 bytes for a job.
fn trace_id(job: &str) -> String {
    hex_of(job.as_bytes(), 32)
}

/// 8 bytes for a task.
fn span_id(task: &str) -> String {
    hex_of(task.as_bytes(), 16)
}

fn attribute(key: &str, value: Value) -> Value {
    json!({"key": key, "value": value})
}

fn string(text: &str) -> Value {
    json!({"stringValue": text})
}

/// Integers of 64 bits are strings in JSON.
fn integer(number: impl ToString) -> Value {
    json!({"intValue": number.to_string()})
}

fn list(items: impl Iterator<Item = String>) -> Value {
    let values: Vec<Value> = items.map(|item| string(&item)).collect();
    json!({"arrayValue": {"values": values}})
}
