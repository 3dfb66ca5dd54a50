//! W3C PROV as PROV-JSON (<https://www.w3.org/submissions/prov-json/>): tasks are activities,
//! versions of files are entities.

use bstr::ByteSlice;
use serde_json::{Map, Value, json};

use super::{Exported, URN, title};
use crate::document::command_line;

/// The document.
pub fn prov(exported: &Exported) -> Value {
    let mut activities = Map::new();
    for (node, _, job) in exported.nodes() {
        let mut activity = json!({
            "prov:startTime": node.started_at,
            "prov:label": title(node, job),
            "prov:type": {"$": format!("roar:{}", word(&node.kind)), "type": "prov:QUALIFIED_NAME"},
            "roar:status": word(&node.status),
            "roar:host": node.host,
            "roar:step": node.step,
        });
        if let Some(end) = &node.ended_at {
            activity["prov:endTime"] = end.as_str().into();
        }
        if node.kind.is_command() {
            activity["roar:command"] = command_line(&job.command).into();
            activity["prov:location"] = job.cwd.to_str_lossy().into();
        }
        activities.insert(task(&node.id), activity);
    }
    let versions = &exported.flow.versions;
    let id = |version: usize| format!("roar:file-{}", exported.version_id(&versions[version]));
    let mut entities = Map::new();
    for (index, version) in versions.iter().enumerate() {
        let mut entity = json!({
            "prov:label": version.file.path.bytes().to_str_lossy(),
            "prov:location": {"$": exported.uri(version.file), "type": "xsd:anyURI"},
        });
        if let Some(digest) = version.digest {
            entity["roar:digest"] = digest.into();
        }
        if let Some(size) = version.file.size {
            entity["roar:size"] = size.into();
        }
        entities.insert(id(index), entity);
    }
    let node = |at: usize| task(&exported.dag.nodes[at].id);
    let used =
        exported.flow.used.iter().map(
            |&(user, version)| json!({"prov:activity": node(user), "prov:entity": id(version)}),
        );
    let generated = exported.flow.generated().map(
        |(version, writer)| json!({"prov:entity": id(version), "prov:activity": node(writer)}),
    );
    let informed = exported
        .flow
        .informed
        .iter()
        .map(|&(from, to)| json!({"prov:informed": node(to), "prov:informant": node(from)}));
    let parents = exported.dag.nodes.iter().filter_map(|child| {
        let starter = task(child.parent.as_deref()?);
        let is_known = activities.contains_key(&starter);
        is_known.then(|| json!({"prov:activity": task(&child.id), "prov:starter": starter}))
    });
    let started = numbered("s", parents);
    json!({
        "prefix": {"roar": format!("{URN}:")},
        "activity": activities,
        "entity": entities,
        "used": numbered("u", used),
        "wasGeneratedBy": numbered("g", generated),
        "wasInformedBy": numbered("i", informed),
        "wasStartedBy": started,
    })
}

fn task(id: &str) -> String {
    format!("roar:task-{id}")
}

/// Relations, which need no names of their own.
fn numbered(letter: &str, relations: impl Iterator<Item = Value>) -> Map<String, Value> {
    let named = relations.enumerate();
    named
        .map(|(at, one)| (format!("_:{letter}{at}"), one))
        .collect()
}

fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
