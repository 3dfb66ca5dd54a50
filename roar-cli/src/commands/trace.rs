//! `roar trace`: one command and its tree, and a report.

use std::process::ExitCode;

use roar_worker::host;

use crate::cli::TraceArgs;
use crate::error::UserError;
use crate::project;
use crate::tracing::Plan;

/// Does it.
pub fn main(args: TraceArgs) -> Result<ExitCode, UserError> {
    let cwd = project::working_directory().map_err(UserError::before_the_start)?;
    let root = args.root.clone().unwrap_or_else(|| project::root(&cwd));
    let store = args.store.clone().or_else(|| project::nearest(&cwd));
    Plan {
        job: host::unique_id(),
        args,
        cwd,
        root,
        store: Ok(store),
        environment: Vec::new(),
        git: None,
    }
    .run()
}
