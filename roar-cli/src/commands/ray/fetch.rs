//! `roar ray fetch`: a submitted job's record, collected after the fact.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::Duration;

use roar_lineage::model;
use roar_worker::side::JOB_VARIABLE;
use serde::Serialize;

use crate::cli::FetchArgs;
use crate::config;
use crate::error::UserError;
use crate::output;
use crate::project::{self, Place};
use crate::ray::collect::Dashboard;
use crate::ray::connection::Connection;
use crate::submitted::{self, Home, ID_PREFIX};

/// The status of a job that no cluster tells of.
const UNKNOWN: &str = "UNKNOWN";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    submission_id: &'a str,
    job: &'a str,
    status: &'a str,
    tasks: usize,
    missed: usize,
}

/// Does it.
pub(super) fn main(args: &FetchArgs) -> Result<ExitCode, UserError> {
    let connection = Connection {
        address: args.address.as_deref(),
        headers: args.headers.as_deref(),
        verify: args.verify.as_deref(),
    };
    let address = connection.resolve(OsStr::new("ray"));
    let cannot = |error| submitted::cannot_ask(&address, &error);
    let dashboard = connection.dashboard(&address).map_err(cannot)?;
    let id = &args.submission_id;
    let place = Place::find(None)?;
    let settings = config::load(place.directory.as_deref(), &place.root)?;
    let sink = config::ray(&settings, &place.root).sink;
    let asked = match (Asked::of(&dashboard, id, &address), Asked::gone(id)) {
        (Ok(asked), _) => asked,
        // The sink is there when the cluster is gone.
        (Err(_), Some(gone)) if sink.is_some() => gone,
        (Err(error), _) => return Err(error),
    };
    let store = match place.directory {
        Some(directory) => directory,
        None => project::create(&place.root)?.0,
    };
    let home = Home {
        root: &place.root.canonicalize().unwrap_or(place.root),
        store: Ok(&store),
        quiet: args.json,
        sink: sink.as_ref(),
        patience: match asked.is_over {
            true => submitted::PATIENCE,
            false => Duration::ZERO,
        },
    };
    let collect = || {
        let collected = dashboard.collect(&asked.prefix, |_, _| false);
        collected.map_err(cannot)
    };
    let brought = submitted::bring_home(collect, &asked.job, home)?;
    if args.json {
        output::json(&Document {
            schema: "roar.ray.fetch/1",
            submission_id: id,
            job: &asked.job,
            status: &asked.status,
            tasks: brought.tasks,
            missed: brought.missed,
        })?;
    } else if asked.is_running() {
        output::say("roar: the job has not ended; fetch again when it has");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the cluster says of the job.
struct Asked {
    /// What the names of its files begin with.
    prefix: String,
    job: String,
    status: String,
    /// Whether its record may still be completed.
    is_over: bool,
}

impl Asked {
    fn of(dashboard: &Dashboard, id: &str, address: &str) -> Result<Self, UserError> {
        let cannot = |error| submitted::cannot_ask(address, &error);
        let Some(info) = dashboard.job(id).map_err(cannot)? else {
            let what = format!("there is no job {id} at {}", output::masked(address));
            return Err(UserError::new(what, "the cluster does not know it")
                .hint("`ray job list` shows the cluster's jobs; --address names another cluster"));
        };
        // A job that was submitted by hand is named after its submission.
        let (prefix, job) = match info.variable(JOB_VARIABLE) {
            Some(job) => (job.to_owned(), job.to_owned()),
            None => {
                let session = dashboard.session().map_err(cannot)?;
                let job = format!("ray-{}", model::task_id(&session, id));
                ("ray-".to_owned(), job)
            }
        };
        Ok(Self {
            prefix,
            job,
            is_over: info.has_ended(),
            status: info.status,
        })
    }

    /// A job that no cluster knows any more; its id is in that of the submission.
    fn gone(id: &str) -> Option<Self> {
        let job = id.strip_prefix(ID_PREFIX)?.to_owned();
        Some(Self {
            prefix: job.clone(),
            job,
            status: UNKNOWN.to_owned(),
            is_over: false,
        })
    }

    fn is_running(&self) -> bool {
        !self.is_over && self.status != UNKNOWN
    }
}
