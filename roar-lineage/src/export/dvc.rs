//! DVC's pipeline, the `dvc.yaml` of the project's root
//! (<https://dvc.org/doc/user-guide/project-structure/dvcyaml-files>). A file has one producer
//! there: the command that left it last. Commands whose results are all gone over are left out,
//! and so are dependencies on what was there before.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BString, ByteSlice};
use serde_json::{Map, Value, json};

use super::{Exported, title};
use crate::document::command_line;
use crate::mask;
use crate::model::{How, Job};
use crate::query::{Part, Work};

/// The pipeline, `stages` with `cmd`, `wdir`, `deps` and `outs`, and how many commands that left
/// something have none, since DVC could not run them.
pub fn dvc(exported: &Exported) -> (Value, usize) {
    let mut left_out = 0;
    let jobs: Vec<(&Job, &Work)> = exported.graph.jobs().iter().zip(&exported.work).collect();
    let mut makers: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (index, (_, work)) in jobs.iter().enumerate() {
        let left = work.left.iter().filter(|part| is_here(exported, part));
        for path in left.map(path) {
            let last = makers.entry(path).or_insert(index);
            if jobs[*last].1.step() < work.step() {
                *last = index;
            }
        }
    }
    let mut stages = Map::new();
    for (index, (job, work)) in jobs.iter().enumerate() {
        let own = work
            .left
            .iter()
            .filter(|part| !part.is_handed_over)
            .filter(|part| makers.get(path(part)) == Some(&index));
        let outs: BTreeMap<&[u8], &Part> = own.map(|part| (path(part), part)).collect();
        let is_elsewhere = work.left.iter().any(|part| !is_here(exported, part));
        if outs.is_empty() && !is_elsewhere {
            continue;
        }
        if outs.is_empty() || !is_expressible(job, work) {
            left_out += 1;
            continue;
        }
        let needed = work.needed.iter().filter(|part| is_here(exported, part));
        let is_met = |part: &&Part| match makers.get(path(part)) {
            Some(&maker) if part.maker == Some(maker) => jobs[maker].1.step() < work.step(),
            Some(&maker) => has_content(jobs[maker].1, part),
            None => true,
        };
        let deps: BTreeSet<String> = needed
            .filter(is_met)
            .map(|part| literal(from(path(part), &job.cwd)))
            .collect();
        let mut stage = json!({"cmd": literal(command_line(&job.command))});
        if job.cwd != exported.root {
            stage["wdir"] = literal(from(&job.cwd, exported.root)).into();
        }
        if !deps.is_empty() {
            stage["deps"] = deps.into_iter().collect();
        }
        let outs = outs.values().map(|part| out(exported, part, job, work));
        stage["outs"] = outs.collect();
        stages.insert(name(exported, index, job), stage);
    }
    (json!({"stages": stages}), left_out)
}

/// Whether DVC can run it again: a command that ended well, all of it known, in UTF-8 and on one
/// line, which got no file from the shell that ran it. Its files have names in UTF-8.
fn is_expressible(job: &Job, work: &Work) -> bool {
    let is_known = |word: &BString| {
        let text = word.to_str().unwrap_or("\n");
        !text.contains('\n') && !mask::is_masked(word)
    };
    let is_named = |part: &Part| path(part).to_str().is_ok();
    let mut needed = work.needed.iter();
    let mut files = needed.clone().chain(&work.left);
    !job.command.is_empty()
        && files.all(is_named)
        && job.exit_code == Some(0)
        && job.command.iter().all(is_known)
        && !needed.any(|part| part.is_handed_over)
}

/// Whether a job left at a path what another read there, made by somebody else.
fn has_content(work: &Work, read: &Part) -> bool {
    let digest = &read.standing.file.digest;
    let mut there = work
        .left
        .iter()
        .filter(|left| left.location == read.location);
    digest.is_some() && there.any(|left| left.standing.file.digest == *digest)
}

fn path(part: &Part) -> &[u8] {
    part.standing.file.path.bytes()
}

/// Whether a file is of this host, or an object.
fn is_here(exported: &Exported, part: &Part) -> bool {
    let file = &part.standing.file;
    let is_object = file.path.bytes().starts_with(b"s3://");
    is_object || file.other_node(exported.host).is_none()
}

/// DVC keeps what is within the project; of others it only notes what they are. It takes an
/// output away before the command runs, which may want what was there.
fn out(exported: &Exported, part: &Part, job: &Job, work: &Work) -> Value {
    let name = literal(from(path(part), &job.cwd));
    let mut flags = Map::new();
    if exported.beneath_root(&part.standing.file).is_none() {
        flags.insert("cache".to_owned(), false.into());
    }
    let goes_on = |how: &How| matches!(how, How::Append | How::Modify | How::Truncate);
    let mut needed = work.needed.iter();
    let is_read = needed.any(|needed| needed.location == part.location);
    if is_read || part.standing.file.how.iter().any(goes_on) {
        flags.insert("persist".to_owned(), true.into());
    }
    match flags.is_empty() {
        true => name.into(),
        false => json!({name: flags}),
    }
}

/// A stage's name: letters, digits, `-` and `_`, and the step, which makes it the only one.
fn name(exported: &Exported, index: usize, job: &Job) -> String {
    let step = exported.work[index].step();
    let node = step.and_then(|step| exported.dag.nodes.get(step - 1));
    let title = node.map_or_else(String::new, |node| title(node, job));
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || letter == '_' {
        true => letter,
        false => '-',
    };
    let title: String = title.chars().map(plain).collect();
    match step {
        Some(step) => format!("{title}-{step}"),
        None => format!("job-{}", index + 1),
    }
}

/// A path as seen from a directory.
pub(super) fn from(path: &[u8], directory: &[u8]) -> String {
    if !path.starts_with(b"/") {
        return path.to_str_lossy().into_owned();
    }
    let parts = |path: &[u8]| -> Vec<String> {
        let parts = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty());
        parts.map(|part| part.to_str_lossy().into_owned()).collect()
    };
    let (path, directory) = (parts(path), parts(directory));
    let common = path
        .iter()
        .zip(&directory)
        .take_while(|(a, b)| a == b)
        .count();
    if common == 0 {
        return format!("/{}", path.join("/"));
    }
    let up = directory[common..].iter().map(|_| "..");
    let words: Vec<&str> = up
        .chain(path[common..].iter().map(String::as_str))
        .collect();
    match words.first() {
        None => ".".to_owned(),
        // To DVC that is a URL.
        Some(first) if first.contains(':') => format!("./{}", words.join("/")),
        Some(_) => words.join("/"),
    }
}

/// What DVC replaces (`${…}`) as it is.
fn literal(text: String) -> String {
    text.replace("${", r"\${")
}
