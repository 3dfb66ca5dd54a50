//! `roar run ray job submit …`: the job as the user wrote it, its workers started through
//! `roar-worker`, and what they recorded brought home through the dashboard.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use roar_lineage::fragment::Fragment;
use roar_lineage::model::TaskKind;
use roar_worker::side::JOB_VARIABLE;
use roar_worker::sink::Place;
use roar_worker::{host, launcher, scope};

use crate::accounted::Submitted;
use crate::cli::TraceArgs;
use crate::commands::{merge, run};
use crate::config;
use crate::error::UserError;
use crate::git;
use crate::ray::collect::{Collected, Fetched};
use crate::ray::compare;
use crate::ray::connection::Connection;
use crate::ray::gather::{self, Gathered, Gathering};
use crate::ray::python;
use crate::ray::submit::{Submission, Tracing};
use crate::{output, sink, tracing};

/// How long the supervisors of the job's workers may take to complete their records.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Names the endpoint of S3 as the cluster reaches it, where that is another than here.
const CLUSTER_ENDPOINT: &str = "ROAR_CLUSTER_AWS_ENDPOINT_URL";
/// Before the job's id in a submission id of ours.
pub const ID_PREFIX: &str = "roar-";
/// Between two looks at what they have.
pub const PAUSE: Duration = Duration::from_millis(300);

/// Where the record of a job goes, and how loud that is.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// The directory of its store, or why there is none.
    pub store: Result<&'a Path, &'a UserError>,
    /// Say less.
    pub quiet: bool,
    /// Where records may be as well.
    pub sink: Option<&'a Place>,
    /// How long supervisors that are not done are waited for.
    pub patience: Duration,
}

impl Home<'_> {
    /// Takes fragments into the store.
    pub fn keep(&self, fragments: &[Fragment]) -> Result<(), UserError> {
        let store = self.store.map_err(UserError::clone);
        store.and_then(|store| tracing::keep(store, fragments))
    }
}

/// Error: there will be nothing to report.
pub fn can_report(
    args: &TraceArgs,
    submission: &Submission,
    settings: &config::Ray,
) -> Result<(), UserError> {
    let why = match (submission.no_wait, settings.collect) {
        _ if args.json.is_none() => return Ok(()),
        (true, _) => "with --no-wait nothing is collected",
        (false, false) => "ray.collect is false",
        (false, true) => return Ok(()),
    };
    Err(UserError {
        code: 2,
        ..UserError::new("cannot report with --json what the job does", why)
            .hint("without --json, and `roar ray fetch SUBMISSION_ID` when the job has ended")
    })
}

/// Submits, waits as `ray job submit` does, collects; the exit status is Ray's.
pub fn run(
    args: &TraceArgs,
    submission: &Submission,
    (cwd, root): (&Path, &Path),
    store: Result<&Path, &UserError>,
    settings: &config::Ray,
) -> Result<ExitCode, UserError> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let git = git::state(cwd);
    let job = tracing::job(host::unique_id(), &args.command, cwd, &root, git);
    let launcher = run::worker_launcher().unwrap_or_else(|| "roar-worker".into());
    let ray = args.command.first().cloned().unwrap_or_default();
    let sink = settings.sink.as_ref().map(Place::to_string);
    let endpoint = std::env::var(CLUSTER_ENDPOINT).ok();
    let endpoint = endpoint.filter(|url| !url.is_empty());
    let tracing = Tracing {
        worker_launcher: &launcher,
        job: &job.id,
        root: &root.to_string_lossy(),
        submission_id: &format!("{ID_PREFIX}{}", job.id),
        ship: settings.ship,
        sink: sink.as_deref(),
        endpoint: endpoint.as_deref(),
    };
    let connection = Connection::of(submission);
    let mut address = None;
    if args.verbose > 0 && !args.quiet {
        let found = connection.resolve(&ray);
        output::say(format_args!(
            "roar: the job goes to {}",
            output::masked(&found)
        ));
        address = Some(found);
    }
    let instrumented = submission.instrument(tracing, |file| python::read_yaml(&ray, file));
    let argv = match &instrumented {
        Ok(instrumented) => &instrumented.argv,
        Err(why) => {
            tracing::warn(args.quiet, &format!("the job runs untraced: {why}"));
            &args.command
        }
    };
    let is_wanted = store.is_ok() || args.json.is_some();
    let is_awaited = instrumented.is_ok() && !submission.no_wait && settings.collect;
    let gathering = (is_awaited && is_wanted).then(|| {
        let (submission, ray, address) = (submission.clone(), ray.clone(), address.clone());
        let dashboard = move || {
            let connection = Connection::of(&submission);
            let address = address.unwrap_or_else(|| connection.resolve(&ray));
            connection.dashboard(&address).ok()
        };
        Gathering::start(dashboard, job.id.clone())
    });
    let wait_status =
        launcher::run_untraced(argv).map_err(|error| tracing::not_run(&args.command, &error))?;
    let is_reported = Cell::new(false);
    if let (Ok(instrumented), true) = (&instrumented, is_wanted) {
        let home = Home {
            root: &root,
            store,
            quiet: args.quiet,
            sink: settings.sink.as_ref(),
            patience: PATIENCE,
        };
        let id = &instrumented.submission_id;
        let (_, exit_code, _) = scope::status_of(wait_status);
        let outcome = if submission.no_wait && exit_code != Some(0) {
            Ok(Outcome::Refused)
        } else if submission.no_wait || !settings.collect {
            Ok(Outcome::Later)
        } else {
            let address = address.unwrap_or_else(|| connection.resolve(&ray));
            let submitted = Submitted {
                args,
                job: &job,
                submission_id: id,
                home,
                exit_code,
                is_reported: &is_reported,
            };
            let gathered = gathering.map(Gathering::end).unwrap_or_default();
            after(&connection, &address, &submitted, gathered)
        };
        match outcome {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Later) => {
                let noted = home.keep(&[compare::with_gaps(&job, &[])]);
                if let (Err(error), true) = (noted, store.is_ok()) {
                    let what = format!("the job is not noted: {} ({})", error.what, error.why);
                    tracing::warn(args.quiet, &what);
                }
                later(home, id);
            }
            Ok(Outcome::Refused) => explain(submission, home),
            Err(error) => {
                let kept = format!("{} ({})", error.what, error.why);
                tracing::warn(
                    args.quiet,
                    &format!("the job's record was not brought home: {kept}"),
                );
            }
        }
    }
    if args.json.is_some() && !is_reported.get() {
        tracing::warn(
            args.quiet,
            "the report is not written: nothing was collected",
        );
    }
    Ok(tracing::end_by(wait_status))
}

/// Says that the record is still on the cluster.
fn later(home: Home<'_>, submission_id: &str) {
    if !home.quiet {
        output::say(format_args!(
            "roar: the job's record stays on the cluster; `roar ray fetch {submission_id}` collects it"
        ));
    }
}

/// Where Ray refuses a job, it says so at length; this is the reason that it does not say.
fn explain(submission: &Submission, home: Home<'_>) {
    let Some(size) = submission.oversize().filter(|_| !home.quiet) else {
        return;
    };
    let what = format!("the working_dir is {size} MiB, and Ray takes at most 100 MiB");
    tracing::warn(home.quiet, &what);
    output::say("hint: name what is not needed in .gitignore or in excludes of the runtime_env");
}

/// What became of a job's record.
enum Outcome {
    /// It is home.
    Done,
    /// It is still on the cluster.
    Later,
    /// There is no such job, or it is somebody else's.
    Refused,
}

/// After `ray job submit`: what is left to do depends on what became of the job.
fn after(
    connection: &Connection<'_>,
    address: &str,
    submitted: &Submitted<'_>,
    gathered: Gathered,
) -> Result<Outcome, UserError> {
    let cannot = |error| cannot_ask(address, error);
    let dashboard = connection.dashboard(address).map_err(cannot)?;
    match dashboard.job(submitted.submission_id) {
        Ok(None) if !submitted.has_succeeded() => Ok(Outcome::Refused),
        // Somebody else's, of the same id.
        Ok(Some(info)) if info.variable(JOB_VARIABLE) != Some(submitted.job.id.as_str()) => {
            Ok(Outcome::Refused)
        }
        // Ctrl-C ends the waiting and not the job.
        Ok(Some(info)) if !info.has_ended() => Ok(Outcome::Later),
        _ => {
            let brought = submitted.bring_home(&dashboard, gathered);
            brought.map(|()| Outcome::Done)
        }
    }
}

/// Why a dashboard could not be asked.
pub fn cannot_ask(address: &str, error: impl Display) -> UserError {
    let address = output::masked(address);
    UserError::new(format!("cannot ask the dashboard at {address}"), error)
}

/// What was brought home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroughtHome {
    /// Tasks that the record tells of.
    pub tasks: usize,
    /// Files that were there and could not be read.
    pub missed: usize,
}

/// Keeps the fragments of `job` among what `collect` finds; asks again for a while when
/// supervisors are not done, or were just done and what was listed is there no more.
pub fn bring_home(
    collect: impl Fn() -> Result<Collected, UserError>,
    job: &str,
    home: Home<'_>,
) -> Result<BroughtHome, UserError> {
    let began = Instant::now();
    let found = loop {
        let found = collect().map(|collected| Found::of(collected, job));
        let is_done = found.as_ref().map_or(true, Found::is_done);
        if is_done || began.elapsed() >= home.patience {
            break found;
        }
        std::thread::sleep(PAUSE);
    };
    // The sink is there when the cluster is gone.
    let kept = home
        .sink
        .map(|place| sink::files_of_job(place, job, home.quiet));
    let mut found = match (found, kept.unwrap_or_default()) {
        (Err(error), kept) if kept.is_empty() => return Err(error),
        (found, kept) => {
            let mut found = found.unwrap_or_default();
            found.add(kept, job);
            found
        }
    };
    for missed in &found.missed {
        tracing::warn(home.quiet, missed);
    }
    if found.fragments.is_empty() {
        let why = "no node has one: could roar-worker be started there?";
        return Err(UserError::new("the job left no record", why));
    }
    for fragment in &mut found.fragments {
        merge::reclassify(fragment, home.root);
    }
    home.keep(&found.fragments)?;
    let tasks = count_tasks(&found.fragments);
    if !home.quiet {
        output::say(format_args!(
            "roar: {tasks} tasks recorded; `roar dag` shows them"
        ));
    }
    Ok(BroughtHome {
        tasks,
        missed: found.missed.len(),
    })
}

/// How many tasks fragments tell of.
pub fn count_tasks(fragments: &[Fragment]) -> usize {
    let is_task = |fragment: &&Fragment| fragment.task.kind != TaskKind::Worker;
    let tasks = fragments.iter().filter(is_task);
    tasks.map(|f| &f.task.id).collect::<BTreeSet<_>>().len()
}

/// A job's part of what was fetched.
#[derive(Default)]
struct Found {
    fragments: Vec<Fragment>,
    /// Whether some supervisor is not done with it.
    is_open: bool,
    /// What could not be had, and why.
    missed: Vec<String>,
}

impl Found {
    fn of(collected: Collected, job: &str) -> Self {
        let could_not = |missed| format!("a node's record could not be fetched: {missed}");
        let mut found = Self {
            missed: collected.missed.iter().map(could_not).collect(),
            ..Self::default()
        };
        found.add(collected.files, job);
        found
    }

    /// Whether there will be no more.
    fn is_done(&self) -> bool {
        !self.is_open && self.missed.is_empty() && !self.fragments.is_empty()
    }

    fn add(&mut self, files: Vec<Fetched>, job: &str) {
        for file in files {
            let is_log = gather::is_log(&file.name);
            match merge::fragments_of(&file.bytes, is_log) {
                Ok((mut read, _)) => {
                    read.retain(|fragment| fragment.job.id == job);
                    self.is_open |= is_log && !read.is_empty();
                    self.fragments.append(&mut read);
                }
                Err(why) => {
                    let what = format!("a record is damaged: {}: {why}", file.name);
                    self.missed.push(what);
                }
            }
        }
    }
}
