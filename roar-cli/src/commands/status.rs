//! `roar status`: the session at a glance.

use std::process::ExitCode;

use super::log;
use crate::cli::QueryArgs;
use crate::error::UserError;
use crate::{output, project};

/// Does it.
pub fn main(args: &QueryArgs) -> Result<ExitCode, UserError> {
    let status = project::open(false)?.graph.status();
    if args.json {
        output::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let complete = if status.coverage.complete {
        "complete"
    } else {
        "with gaps: see roar dag"
    };
    let mut text = format!(
        "session {} since {}\n{}, {} ({} failed), {}; {complete}\n",
        status.session,
        status.started_at,
        output::count(status.jobs, "job"),
        output::count(status.tasks, "task"),
        status.failed,
        output::count(status.edges, "edge"),
    );
    if let Some(last) = &status.last {
        text.push_str("last: ");
        text.push_str(&log::line(last));
    }
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
