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
use crate::ray::connection::Connection;
use crate::submitted::{self, Home};

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
    let Some(info) = dashboard.job(id).map_err(cannot)? else {
        let what = format!("there is no job {id} at {}", output::masked(&address));
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
    let place = Place::find(None)?;
    let store = match place.directory {
        Some(directory) => directory,
        None => project::create(&place.root)?.0,
    };
    let settings = config::load(Some(&store), &place.root)?;
    let sink = config::ray(&settings, &place.root).sink;
    let home = Home {
        root: &place.root.canonicalize().unwrap_or(place.root),
        store: &store,
        quiet: args.json,
        sink: sink.as_deref(),
        patience: match info.has_ended() {
            true => submitted::PATIENCE,
            false => Duration::ZERO,
        },
    };
    let collect = || dashboard.collect(&prefix, |_, _| false).map_err(cannot);
    let brought = submitted::bring_home(collect, &job, home)?;
    if args.json {
        output::json(&Document {
            schema: "roar.ray.fetch/1",
            submission_id: id,
            job: &job,
            status: &info.status,
            tasks: brought.tasks,
            missed: brought.missed,
        })?;
    } else if !info.has_ended() {
        eprintln!("roar: the job has not ended; fetch again when it has");
    }
    Ok(ExitCode::SUCCESS)
}
