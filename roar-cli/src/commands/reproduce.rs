//! `roar reproduce`: makes again what a reference stands for, and compares.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bstr::BString;
use roar_lineage::document::{File, Text};
use roar_lineage::model::Job;
use roar_lineage::query::Graph;
use serde::Serialize;

use super::again::Again;
use crate::checked::{self, Checked, Verdict};
use crate::cli::ReproduceArgs;
use crate::error::UserError;
use crate::ray::submit;
use crate::remake::Remake;
use crate::{output, project};

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
        let unmade = compare_with_record(&mut files, graph)?;
        if let Some(path) = unmade {
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
        step: remake.work[index].command.as_ref().map(|(step, _)| *step),
        job: job.id.clone(),
        command: Text::list("command", &job.command),
        cwd: Text::new("cwd", &job.cwd),
    }
}

/// Runs and records a command, which is to end as it did.
fn run(root: &Path, job: &Job, again: &Again, json: bool) -> Result<(), String> {
    output::say(again.line());
    let mut roar = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    roar.arg("run")
        .arg("--store")
        .arg(root.join(project::DIRECTORY));
    roar.arg("--root").arg(OsStr::from_bytes(&job.root));
    if json {
        roar.arg("--quiet").stdout(Stdio::from(std::io::stderr()));
    }
    roar.arg("--").args(&again.command).current_dir(&again.cwd);
    let ended = roar.status().map_err(|error| error.to_string())?;
    let (now, before) = ((ended.code(), ended.signal()), (job.exit_code, job.signal));
    // Of a submitted job it is the driver's own.
    let is_submitted = submit::parse(&again.command).is_some();
    let is_same = match is_submitted {
        true => ended.success() == (before.0 == Some(0)),
        false => now == before,
    };
    match is_same || before == (None, None) {
        true => Ok(()),
        false => {
            let (now, before) = (end_of(now), end_of(before));
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

/// What is not on this machine is what the new record says of it. The first path that by the
/// new record was not written again.
fn compare_with_record(
    files: &mut [Checked],
    before: &Graph,
) -> Result<Option<BString>, UserError> {
    let opened = project::open(false)?;
    let old: BTreeSet<&str> = before.jobs().iter().map(|job| job.id.as_str()).collect();
    let work = opened.graph.work();
    let jobs = opened.graph.jobs().iter().zip(&work);
    let new = jobs.filter(|(job, _)| !old.contains(job.id.as_str()));
    let parts = new.flat_map(|(_, work)| &work.left);
    let written: HashMap<&[u8], &File> = parts
        .map(|part| &part.standing.file)
        .map(|file| (file.path.bytes().as_ref(), file))
        .collect();
    for checked in files {
        let path: &[u8] = checked.file.path.bytes();
        let Some(now) = written.get(path) else {
            return Ok(Some(path.into()));
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
    Ok(None)
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
