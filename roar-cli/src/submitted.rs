//! `roar run ray job submit …`: the job as the user wrote it, its workers started through
//! `roar-worker`, and what they recorded brought home through the dashboard.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use roar_lineage::document::joined_coverage;
use roar_lineage::fragment::Fragment;
use roar_lineage::model::{Gap, GapKind, Job, TaskKind};
use roar_lineage::{join, mask};
use roar_worker::{clock, host, launcher};

use crate::cli::TraceArgs;
use crate::commands::{merge, run};
use crate::error::UserError;
use crate::ray::collect::Dashboard;
use crate::ray::compare;
use crate::ray::gather::{self, Gathered, Gathering};
use crate::ray::state::{Account, ListedTask};
use crate::ray::submit::{self, Submission, Tracing};
use crate::{output, tracing};

/// For one request to the dashboard.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the supervisors of the job's workers may take to complete their records.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(300);
/// How long a dashboard may be silent after the job's end.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// Workers tell Ray of their tasks once a second: its list is whole this long after the end.
const REPORTED: Duration = Duration::from_millis(1500);

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
    let is_awaited = instrumented.is_ok() && !submission.no_wait && store.is_some();
    let gathering = is_awaited.then(|| {
        let (submission, ray) = (submission.clone(), ray.clone());
        Gathering::start(move || dashboard_of(&submission, &ray).ok(), job.clone())
    });
    let wait_status =
        launcher::run_untraced(argv).map_err(|error| tracing::not_run(&args.command, &error))?;
    if let Ok(instrumented) = &instrumented {
        if submission.no_wait {
            let hint =
                "its record stays in SESSION/logs/roar of each node; `roar merge` takes it in";
            tracing::warn(args.quiet, &format!("the job was not waited for: {hint}"));
        } else if let (Some(store), Some(gathering)) = (store, gathering) {
            let submitted = Submitted {
                args,
                job: &job,
                submission_id: &instrumented.submission_id,
                root: &root,
                store,
                has_succeeded: wait_status == 0,
            };
            let brought = dashboard_of(submission, &ray)
                .and_then(|dashboard| submitted.bring_home(&dashboard, gathering.end()));
            if let Err(error) = brought {
                let kept = format!("{} ({})", error.what, error.why);
                tracing::warn(
                    args.quiet,
                    &format!("the job's record was not brought home: {kept}"),
                );
            }
        }
    }
    Ok(tracing::end_by(wait_status))
}

/// A submitted job, and where it is to be brought.
struct Submitted<'a> {
    args: &'a TraceArgs,
    /// Its id, with which the names of its files begin.
    job: &'a str,
    submission_id: &'a str,
    root: &'a Path,
    store: &'a Path,
    /// Whether Ray's command did.
    has_succeeded: bool,
}

/// The dashboard that a submission goes to.
fn dashboard_of(submission: &Submission, ray: &OsString) -> Result<Dashboard, UserError> {
    let variable = |name: &str| std::env::var(name).ok();
    let address = match submission.dashboard(variable) {
        Some(address) => address,
        None => submit::ask_ray_for_address(ray, submission.address.as_deref())
            .unwrap_or_else(|_| submit::DEFAULT_ADDRESS.to_owned()),
    };
    let headers = submission.headers.clone();
    let headers = headers.or_else(|| variable("RAY_JOB_HEADERS"));
    let made = Dashboard::new(&address, headers.as_deref(), TIMEOUT);
    made.map_err(|error| UserError::new(format!("cannot ask the dashboard at {address}"), error))
}

impl Submitted<'_> {
    /// Takes into the store what came home, and what Ray says of the job.
    fn bring_home(&self, dashboard: &Dashboard, mut gathered: Gathered) -> Result<(), UserError> {
        let ended = Instant::now();
        let mut gaps = Vec::new();
        let collected = self.collect(dashboard, &mut gathered, ended);
        let (mut fragments, damaged) = gathered.fragments();
        for fragment in &mut fragments {
            merge::reclassify(fragment, self.root);
        }
        let account = match collected {
            Ok(missed) => {
                let missed = missed
                    .into_iter()
                    .map(|why| format!("a record was not to be had: {why}"));
                gaps.extend(missed.map(|detail| (GapKind::LostRecords, detail)));
                self.account(dashboard, &fragments, ended)
            }
            Err(why) => Err(why),
        };
        let damaged = damaged
            .into_iter()
            .map(|why| format!("a record is damaged: {why}"));
        gaps.extend(damaged.map(|detail| (GapKind::LostRecords, detail)));
        let account = match account {
            Ok(account) => account,
            Err(why) if fragments.is_empty() && gathered.session.is_none() => {
                return Err(UserError::new("cannot ask the dashboard", why));
            }
            Err(why) => {
                let detail = format!("the cluster could not be asked at the job's end: {why}");
                gaps.push((GapKind::LostRecords, detail));
                Account::default()
            }
        };
        if gathered
            .session
            .as_ref()
            .is_some_and(|s| !account.session.is_empty() && *s != account.session)
        {
            let session = gathered.session.as_deref().unwrap_or_default();
            gaps.push((GapKind::LostRecords, format!("session {session} is gone")));
        }
        if account.left_out > 0 {
            let detail = format!(
                "Ray no longer lists {} of the job's tasks",
                account.left_out
            );
            gaps.push((GapKind::UntracedWorker, detail));
        }
        let job = fragments.iter().map(|fragment| &fragment.job);
        let job = join::jobs(job).unwrap_or_else(|| compare::job(&account, self.unknown_job()));
        let home = compare::Home::new(&fragments);
        for node in compare::lost_nodes(&home, &account) {
            let detail = format!("lost node {node}: what it recorded last is gone");
            gaps.push((GapKind::LostRecords, detail));
        }
        let mut rays = compare::with_ray(&job, &home, &gathered, &account);
        rays.push(compare::with_gaps(&job, &gaps));
        let missing = joined_coverage(rays.iter().map(|fragment| &fragment.coverage)).gaps;
        let recorded = self.count(&fragments);
        fragments.extend(rays);
        tracing::keep(self.store, &fragments)?;
        if !self.args.quiet {
            eprintln!("roar: {recorded} tasks recorded; `roar dag` shows them");
            let gap = |gap: &Gap| {
                format!(
                    "{} ({})",
                    output::one_line(gap.detail.as_bytes()),
                    gap.count
                )
            };
            let list: Vec<String> = missing.iter().map(gap).collect();
            if !list.is_empty() {
                eprintln!("roar: the record is not complete: {}", list.join("; "));
            }
        }
        Ok(())
    }

    /// Collects until every supervisor has completed its record, as long as that is likely.
    fn collect(
        &self,
        dashboard: &Dashboard,
        gathered: &mut Gathered,
        ended: Instant,
    ) -> Result<Vec<String>, String> {
        loop {
            let is_late = ended.elapsed() > PATIENCE;
            match gathered.collect(dashboard, self.job) {
                Ok(collected) => {
                    let mut names = collected.listed.values().flatten();
                    let is_open = names.clone().any(|name| gather::is_log(name));
                    if is_late || !(is_open || names.next().is_none()) {
                        return Ok(collected.missed);
                    }
                }
                // A job that was never submitted has no record to wait for.
                Err(error)
                    if ended.elapsed() > UNREACHABLE
                        || !(self.has_succeeded || gathered.session.is_some()) =>
                {
                    return Err(error.to_string());
                }
                Err(_) => {}
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What Ray says of the job, once its workers have had the time to tell it.
    fn account(
        &self,
        dashboard: &Dashboard,
        fragments: &[Fragment],
        ended: Instant,
    ) -> Result<Account, String> {
        std::thread::sleep(REPORTED.saturating_sub(ended.elapsed()));
        let home = compare::Home::new(fragments);
        let recorded = |task: &ListedTask| home.has(task);
        let account = dashboard.account(self.submission_id, &home.ray_jobs(), recorded);
        account.map_err(|error| error.to_string())
    }

    fn count(&self, fragments: &[Fragment]) -> usize {
        let is_task = |fragment: &&Fragment| fragment.task.kind != TaskKind::Worker;
        let tasks = fragments.iter().filter(is_task);
        tasks.map(|f| &f.task.id).collect::<BTreeSet<_>>().len()
    }

    /// The job, where neither a record nor Ray tells of it.
    fn unknown_job(&self) -> Job {
        let words: Vec<&[u8]> = self.args.command.iter().map(|w| w.as_bytes()).collect();
        Job {
            id: self.job.to_owned(),
            command: mask::arguments(&words),
            cwd: self.root.as_os_str().as_bytes().into(),
            root: self.root.as_os_str().as_bytes().into(),
            started_at: clock::wall(),
            ended_at: None,
            exit_code: None,
            signal: None,
            tracer: host::tracer(),
            git: None,
        }
    }
}
