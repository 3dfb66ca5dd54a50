//! `roar run`: a command recorded in the project, with the tasks of a Ray that it starts;
//! or a Ray job submitted to a cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use roar_worker::{host, shim, stores};

use super::again;
use crate::cli::TraceArgs;
use crate::config;
use crate::error::UserError;
use crate::git;
use crate::output;
use crate::project::{self, Place};
use crate::ray::{local, submit};
use crate::submitted;
use crate::tracing::{self, Plan};

/// Does it.
pub fn main(mut args: TraceArgs) -> Result<ExitCode, UserError> {
    let project::Place {
        mut root,
        directory,
        mut cwd,
    } = Place::find(args.root.as_deref()).map_err(UserError::before_the_start)?;
    if let Some(step) = step(&args.command) {
        let own = [args.json.as_mut(), args.store.as_mut(), Some(&mut root)];
        for path in own
            .into_iter()
            .flatten()
            .filter(|path| path.as_os_str() != "-")
        {
            *path = cwd.join(&path);
        }
        let again = again::command(step).map_err(UserError::before_the_start)?;
        if !args.quiet {
            output::say(again.line());
        }
        (args.command, cwd) = (again.command, again.cwd);
    }
    let mut unread = None;
    let settings = config::load_readable(directory.as_deref(), &root, |error| {
        unread = Some(error);
        Ok(())
    });
    let settings = config::ray(&settings.map_err(UserError::before_the_start)?, &root);
    let submission = submit::parse(&args.command).filter(|_| settings.enabled);
    if let Some(submission) = &submission {
        submitted::can_report(&args, submission, &settings)?;
    }
    let store = match (args.store.clone(), directory) {
        (Some(store), _) => Ok(store),
        (None, Some(directory)) => project::has_store(&directory).map(|_| directory),
        (None, None) => project::create(&root).map(|(directory, _)| directory),
    };
    let trouble = match (&store, &unread) {
        (Err(error), _) => Some(("nothing is kept", error)),
        (Ok(_), Some(error)) => Some(("these settings do not count", error)),
        (Ok(_), None) => None,
    };
    if let Some((what, error)) = trouble {
        let what = format!("{what}: {} ({})", error.what, error.why);
        tracing::warn(args.quiet, &what);
    }
    if let Some(submission) = submission {
        let store = store.as_deref();
        return submitted::run(&args, &submission, (&cwd, &root), store, &settings);
    }
    let job = host::unique_id();
    let mut environment = worker_launcher()
        .filter(|_| settings.enabled)
        .and_then(|launcher| local::executable(&launcher, &job, &absolute(&root)))
        .map(|executable| {
            let shim = store.as_deref().ok().and_then(shim::install);
            local::environment(&executable, shim.as_deref(), |name| std::env::var_os(name))
        })
        .unwrap_or_default();
    environment.extend(stores::key_log());
    let git = git::state(&cwd);
    Plan {
        job,
        args,
        cwd,
        root,
        store: store.map(Some),
        environment,
        git,
    }
    .run()
}

/// The step that is to be run again: `@5` alone.
fn step(command: &[OsString]) -> Option<usize> {
    let [word] = command else {
        return None;
    };
    word.to_str()?.strip_prefix('@')?.parse().ok()
}

fn absolute(root: &Path) -> PathBuf {
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}

/// `roar-worker`, which is installed beside this program.
pub fn worker_launcher() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("roar-worker");
    beside.is_file().then_some(beside)
}
