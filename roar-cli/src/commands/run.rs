//! `roar run`: a command recorded in the project, with the tasks of a Ray that it starts;
//! or a Ray job submitted to a cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use roar_lineage::digest::Digest;
use roar_lineage::model::Git;
use roar_worker::host;

use roar_worker::{shim, stores};

use super::again;
use crate::cli::TraceArgs;
use crate::config;
use crate::error::UserError;
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
    let settings =
        config::load(directory.as_deref(), &root).map_err(UserError::before_the_start)?;
    let settings = config::ray(&settings, &root);
    let store = match args.store.clone().or(directory) {
        Some(store) => Ok(store),
        None => project::create(&root).map(|(directory, _)| directory),
    };
    if let Err(error) = &store {
        let what = format!("nothing is kept: {} ({})", error.what, error.why);
        tracing::warn(args.quiet, &what);
    }
    if settings.enabled
        && let Some(submission) = submit::parse(&args.command)
    {
        let store = store.as_deref().ok();
        return submitted::run(&args, &submission, &root, store, &settings);
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
    let git = git(&cwd);
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

/// The state of the working tree, where git knows one.
fn git(cwd: &Path) -> Option<Git> {
    cwd.ancestors()
        .find(|directory| directory.join(".git").exists())?;
    let ask = |arguments: &[&str]| {
        let asked = Command::new("git")
            .args(arguments)
            .current_dir(cwd)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(std::process::Stdio::null())
            .output();
        asked
            .ok()
            .filter(|output| output.status.success())
            .map(|output| output.stdout)
    };
    let line = |arguments: &[&str]| {
        let text = String::from_utf8(ask(arguments)?).ok()?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let commit = line(&["rev-parse", "--verify", "-q", "HEAD"]);
    let diff = ask(&["diff", "--no-ext-diff", "--no-textconv", "HEAD"]).unwrap_or_default();
    Some(Git {
        commit,
        branch: line(&["symbolic-ref", "-q", "--short", "HEAD"]),
        diff: (!diff.is_empty()).then(|| Digest::of(&diff)),
    })
}
