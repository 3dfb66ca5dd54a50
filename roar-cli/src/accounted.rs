//! What came home of a submitted job, compared with what Ray says of it: what was not
//! traced or is lost becomes a gap with its cause, and statuses are Ray's where it knows
//! more.

use std::cell::Cell;
use std::time::{Duration, Instant};

use roar_lineage::document::joined_coverage;
use roar_lineage::join;
use roar_lineage::model::{Gap, GapKind, Job};

use crate::cli::TraceArgs;
use crate::commands::merge;
use crate::error::UserError;
use crate::ray::collect::Dashboard;
use crate::ray::compare;
use crate::ray::gather::{self, Gathered};
use crate::ray::state::{Account, ListedTask};
use crate::submitted::{self, Home, PAUSE};
use crate::{output, sink, tracing};

/// How long a dashboard may be silent after the job's end.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// Workers tell Ray of their tasks once a second: its list is whole this long after the end.
const REPORTED: Duration = Duration::from_millis(1500);

/// A submitted job that has ended, and where it is to be brought.
pub struct Submitted<'a> {
    /// The options of roar.
    pub args: &'a TraceArgs,
    /// As it was given; the names of its files begin with its id.
    pub job: &'a Job,
    /// Ray's id of it.
    pub submission_id: &'a str,
    /// Where it is to be brought.
    pub home: Home<'a>,
    /// Of Ray's command; none where a signal ended it.
    pub exit_code: Option<i32>,
    /// Whether the report was made.
    pub is_reported: &'a Cell<bool>,
}

impl Submitted<'_> {
    /// Whether Ray's command did.
    pub fn has_succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// Takes into the store what came home, and what Ray says of the job.
    pub fn bring_home(
        &self,
        dashboard: &Dashboard,
        mut gathered: Gathered,
    ) -> Result<(), UserError> {
        let ended = Instant::now();
        let mut gaps = Vec::new();
        let collected = self.collect(dashboard, &mut gathered, ended);
        // The sink is there when the cluster is gone.
        if let Some(place) = self.home.sink {
            gathered.add(sink::files_of_job(place, &self.job.id, self.home.quiet));
        }
        let (mut fragments, damaged) = gathered.fragments();
        for fragment in &mut fragments {
            merge::reclassify(fragment, self.home.root);
        }
        let home = compare::Home::new(&fragments);
        let account = match collected {
            Ok(missed) => {
                let missed = missed
                    .into_iter()
                    .map(|why| format!("a record was not to be had: {why}"));
                gaps.extend(missed.map(|detail| (GapKind::LostRecords, detail)));
                self.account(dashboard, &home, ended)
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
                return Err(submitted::cannot_ask(dashboard.address(), why));
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
        let recorded = join::jobs(fragments.iter().map(|fragment| &fragment.job));
        let job = match recorded {
            // Whoever began first says what the job is, and clocks differ.
            Some(recorded) => {
                let started_at = self.job.started_at.min(recorded.started_at - 1);
                let given = self.job.clone();
                join::job(
                    Job {
                        started_at,
                        ..given
                    },
                    &recorded,
                )
            }
            None => compare::as_given(&account, self.job.clone(), self.exit_code),
        };
        for node in compare::lost_nodes(&home, &account) {
            let detail = format!("lost node {node}: what it recorded last is gone");
            gaps.push((GapKind::LostRecords, detail));
        }
        let mut rays = compare::with_ray(&job, &home, &gathered, &account);
        rays.push(compare::with_gaps(&job, &gaps));
        let recorded = submitted::count_tasks(&fragments);
        fragments.extend(rays);
        let newest = join::newest(&fragments);
        let mut missing = joined_coverage(newest.iter().map(|f| &f.coverage)).gaps;
        missing.retain(|gap| gap.kind.hides_files());
        let kept = self.home.keep(&fragments);
        if let (Err(error), Some(last)) = (&kept, fragments.last_mut()) {
            last.coverage.add_gap(GapKind::Store, &error.why, 1);
        }
        tracing::write_report(self.args, &fragments);
        self.is_reported.set(true);
        if self.home.store.is_err() {
            return Ok(());
        }
        kept?;
        if !self.home.quiet {
            match recorded {
                0 => output::say("roar: nothing was recorded of the job"),
                _ => output::say(format_args!(
                    "roar: {recorded} tasks recorded; `roar dag` shows them"
                )),
            }
            let gap = |gap: &Gap| {
                format!(
                    "{} ({})",
                    output::one_line(gap.detail.as_bytes()),
                    gap.count
                )
            };
            let list: Vec<String> = missing.iter().map(gap).collect();
            if !list.is_empty() {
                output::say(format_args!(
                    "roar: the record is not complete: {}",
                    list.join("; ")
                ));
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
            let is_late = ended.elapsed() > self.home.patience;
            match gathered.collect(dashboard, &self.job.id) {
                Ok(collected) => {
                    let mut names = collected.listed.values().flatten();
                    let is_open = names.clone().any(|name| gather::is_log(name));
                    let is_awaited =
                        is_open || names.next().is_none() && !self.is_unbegun(dashboard);
                    if is_late || !is_awaited {
                        return Ok(collected.missed);
                    }
                }
                // A job that was never submitted has no record to wait for.
                Err(error)
                    if ended.elapsed() > UNREACHABLE
                        || !(self.has_succeeded() || gathered.session.is_some()) =>
                {
                    return Err(error.to_string());
                }
                Err(_) => {}
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether Ray could not begin the job: then there is nothing to wait for.
    fn is_unbegun(&self, dashboard: &Dashboard) -> bool {
        let info = dashboard.job(self.submission_id).ok().flatten();
        info.is_some_and(|info| info.failed_unbegun())
    }

    /// What Ray says of the job, once its workers have had the time to tell it.
    fn account(
        &self,
        dashboard: &Dashboard,
        home: &compare::Home<'_>,
        ended: Instant,
    ) -> Result<Account, String> {
        std::thread::sleep(REPORTED.saturating_sub(ended.elapsed()));
        let recorded = |task: &ListedTask| home.has(task);
        let account = dashboard.account(self.submission_id, &home.ray_jobs(), recorded);
        account.map_err(|error| error.to_string())
    }
}
