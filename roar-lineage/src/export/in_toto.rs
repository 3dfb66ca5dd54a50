//! in-toto statements (<https://in-toto.io/Statement/v1>) with SLSA provenance
//! (<https://slsa.dev/provenance/v1>): one for each command that left something, unsigned.

use bstr::ByteSlice;
use serde_json::{Value, json};

use super::{Exported, URN};
use crate::document::{File, iso_time};
use crate::model::Job;
use crate::query::{Part, Work};

/// The statements of all commands, by start.
pub fn in_toto(exported: &Exported) -> Value {
    let jobs = exported.graph.jobs().iter().zip(&exported.work);
    let statements = jobs.filter_map(|(job, work)| statement(exported, job, work));
    Value::Array(statements.collect())
}

/// None where nothing was left whose content is known: a statement is about contents.
fn statement(exported: &Exported, job: &Job, work: &Work) -> Option<Value> {
    let subject: Vec<Value> = work
        .left
        .iter()
        .filter_map(|part| {
            let file = &part.standing.file;
            Some(json!({"name": name(exported, file), "digest": digest(file)?}))
        })
        .collect();
    if subject.is_empty() {
        return None;
    }
    let dependency = |part: &Part| {
        let file = &part.standing.file;
        let mut dependency = json!({"name": name(exported, file), "uri": exported.uri(file)});
        if let Some(digest) = digest(file) {
            dependency["digest"] = digest;
        }
        dependency
    };
    let mut dependencies: Vec<Value> = work.needed.iter().map(dependency).collect();
    if let Some(commit) = job.git.as_ref().and_then(|git| git.commit.as_deref()) {
        dependencies.push(json!({"name": "git commit", "digest": {"gitCommit": commit}}));
    }
    if let Some(diff) = job.git.as_ref().and_then(|git| git.diff) {
        dependencies.push(json!({"name": "git diff HEAD", "digest": {"blake3": diff.hex()}}));
    }
    let words: Vec<_> = job.command.iter().map(|word| word.to_str_lossy()).collect();
    let mut metadata = json!({
        "invocationId": format!("{URN}:job:{}", job.id),
        "startedOn": iso_time(job.started_at),
    });
    if let Some(ended) = job.ended_at {
        metadata["finishedOn"] = iso_time(ended).into();
    }
    Some(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{URN}:command"),
                "externalParameters": {"command": words, "cwd": job.cwd.to_str_lossy()},
                "internalParameters": {"exitCode": job.exit_code, "kernel": job.tracer.kernel},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {
                    "id": format!("{URN}:{}", job.tracer.backend),
                    "version": {"roar": job.tracer.version},
                },
                "metadata": metadata,
            },
        },
    }))
}

/// What is only one file's.
fn name(exported: &Exported, file: &File) -> String {
    match exported.beneath_root(file) {
        Some(path) => path.to_str_lossy().into_owned(),
        None => exported.uri(file),
    }
}

fn digest(file: &File) -> Option<Value> {
    let (algorithm, hex) = file.digest.as_deref()?.split_once(':')?;
    Some(json!({algorithm: hex}))
}
