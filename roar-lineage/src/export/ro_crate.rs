//! RO-Crate 1.1 (<https://w3id.org/ro/crate/1.1>) by the profile Process Run Crate 0.5
//! (<https://w3id.org/ro/wfrun/process/0.5>): each task is a CreateAction.

use std::collections::{BTreeMap, HashMap};

use bstr::ByteSlice;
use serde_json::{Value, json};

use super::{Exported, file_host, title};
use crate::document::{File, command_line};
use crate::model::Status;
use crate::query::Version;

const DESCRIPTOR: &str = "ro-crate-metadata.json";
const PROFILE: &str = "https://w3id.org/ro/wfrun/process/0.5";

/// The content of `ro-crate-metadata.json`.
pub fn ro_crate(exported: &Exported) -> Value {
    let ids = ids(exported);
    let reference = |id: &str| json!({"@id": id});
    let files = exported.flow.versions.iter().zip(&ids);
    let files: Vec<Value> = files
        .map(|(version, id)| file(exported, version, id))
        .collect();
    let (mut objects, mut results) = (HashMap::new(), HashMap::new());
    for &(task, version) in &exported.flow.used {
        let of_task: &mut Vec<Value> = objects.entry(task).or_default();
        of_task.push(reference(&ids[version]));
    }
    for (version, task) in exported.flow.generated() {
        let of_task: &mut Vec<Value> = results.entry(task).or_default();
        of_task.push(reference(&ids[version]));
    }
    let (mut actions, mut programs) = (Vec::new(), BTreeMap::new());
    for (at, (node, _, job)) in exported.nodes().enumerate() {
        let title = title(node, job);
        let program = format!("#program-{}", super::hex_of(title.as_bytes(), 16));
        let mut action = json!({
            "@id": format!("#task-{}", node.id),
            "@type": "CreateAction",
            "name": format!("@{} {title}", node.step),
            "description": command_line(&job.command),
            "startTime": node.started_at,
            "instrument": reference(&program),
            "object": objects.remove(&at).unwrap_or_default(),
            "result": results.remove(&at).unwrap_or_default(),
        });
        if let Some(end) = &node.ended_at {
            action["endTime"] = end.as_str().into();
        }
        if let Some(status) = action_status(node.status) {
            action["actionStatus"] = reference(&format!("http://schema.org/{status}"));
        }
        if let Some(detail) = &node.status_detail {
            action["error"] = detail.as_str().into();
        }
        actions.push(action);
        programs.entry(program).or_insert(title);
    }
    let programs = programs
        .iter()
        .map(|(id, title)| json!({"@id": id, "@type": "SoftwareApplication", "name": title}));
    let root = exported
        .root
        .rsplit_once_str("/")
        .map_or(exported.root, |(_, name)| name);
    let published = exported
        .dag
        .nodes
        .iter()
        .filter_map(|node| node.ended_at.as_deref());
    let refer = |entities: &[Value]| -> Vec<Value> {
        let ids = entities.iter().filter_map(|entity| entity["@id"].as_str());
        ids.map(reference).collect()
    };
    let parts = files.iter().filter(|file| file["@type"] == "File");
    let parts: Vec<Value> = parts.cloned().collect();
    let mut graph = vec![
        json!({
            "@id": DESCRIPTOR,
            "@type": "CreativeWork",
            "conformsTo": reference("https://w3id.org/ro/crate/1.1"),
            "about": reference("./"),
        }),
        json!({
            "@id": "./",
            "@type": "Dataset",
            "name": root.to_str_lossy(),
            "description": "Files of a project, and the commands and tasks that read and wrote them",
            "license": "not stated",
            "datePublished": published.max().unwrap_or("1970-01-01T00:00:00Z"),
            "conformsTo": [reference(PROFILE)],
            "hasPart": refer(&parts),
            "mentions": refer(&actions),
        }),
        json!({
            "@id": PROFILE,
            "@type": "CreativeWork",
            "name": "Process Run Crate",
            "version": "0.5",
        }),
    ];
    graph.extend(files);
    graph.extend(programs);
    graph.extend(actions);
    json!({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph})
}

/// Ids of versions: the last of a file that is there has its name, others are something of
/// their own.
fn ids(exported: &Exported) -> Vec<String> {
    let Exported { dag, flow, .. } = exported;
    let place = |file: &File| {
        let path: &[u8] = file.path.bytes();
        (path.to_owned(), file_host(file).to_owned())
    };
    let mut at: Vec<usize> = flow
        .versions
        .iter()
        .map(|version| version.writer.unwrap_or(0))
        .collect();
    for &(task, version) in &flow.used {
        at[version] = at[version].max(task);
    }
    let mut last: HashMap<_, (usize, Option<usize>)> = HashMap::new();
    for (index, version) in flow.versions.iter().enumerate() {
        let known = last.entry(place(version.file)).or_default();
        if known.1.is_none() || known.0 <= at[index] {
            *known = (at[index], Some(index));
        }
    }
    for (task, node) in dag.nodes.iter().enumerate() {
        for file in &node.deletes {
            if let Some(known) = last.get_mut(&place(file))
                && known.0 <= task
            {
                known.1 = None;
            }
        }
    }
    let id = |(index, version): (usize, &Version)| {
        let is_last = last
            .get(&place(version.file))
            .is_some_and(|last| last.1 == Some(index));
        let name = exported.relative_uri(version.file);
        match is_last && name != DESCRIPTOR {
            true => name,
            false => format!("#version-{}", exported.version_id(version)),
        }
    };
    flow.versions.iter().enumerate().map(id).collect()
}

fn file(exported: &Exported, version: &Version, id: &str) -> Value {
    let kind = match id.starts_with('#') {
        true => "CreativeWork",
        false => "File",
    };
    let path = version.file.path.bytes();
    let name = exported.beneath_root(version.file).unwrap_or(path);
    let mut file = json!({"@id": id, "@type": kind, "name": name.to_str_lossy()});
    if let Some(digest) = version.digest {
        file["identifier"] = digest.into();
    }
    if let Some(size) = version.file.size {
        file["contentSize"] = size.to_string().into();
    }
    file
}

fn action_status(status: Status) -> Option<&'static str> {
    match status {
        Status::Completed => Some("CompletedActionStatus"),
        Status::Failed | Status::Killed => Some("FailedActionStatus"),
        Status::Running => Some("ActiveActionStatus"),
        Status::Unknown => None,
    }
}
