//! `roar log`: the history, newest job first.

use std::process::ExitCode;

use roar_lineage::query::LogEntry;

use crate::cli::QueryArgs;
use crate::error::UserError;
use crate::{output, project};

/// Does it.
pub fn main(args: &QueryArgs) -> Result<ExitCode, UserError> {
    let log = project::open(false)?.graph.log();
    if args.json {
        output::json(&log)?;
    } else if log.jobs.is_empty() {
        output::write("no jobs yet\n")?;
    } else {
        output::write(&log.jobs.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One job on one line of at most 80 columns.
pub fn line(job: &LogEntry) -> String {
    let end = match (job.exit_code, job.signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(0), None) => "ok".to_owned(),
        (Some(code), None) => format!("exit {code}"),
        (None, None) => "no end".to_owned(),
    };
    let steps = match job.steps.as_slice() {
        [] => "-".to_owned(),
        [one] => format!("@{one}"),
        [first, .., last] => format!("@{first}…@{last}"),
    };
    let start: String = job.started_at.chars().take(19).collect();
    let command = output::command(job.command.items());
    let line = format!("{start}Z  {end:<9} {steps:<9} {command}");
    format!("{}\n", output::cut(&line, 80))
}
