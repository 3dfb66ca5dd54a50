//! `roar merge`: takes fragments from anywhere into this project's store.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use roar_lineage::category::Classifier;
use roar_lineage::fragment::{self, Fragment};
use roar_lineage::frame::BadHeader;
use roar_lineage::model::{Category, FileUse, GapKind, How, Status};
use roar_lineage::store::Store;
use roar_lineage::{event, query};
use roar_worker::sink::{Kept, Place};
use roar_worker::task_log;
use serde::Serialize;

use crate::cli::MergeArgs;
use crate::error::UserError;
use crate::{output, project, sink, tracing};

/// Directories deeper than this below a given path are not entered.
const DEPTH: usize = 64;
/// What is said of a file whose last frame is not complete.
const TORN: &str = "its end is torn; what stands before it was taken";

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    files: usize,
    taken: usize,
    known: usize,
    steps: usize,
}

/// Does it.
pub fn main(args: &MergeArgs) -> Result<ExitCode, UserError> {
    let cwd = project::working_directory()?;
    let mut files = Vec::new();
    let mut visited = HashSet::new();
    let mut fragments = Vec::new();
    let mut fetched = 0;
    for path in &args.paths {
        let place = Place::parse(path.as_os_str())
            .map_err(|why| UserError::new("cannot merge from there", why))?;
        if let Place::S3 { .. } = place {
            let kept = sink::fetch(&place, "")?;
            fetched += kept.len();
            for file in kept {
                fragments.extend(of_sink(&place, &file)?);
            }
            continue;
        }
        let cannot = |error| UserError::new(format!("cannot read {}", path.display()), error);
        if fs::metadata(path).map_err(cannot)?.is_dir() {
            find(path, DEPTH, &mut visited, &mut files);
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() && fetched == 0 {
        return Err(
            UserError::new("nothing to merge", "no fragment file below the given paths")
                .hint("fragments of Ray workers are in SESSION/logs/roar of each node"),
        );
    }
    let mut refused = None;
    for file in &files {
        match read(file) {
            Ok(read) => fragments.extend(read),
            // One is no reason to leave the others.
            Err(error) if !args.paths.contains(file) => {
                tracing::warn(false, &format!("{} ({})", error.what, error.why));
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    if let (Some(error), true) = (refused, fragments.is_empty()) {
        return Err(error);
    }
    let directory = match project::nearest(&cwd) {
        Some(directory) => directory,
        None => project::create(&project::root(&cwd))?.0,
    };
    let root = directory.parent().unwrap_or(&directory);
    for fragment in &mut fragments {
        reclassify(fragment, root);
    }
    let mut store = Store::open(&directory)?;
    let merged = store.merge(&fragments)?;
    let steps = query::Graph::load(&store, false)?.steps().count();
    let (files, taken, known) = (files.len() + fetched, merged.taken, merged.known);
    if args.json {
        let schema = "roar.merge/1";
        output::json(&Document {
            schema,
            files,
            taken,
            known,
            steps,
        })?;
    } else {
        let files = output::count(files, "file");
        let taken = output::count(taken, "fragment");
        let steps = output::count(steps, "step");
        output::write(&format!(
            "merged {files}: {taken} taken, {known} known; {steps} in the session\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fragment files and task logs below `directory`. Links to directories are followed,
/// each directory once.
fn find(
    directory: &Path,
    depth: usize,
    visited: &mut HashSet<(u64, u64)>,
    files: &mut Vec<PathBuf>,
) {
    let is_new = fs::metadata(directory).is_ok_and(|data| visited.insert((data.dev(), data.ino())));
    let Some(depth) = depth.checked_sub(1).filter(|_| is_new) else {
        return;
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return warn(directory, &error.to_string()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, depth, visited, files);
        } else if path.is_file() && (has_extension(&path, fragment::EXTENSION) || is_log(&path)) {
            files.push(path);
        }
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn is_log(path: &Path) -> bool {
    has_extension(path, event::EXTENSION)
}

fn read(path: &Path) -> Result<Vec<Fragment>, UserError> {
    let cannot = |why: String| UserError::new(format!("cannot read {}", path.display()), why);
    let content = fs::read(path).map_err(|error| cannot(error.to_string()))?;
    let (fragments, is_torn) = fragments_of(&content, is_log(path)).map_err(cannot)?;
    if is_torn {
        warn(path, TORN);
    }
    Ok(fragments)
}

fn of_sink(place: &Place, file: &Kept) -> Result<Vec<Fragment>, UserError> {
    let cannot = |why| UserError::new(format!("cannot read {place}{}", file.name), why);
    let (fragments, is_torn) = fragments_of(&file.bytes, false).map_err(cannot)?;
    if !file.is_whole {
        tracing::warn(false, &sink::torn(place, &file.name));
    } else if is_torn {
        let path = format!("{place}{}", file.name);
        warn(path.as_ref(), TORN);
    }
    Ok(fragments)
}

/// The fragments of a task log, or of a file of sealed ones; whether its end is torn.
pub fn fragments_of(content: &[u8], is_log: bool) -> Result<(Vec<Fragment>, bool), String> {
    match is_log {
        true => fragments_of_log(content),
        false => fragment::read(content).map_err(|error| error.to_string()),
    }
}

/// The fragments of a task log that its supervisor did not seal: as far as it came.
fn fragments_of_log(content: &[u8]) -> Result<(Vec<Fragment>, bool), String> {
    let (record, is_torn) = task_log::replay(content).map_err(|bad| match bad {
        BadHeader::Foreign => "not a task log".to_owned(),
        BadHeader::Newer(version) => format!("log format {version} is newer than this roar reads"),
        BadHeader::Older(version) => format!("log format {version} is older than this roar reads"),
    })?;
    let worker = record.state.task(0);
    let is_over = worker.is_some_and(|worker| worker.status != Status::Running);
    let mut fragments = record.state.fragments(record.revision);
    let outlived = is_over && fragments.iter().any(|fragment| running(fragment) > 0);
    for fragment in &mut fragments {
        let count = running(fragment);
        let has_ended = fragment.task.status != Status::Running;
        let coverage = &mut fragment.coverage;
        // While the supervisor waits for processes, what has ended without any is whole.
        if outlived && count > 0 {
            let detail = "processes went on after their worker had ended";
            coverage.add_gap(GapKind::StillRunning, detail, count);
        } else if !(outlived && has_ended) {
            let detail = "the supervisor did not complete the record (killed, or no space?)";
            coverage.add_gap(GapKind::SupervisorDied, detail, 1);
        }
    }
    Ok((fragments, is_torn))
}

/// How many of a task's processes were not seen to end.
fn running(fragment: &Fragment) -> u64 {
    let processes = fragment.processes.iter();
    processes
        .filter(|process| process.ended_at.is_none())
        .count() as u64
}

fn warn(path: &Path, what: &str) {
    tracing::warn(false, &format!("{}: {what}", path.display()));
}

/// What lies beneath this project's root is its data or code, wherever it was traced.
pub fn reclassify(fragment: &mut Fragment, root: &Path) {
    let root = root.as_os_str().as_bytes();
    let classifier = Classifier::new(root);
    let files = [
        &mut fragment.reads,
        &mut fragment.writes,
        &mut fragment.deletes,
    ];
    for file in files.into_iter().flatten() {
        file.category = category(file, root, &classifier);
    }
}

fn category(file: &FileUse, root: &[u8], classifier: &Classifier) -> Category {
    let is_open = matches!(
        file.category,
        Category::Temp | Category::Data | Category::Code
    );
    let rest = file.path.strip_prefix(root);
    if !is_open || !rest.is_some_and(|rest| rest.starts_with(b"/")) {
        return file.category;
    }
    let executed = file.how.contains(&How::Exec) || file.how.contains(&How::Import);
    classifier.category(&file.path, executed)
}
