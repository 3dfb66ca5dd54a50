//! KubeRay manifests: what is added so that a cluster's workers start through
//! `roar-worker`.
//!
//! A manifest is edited as text: what is not added stays as it was, comments and all
//! ([`yaml`]). Adding to what was made so adds nothing.

pub mod yaml;

use std::path::Path;

use serde_json::{Value, json};

use crate::ray::local::{JOB_CONFIG, OVERRIDE, job_config};
use crate::ray::ship;
use crate::ray::submit::OWN_WAY;
use yaml::{Edits, Node};

/// Where `--image` puts the launcher.
const DIRECTORY: &str = "/opt/roar";
/// Name of the volume and of the container that fills it.
const NAME: &str = "roar";

/// What to add.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// An image that has `roar-worker` on its `PATH`, to take it from.
    pub image: Option<&'a str>,
    /// A shared directory for records.
    pub sink: Option<&'a str>,
}

/// A manifest with roar in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The manifest.
    pub text: String,
    /// What had to be left as it is, and why.
    pub left: Vec<String>,
}

/// Puts roar into all Ray clusters, jobs and services of a manifest. The error is why
/// that could not be done.
pub fn prepare(text: &str, options: Options<'_>) -> Result<Prepared, String> {
    let first = once(text, options)?;
    let again = once(&first.text, options)?;
    if again.text != first.text {
        return Err("it is written in a way that cannot be edited".to_owned());
    }
    Ok(first)
}

fn once(text: &str, options: Options<'_>) -> Result<Prepared, String> {
    let documents = yaml::parse(text)?;
    let mut edits = Edits::new(text);
    let mut left = Vec::new();
    let mut found = false;
    // `kubectl get -o yaml` gives a list of them.
    let is_list = |document: &Node| document.get("kind").and_then(Node::text) == Some("List");
    let manifests = documents.iter().flat_map(|document| {
        let listed = document.get("items").filter(|_| is_list(document));
        listed.map_or(std::slice::from_ref(document), Node::items)
    });
    for document in manifests {
        let version = document.get("apiVersion").and_then(Node::text);
        if !version.is_some_and(|version| version.starts_with("ray.io/")) {
            continue;
        }
        let kind = document.get("kind").and_then(Node::text).unwrap_or("");
        let spec = document.get("spec").filter(|spec| spec.is_map());
        let spec = spec.ok_or_else(|| format!("{kind} without a spec"))?;
        let cluster = match kind {
            "RayCluster" => Some(spec),
            "RayJob" => {
                of_job(spec, &mut edits, &mut left)?;
                spec.get("rayClusterSpec")
            }
            "RayService" => {
                of_service(spec, &mut edits, &mut left)?;
                spec.get("rayClusterConfig")
            }
            _ => continue,
        };
        found = true;
        if let Some(cluster) = cluster {
            for (group, name) in groups(cluster) {
                of_group(group, &name, options, &mut edits, &mut left)?;
            }
        }
    }
    if !found {
        return Err("there is no RayCluster, RayJob or RayService in it".to_owned());
    }
    Ok(Prepared {
        text: edits.apply(),
        left,
    })
}

/// The head's group and all groups of workers, with names for people.
fn groups(cluster: &Node) -> Vec<(&Node, String)> {
    let head = cluster
        .get("headGroupSpec")
        .map(|head| (head, "the head".to_owned()));
    let workers = cluster.get("workerGroupSpecs").map_or(&[][..], Node::items);
    let workers = workers.iter().enumerate().map(|(no, group)| {
        let name = group.get("groupName").and_then(Node::text);
        let name = name.map_or(format!("worker group {}", no + 1), |name| {
            format!("worker group {name}")
        });
        (group, name)
    });
    head.into_iter().chain(workers).collect()
}

fn of_group(
    group: &Node,
    name: &str,
    options: Options<'_>,
    edits: &mut Edits<'_>,
    left: &mut Vec<String>,
) -> Result<(), String> {
    let pod = group
        .get("template")
        .and_then(|template| template.get("spec"));
    let pod = pod.filter(|pod| pod.is_map());
    let pod = pod.ok_or_else(|| format!("{name} has no template.spec"))?;
    // KubeRay's rule: the first container is Ray's.
    let containers = pod.get("containers").map_or(&[][..], Node::items);
    let container = containers.first().filter(|first| first.is_map());
    let container = container.ok_or_else(|| format!("{name} has no container"))?;

    let config = job_config(&executable(None)?, None).ok_or("no job configuration")?;
    let mut variables = vec![(JOB_CONFIG, config), (OVERRIDE, "1".to_owned())];
    if let Some(sink) = options.sink {
        variables.push(("ROAR_SINK", sink.to_owned()));
    }
    let env = container.get("env").map_or(&[][..], Node::items);
    let set = |variable: &str| named(env, variable);
    if let Some(own) = set(JOB_CONFIG)
        && !is_ours(own.get("value").and_then(Node::text))
    {
        left.push(format!("{name} sets {JOB_CONFIG} itself"));
        variables.retain(|(variable, _)| ![JOB_CONFIG, OVERRIDE].contains(variable));
    }
    let missing = variables
        .iter()
        .filter(|(variable, _)| set(variable).is_none());
    let missing: Vec<Value> = missing
        .map(|(variable, value)| json!({"name": variable, "value": value}))
        .collect();
    edits.add_items(container, "env", &missing)?;

    let Some(image) = options.image else {
        return Ok(());
    };
    let mount = json!({"name": NAME, "mountPath": DIRECTORY});
    let copy = format!("cp \"$(command -v roar-worker)\" {DIRECTORY}/roar-worker");
    let init = json!({
        "name": NAME, "image": image, "command": ["sh", "-c", copy], "volumeMounts": [mount],
    });
    let volume = json!({"name": NAME, "emptyDir": {}});
    for (owner, key, item) in [
        (container, "volumeMounts", mount),
        (pod, "volumes", volume),
        (pod, "initContainers", init),
    ] {
        if named(owner.get(key).map_or(&[][..], Node::items), NAME).is_none() {
            edits.add_items(owner, key, &[item])?;
        }
    }
    Ok(())
}

/// The item of that name.
fn named<'a>(items: &'a [Node], name: &str) -> Option<&'a Node> {
    let is_it = |item: &&Node| item.get("name").and_then(Node::text) == Some(name);
    items.iter().find(is_it)
}

/// What KubeRay gives to `ray job submit`.
fn of_job(spec: &Node, edits: &mut Edits<'_>, left: &mut Vec<String>) -> Result<(), String> {
    const KEY: &str = "runtimeEnvYAML";
    let text = spec.get(KEY).and_then(Node::text).unwrap_or("");
    let documents = yaml::parse(text).map_err(|why| format!("{KEY}: {why}"))?;
    let added = match documents.first() {
        Some(runtime_env) if runtime_env.is_map() => {
            let mut inner = Edits::new(text);
            of_runtime_env(runtime_env, KEY, &mut inner, left)?;
            inner.apply()
        }
        Some(other) if !other.is_null() => return Err(format!("{KEY} is no mapping")),
        _ => format!("py_executable: {}\n", Value::from(executable(None)?)),
    };
    if added != text {
        edits.set_text(spec, KEY, &added)?;
    }
    Ok(())
}

/// What KubeRay gives to Ray Serve: a runtime_env for each application.
fn of_service(spec: &Node, edits: &mut Edits<'_>, left: &mut Vec<String>) -> Result<(), String> {
    const KEY: &str = "serveConfigV2";
    let Some(text) = spec.get(KEY).and_then(Node::text) else {
        left.push(format!("there is no {KEY}"));
        return Ok(());
    };
    let documents = yaml::parse(text).map_err(|why| format!("{KEY}: {why}"))?;
    let mut inner = Edits::new(text);
    let applications = documents
        .first()
        .and_then(|config| config.get("applications"));
    for application in applications.map_or(&[][..], Node::items) {
        let name = application.get("name").and_then(Node::text).unwrap_or("");
        match application.get("runtime_env") {
            Some(runtime_env) if runtime_env.is_map() => {
                of_runtime_env(
                    runtime_env,
                    &format!("application {name}"),
                    &mut inner,
                    left,
                )?;
            }
            _ => inner.add(
                application,
                "runtime_env",
                &json!({"py_executable": executable(None)?}),
            )?,
        }
    }
    let added = inner.apply();
    if added != text {
        edits.set_text(spec, KEY, &added)?;
    }
    Ok(())
}

fn of_runtime_env(
    runtime_env: &Node,
    name: &str,
    edits: &mut Edits<'_>,
    left: &mut Vec<String>,
) -> Result<(), String> {
    if let Some(key) = OWN_WAY.iter().find(|key| runtime_env.get(key).is_some()) {
        left.push(format!(
            "{name} has {key}, which starts the workers in its own way"
        ));
        return Ok(());
    }
    let own = runtime_env.get("py_executable").and_then(Node::text);
    if is_ours(own) {
        return Ok(());
    }
    let executable = Value::from(executable(own)?);
    edits.add(runtime_env, "py_executable", &executable)
}

fn is_ours(executable: Option<&str>) -> bool {
    executable.is_some_and(|executable| executable.contains("roar-worker"))
}

fn executable(own: Option<&str>) -> Result<String, String> {
    ship::py_executable(&Path::new(DIRECTORY).join("roar-worker"), own)
        .ok_or_else(|| "the launcher's path is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
