//! `roar reproduce`: makes again what a reference stands for, and compares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use bstr::BString;
use roar_lineage::document::{File, Text};
use roar_lineage::model::Job;
use roar_lineage::query::{Changed, Graph, Part};
use roar_worker::{launcher, scope};
use serde::Serialize;

use super::again::Again;
use crate::checked::{self, Checked, Verdict};
use crate::cli::ReproduceArgs;
use crate::error::UserError;
use crate::ray::submit;
use crate::remake::{self, Remake};
use crate::{output, project, tracing};

/// The document.
#[derive(Debug, Serialize)]
struct Reproduced {
    schema: &'static str,
    session: String,
    /// Whether the steps were run.
    ran: bool,
    steps: Vec<Step>,
    /// What was to be made, as it was, and whether it is that now.
    files: Vec<Checked>,
    /// Whether all of it is; null where that is not known.
    same: Option<bool>,
}

/// A command that is run again.
#[derive(Debug, Serialize)]
struct Step {
    step: Option<usize>,
    job: String,
    #[serde(flatten)]
    command: Text,
    #[serde(flatten)]
    cwd: Text,
}

/// Does it.
pub fn main(args: &ReproduceArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(false)?;
    let graph = &opened.graph;
    let what = format!(
        "cannot make {} again",
        output::one_line(args.reference.as_bytes())
    );
    let cannot = |why: &dyn std::fmt::Display| UserError::new(what.as_str(), why);
    let work = graph.work();
    let made = opened
        .find(&args.reference, |reference, cwd| {
            graph.made(reference, cwd, &work)
        })
        .map_err(|error| cannot(&error).hint("`roar dag` lists steps and the files they wrote"))?;
    let remake = Remake {
        graph,
        work: &work,
        root: &opened.root,
    };
    let jobs = remake.jobs(&made).map_err(|refusal| {
        let error = cannot(&refusal.why);
        match refusal.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    let of = |job: usize, why: String| cannot(&format!("{}: {why}", remake.name(job)));
    let mut commands = Vec::new();
    for &job in &jobs {
        let again = Again::of(&graph.jobs()[job]).map_err(|why| of(job, why))?;
        commands.push((job, again));
    }
    if !args.dry_run {
        for (job, again) in &commands {
            run(&opened.root, &graph.jobs()[*job], again, args.json)
                .map_err(|why| of(*job, why))?;
        }
    }
    let mut files = checked::all(made.iter().map(|part| part.standing.clone()).collect());
    if !args.dry_run {
        let now = changed_now(graph)?;
        warn_of_others(&remake, &made, &jobs, &now);
        if let Some(path) = compare_with_record(&mut files, &now) {
            let path = output::shown_path(&path, Some(&opened.root));
            let why = format!("{path} was not written this time");
            return Err(
                cannot(&why).hint("a program that finds it up to date leaves it: move it away")
            );
        }
    }
    let is_bad = files.iter().any(|file| file.verdict.is_bad());
    let is_known = files.iter().all(|file| file.verdict == Verdict::Same);
    let steps: Vec<Step> = jobs.iter().map(|&job| step(&remake, job)).collect();
    match (args.json, args.dry_run) {
        (true, _) => output::json(&Reproduced {
            schema: "roar.reproduce/1",
            session: graph.session().to_owned(),
            ran: !args.dry_run,
            steps,
            files,
            same: (is_bad || is_known).then_some(!is_bad),
        })?,
        (false, true) => output::write(&plan_text(&steps, &opened.root))?,
        (false, false) => output::write(&checked::text(&files, &opened.root))?,
    }
    Ok(ExitCode::from(u8::from(is_bad && !args.dry_run)))
}

fn step(remake: &Remake, index: usize) -> Step {
    let job = &remake.graph.jobs()[index];
    Step {
        step: remake.work[index].step(),
        job: job.id.clone(),
        command: Text::list("command", &job.command),
        cwd: Text::new("cwd", &job.cwd),
    }
}

/// Runs and records a command, which is to end as it did. Signals are the command's, too.
fn run(root: &Path, job: &Job, again: &Again, json: bool) -> Result<(), String> {
    output::say(again.line());
    let text = |error: std::io::Error| error.to_string();
    let roar = std::env::current_exe().map_err(text)?;
    let mut words: Vec<OsString> = Vec::new();
    if json {
        words.extend(["sh", "-c", "exec \"$@\" >&2", "sh"].map(OsString::from));
    }
    words.extend([roar.into(), "run".into(), "--store".into()]);
    words.extend([root.join(project::DIRECTORY).into(), "--root".into()]);
    words.push(OsStr::from_bytes(&job.root).into());
    words.extend(json.then(|| "--quiet".into()));
    words.push("--".into());
    words.extend(again.command.iter().cloned());
    let own = std::env::current_dir().map_err(text)?;
    std::env::set_current_dir(&again.cwd).map_err(text)?;
    let ended = launcher::run_untraced(&words).map_err(|error| error.to_string());
    std::env::set_current_dir(own).map_err(text)?;
    let (_, code, signal) = scope::status_of(ended?);
    let before = (job.exit_code, job.signal);
    // Of a submitted job it is the driver's own.
    let is_submitted = submit::parse(&again.command).is_some();
    let is_same = match is_submitted {
        true => (code == Some(0)) == (before.0 == Some(0)),
        false => (code, signal) == before,
    };
    match is_same || before == (None, None) {
        true => Ok(()),
        false => {
            let (now, before) = (end_of((code, signal)), end_of(before));
            Err(format!("it ended with {now}, and with {before} before"))
        }
    }
}

fn end_of(status: (Option<i32>, Option<i32>)) -> String {
    match status {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// What the new jobs changed, by the new record.
fn changed_now(before: &Graph) -> Result<Changed, UserError> {
    let opened = project::open(false)?;
    let old: BTreeSet<&str> = before.jobs().iter().map(|job| job.id.as_str()).collect();
    let jobs = opened.graph.jobs();
    let is_new = |job: usize| !old.contains(jobs[job].id.as_str());
    Ok(opened.graph.changed_by(is_new))
}

/// What is not on this machine is what the new record says of it. The first path that by it
/// was not written again.
fn compare_with_record(files: &mut [Checked], now: &Changed) -> Option<BString> {
    let written = now.written.iter().map(|part| &part.standing.file);
    let written: HashMap<&[u8], &File> = written
        .map(|file| (file.path.bytes().as_ref(), file))
        .collect();
    for checked in files {
        let path: &[u8] = checked.file.path.bytes();
        let Some(now) = written.get(path) else {
            return Some(path.into());
        };
        if checked.verdict != Verdict::Elsewhere {
            continue;
        }
        if let (Some(one), Some(other)) = (&checked.file.digest, &now.digest) {
            checked.verdict = match one == other {
                true => Verdict::Same,
                false => Verdict::Changed,
            };
            checked.found = Some(checked::Content {
                digest: now.digest.clone(),
                size: now.size.unwrap_or_default(),
            });
        }
    }
    None
}

/// Says what else the steps changed: their other outputs that came out otherwise, and what
/// others had made and they took away.
fn warn_of_others(remake: &Remake, made: &[Part], jobs: &[usize], now: &Changed) {
    let meant: BTreeSet<usize> = made.iter().map(|part| part.location).collect();
    let own: BTreeSet<usize> = jobs.iter().copied().collect();
    let mut left: BTreeMap<usize, &Part> = BTreeMap::new();
    for work in jobs.iter().map(|&job| &remake.work[job]) {
        // What a step made a later one may have deleted.
        left.retain(|location, _| !work.changed.contains(location));
        let others = work.left.iter().filter(|part| !part.is_handed_over);
        left.extend(others.map(|part| (part.location, part)));
    }
    left.retain(|location, _| !meant.contains(location));
    let checks = checked::all(left.values().map(|part| part.standing.clone()).collect());
    let changed = checks.iter().filter(|checked| checked.verdict.is_bad());
    let changed: Vec<&[u8]> = changed
        .map(|checked| checked.file.path.bytes().as_ref())
        .collect();
    say_of("came out otherwise", &changed, remake.root);
    let others = remake.work.iter().enumerate();
    let others = others.filter(|(job, _)| !remake.is_again(*job, &own));
    let others = others.flat_map(|(_, work)| &work.left);
    let taken: BTreeSet<&[u8]> = others
        .map(|part| part.standing.file.path.bytes().as_ref())
        .filter(|path: &&[u8]| now.deleted.contains(*path))
        .collect();
    say_of("was taken away", &Vec::from_iter(taken), remake.root);
}

fn say_of(what: &str, paths: &[&[u8]], root: &Path) {
    if let Some(first) = paths.first() {
        let first = output::shown_path(first, Some(root));
        let rest = remake::more(paths.len());
        tracing::warn(false, &format!("{first} {what}{rest}"));
    }
}

fn plan_text(steps: &[Step], root: &Path) -> String {
    let mut text = String::new();
    for step in steps {
        let number = step
            .step
            .map_or_else(String::new, |step| format!("@{step}"));
        let command = output::command(step.command.items());
        let cwd = output::shown_path(step.cwd.bytes(), Some(root));
        let _ = writeln!(text, "{number:<5} {}", output::cut(&command, 72));
        if Path::new(&cwd) != root {
            let _ = writeln!(text, "      in {}", output::cut(&cwd, 69));
        }
    }
    text
}
