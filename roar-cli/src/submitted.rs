//! `roar run ray job submit …`: the job as the user wrote it, its workers started through
//! `roar-worker`, and what they recorded brought home through the dashboard.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use roar_lineage::event;
use roar_lineage::fragment::{self, Fragment};
use roar_lineage::model::TaskKind;
use roar_worker::{host, launcher};

use crate::cli::TraceArgs;
use crate::commands::{merge, run};
use crate::error::UserError;
use crate::ray::collect::Dashboard;
use crate::ray::submit::{self, Submission, Tracing};
use crate::tracing;

/// For one request to the dashboard.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the supervisors of the job's workers may take to complete their records.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(300);

/// Submits, waits as `ray job submit` does, collects; the exit status is Ray's.
pub fn run(
    args: &TraceArgs,
    submission: &Submission,
    root: &Path,
    store: Option<&Path>,
) -> Result<ExitCode, UserError> {
    let job = host::unique_id();
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let launcher = run::worker_launcher().unwrap_or_else(|| "roar-worker".into());
    let ray = args.command.first().cloned().unwrap_or_default();
    let tracing = Tracing {
        worker_launcher: &launcher,
        job: &job,
        root: &root.to_string_lossy(),
        submission_id: &format!("roar-{job}"),
    };
    let instrumented = submission.instrument(tracing, |file| submit::read_yaml(&ray, file));
    let argv = match &instrumented {
        Ok(instrumented) => &instrumented.argv,
        Err(why) => {
            tracing::warn(args.quiet, &format!("the job runs untraced: {why}"));
            &args.command
        }
    };
    let wait_status =
        launcher::run_untraced(argv).map_err(|error| tracing::not_run(&args.command, &error))?;
    if instrumented.is_ok() {
        if submission.no_wait {
            let hint =
                "its record stays in SESSION/logs/roar of each node; `roar merge` takes it in";
            tracing::warn(args.quiet, &format!("the job was not waited for: {hint}"));
        } else if let Err(error) = bring_home(args, submission, &ray, &job, &root, store) {
            let kept = format!("{} ({})", error.what, error.why);
            tracing::warn(
                args.quiet,
                &format!("the job's record was not brought home: {kept}"),
            );
        }
    }
    Ok(tracing::end_by(wait_status))
}

fn bring_home(
    args: &TraceArgs,
    submission: &Submission,
    ray: &OsString,
    job: &str,
    root: &Path,
    store: Option<&Path>,
) -> Result<(), UserError> {
    let Some(store) = store else { return Ok(()) };
    let variable = |name: &str| std::env::var(name).ok();
    let address = match submission.dashboard(variable) {
        Some(address) => address,
        None => submit::ask_ray_for_address(ray, submission.address.as_deref())
            .unwrap_or_else(|_| submit::DEFAULT_ADDRESS.to_owned()),
    };
    let headers = submission
        .headers
        .clone()
        .or_else(|| variable("RAY_JOB_HEADERS"));
    let cannot = |error: &dyn std::fmt::Display| {
        UserError::new(format!("cannot ask the dashboard at {address}"), error)
    };
    let dashboard =
        Dashboard::new(&address, headers.as_deref(), TIMEOUT).map_err(|error| cannot(&error))?;
    let began = Instant::now();
    let mut fragments = loop {
        let collected = dashboard.collect(job).map_err(|error| cannot(&error))?;
        let is_log = |name: &str| name.ends_with(event::EXTENSION);
        let is_open = collected.files.iter().any(|file| is_log(&file.name));
        let is_empty = collected.files.is_empty();
        if (is_open || is_empty) && began.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            continue;
        }
        for missed in &collected.missed {
            tracing::warn(
                args.quiet,
                &format!("a node's record could not be fetched: {missed}"),
            );
        }
        let mut fragments: Vec<Fragment> = Vec::new();
        for file in collected.files {
            let read = if is_log(&file.name) {
                merge::fragments_of_log(&file.bytes)
            } else {
                fragment::read(&file.bytes).map_err(|error| error.to_string())
            };
            match read {
                Ok((read, _)) => fragments.extend(read),
                Err(why) => {
                    tracing::warn(
                        args.quiet,
                        &format!("a record is damaged: {}: {why}", file.name),
                    );
                }
            }
        }
        break fragments;
    };
    if fragments.is_empty() {
        let why = "no node has one: could roar-worker be started there?";
        return Err(UserError::new("the job left no record", why));
    }
    for fragment in &mut fragments {
        merge::reclassify(fragment, root);
    }
    tracing::keep(store, &fragments)?;
    if !args.quiet {
        let is_task = |fragment: &&Fragment| fragment.task.kind != TaskKind::Worker;
        let ids: std::collections::BTreeSet<_> = fragments
            .iter()
            .filter(is_task)
            .map(|fragment| &fragment.task.id)
            .collect();
        eprintln!("roar: {} tasks recorded; `roar dag` shows them", ids.len());
    }
    Ok(())
}
