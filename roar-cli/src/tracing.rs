//! What `roar trace` and `roar run` share: from a command line to a traced command, its
//! report, and this process's own end.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use roar_lineage::document::{TraceReport, trace_report};
use roar_lineage::fragment::Fragment;
use roar_lineage::mask;
use roar_lineage::model::{self, GapKind, Git, Job, Status, Task, TaskKind};
use roar_lineage::store::Store;
use roar_worker::accelerator;
use roar_worker::backend::{Choice, PRELOAD, PTRACE};
use roar_worker::filter::IoUring;
use roar_worker::launcher::{self, Launch, LaunchError};
use roar_worker::meter;
use roar_worker::scope::{self, Hashing, Spec};
use roar_worker::sys::process;
use roar_worker::{clock, host};

use crate::cli::{self, Accel, Backend, TraceArgs};
use crate::error::UserError;
use crate::progress::Progress;
use crate::ray::client;
use crate::submitted::{self, Home};
use crate::{joined, output, summary};

/// A command to trace.
pub struct Plan {
    /// Id of its job.
    pub job: String,
    /// The options and the command.
    pub args: TraceArgs,
    /// The working directory.
    pub cwd: PathBuf,
    /// What counts as the project.
    pub root: PathBuf,
    /// The directory of the store, if there is to be one; else why there is none.
    pub store: Result<Option<PathBuf>, UserError>,
    /// Variables added to the command's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The state of version control.
    pub git: Option<Git>,
}

impl Plan {
    /// Runs the command, reports, and ends as the command ended.
    pub fn run(self) -> Result<ExitCode, UserError> {
        let Self {
            job,
            args,
            cwd,
            root,
            store,
            environment,
            git,
        } = self;
        let backend = match args.backend {
            Backend::Auto => Choice::Auto,
            Backend::Notify => Choice::Notify,
            Backend::Ptrace => Choice::Ptrace,
            Backend::Preload => Choice::Preload,
        };
        let accelerates = match args.backend {
            Backend::Auto | Backend::Notify => accelerator::exemption().map(|_| ()),
            Backend::Ptrace | Backend::Preload => Err("the backend is not notify".to_owned()),
        };
        if let (Accel::On, Err(why)) = (args.accel, accelerates) {
            let error = UserError::new("the accelerator cannot work here", why);
            let hint = "without --accel on, roar does without";
            return Err(error.hint(hint).before_the_start());
        }
        // The supervisor works from another directory.
        let (store, mut unkept) = match store {
            Ok(store) => (store.map(|store| cwd.join(store)), None),
            Err(error) => (None, Some(error)),
        };
        let root = root.canonicalize().unwrap_or_else(|_| cwd.join(root));
        let job_id = job.clone();
        let job = self::job(job, &args.command, &cwd, &root, git);
        let task = task(&job, &args.command);
        let began = Instant::now();
        let launch = Launch {
            command: args.command.clone(),
            environment,
            spec: Spec {
                observer: host::unique_id(),
                job,
                task,
                hashing: Hashing {
                    enabled: !args.no_hash,
                    limit: args.hash_limit,
                },
            },
            io_uring: match args.io_uring {
                cli::IoUring::Allow => IoUring::Allow,
                cli::IoUring::Refuse => IoUring::Refuse,
            },
            backend,
            accelerate: args.accel != Accel::Off,
            wait_for_tree: args.wait == cli::Wait::Tree,
            hashing: (!args.quiet).then(show_hashing),
            late: store.clone().map(|store| -> launcher::Late {
                Box::new(move |record| {
                    let mut fragments = fragments(record);
                    for fragment in &mut fragments {
                        let gaps = &mut fragment.coverage.gaps;
                        gaps.retain(|gap| gap.kind != GapKind::StillRunning);
                    }
                    let _ = keep(&store, &fragments);
                })
            }),
        };
        let ran = launcher::run(launch).map_err(|error| not_run(&args.command, &error))?;
        let mut fragments = fragments(&ran.record);
        if let Some(error) = store
            .as_deref()
            .and_then(|store| keep(store, &fragments).err())
        {
            warn(
                args.quiet,
                &format!("this run is not kept: {} ({})", error.what, error.why),
            );
            unkept = Some(error);
        }
        if let (Some(error), Some(first)) = (unkept, fragments.first_mut()) {
            first.coverage.add_gap(GapKind::Store, &error.why, 1);
        }
        let observed = fragments.first().map(|f| f.job.tracer.backend.as_str());
        if let (Backend::Auto, Some(by @ (PTRACE | PRELOAD))) = (args.backend, observed) {
            let what = format!("traced by {by} (no seccomp listener here: see `roar doctor`)");
            warn(args.quiet, &what);
        }
        report(&args, &fragments, &root, began);
        if !args.quiet && client::was_used(&fragments) {
            warn(false, "the tasks that went through ray:// were not traced");
            output::say("hint: `roar run ray job submit … -- CMD` traces them");
        }
        if let Some(store) = store.as_deref() {
            let home = Home {
                root: &root,
                store: Ok(store),
                quiet: args.quiet,
                sink: None,
                patience: submitted::PATIENCE,
            };
            joined::bring_home(&fragments, &job_id, home);
        }
        Ok(end_by(ran.wait_status))
    }
}

/// Shows how far hashing is, once it takes long.
fn show_hashing() -> Box<dyn FnMut(Option<meter::Hashing>)> {
    let mut progress = None;
    Box::new(move |hashing| match hashing {
        Some(hashing) => progress.get_or_insert_with(Progress::begin).at(|| {
            let percent = hashing
                .bytes
                .saturating_mul(100)
                .checked_div(hashing.of_bytes);
            format!(
                "hashed {} of {} files, {} % of their bytes (Ctrl-C leaves the rest)",
                hashing.files,
                hashing.of_files,
                percent.unwrap_or(0).min(100),
            )
        }),
        None => {
            if let Some(progress) = &progress {
                progress.end();
            }
        }
    })
}

/// A job that begins now.
pub fn job(id: String, command: &[OsString], cwd: &Path, root: &Path, git: Option<Git>) -> Job {
    let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    Job {
        id,
        command: mask::arguments(&words),
        cwd: cwd.as_os_str().as_bytes().into(),
        root: root.as_os_str().as_bytes().into(),
        started_at: clock::wall(),
        ended_at: None,
        exit_code: None,
        signal: None,
        tracer: host::tracer(),
        git,
    }
}

fn task(job: &Job, command: &[OsString]) -> Task {
    let name = command
        .first()
        .map_or(&b""[..], |word| scope::base_name(word.as_bytes()));
    Task {
        id: model::task_id(&job.id, "command"),
        parent: None,
        kind: TaskKind::Command,
        name: name.into(),
        status: Status::Running,
        status_detail: None,
        exit_code: None,
        signal: None,
        started_at: job.started_at,
        ended_at: None,
        started: clock::stamp(),
        ended: None,
        host: host::name(),
        boot: host::boot(),
        pid: None,
        ray: None,
    }
}

fn fragments(record: &roar_worker::task_log::Recorder) -> Vec<Fragment> {
    record.state.fragments(record.revision)
}

/// Merges fragments into the store of a directory, which is made if it is not there.
pub fn keep(directory: &Path, fragments: &[Fragment]) -> Result<(), UserError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|error| UserError::new(format!("cannot make {}", directory.display()), error))?;
    Store::open(directory)?.merge(fragments)?;
    Ok(())
}

fn report(args: &TraceArgs, fragments: &[Fragment], root: &Path, began: Instant) {
    if fragments.is_empty() {
        return;
    }
    if !args.quiet {
        let text = summary::of(fragments, args, root, began.elapsed());
        output::say(text.trim_end_matches('\n'));
    }
    write_report(args, fragments);
}

/// Writes the report that `--json` asks for.
pub fn write_report(args: &TraceArgs, fragments: &[Fragment]) {
    let Some(file) = &args.json else { return };
    let document = trace_report(fragments, args.all);
    let Some(document) = document.filter(|document| !document.tasks.is_empty()) else {
        warn(
            args.quiet,
            "the report is not written: no task was recorded",
        );
        return;
    };
    if let Err(error) = write(file, &document) {
        warn(
            args.quiet,
            &format!("the report is not written: {} ({})", error.what, error.why),
        );
    }
}

fn write(file: &Path, document: &TraceReport) -> Result<(), UserError> {
    let text = serde_json::to_vec_pretty(document);
    let mut text = text.map_err(|error| UserError::new("cannot tell the report", error))?;
    text.push(b'\n');
    output::file(file, &text)
}

/// One line on stderr, unless the user wants quiet.
pub fn warn(quiet: bool, what: &str) {
    if !quiet {
        output::say(format_args!("roar: warning: {what}"));
    }
}

/// Why a command was not run, with the exit status that shells give.
pub fn not_run(command: &[OsString], error: &LaunchError) -> UserError {
    let name = command
        .first()
        .map(|word| word.display().to_string())
        .unwrap_or_default();
    let code = match error {
        LaunchError::NotExecuted(libc_enoent) if *libc_enoent == 2 => 127,
        LaunchError::NotExecuted(_) => 126,
        LaunchError::Setup(..) => 125,
    };
    let why = match (code, error) {
        (127, _) => "no such command".to_owned(),
        (_, LaunchError::NotExecuted(errno)) => {
            let text = std::io::Error::from_raw_os_error(*errno).to_string();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase()
        }
        _ => error.to_string(),
    };
    UserError {
        code,
        ..UserError::new(format!("cannot run {name}"), why)
    }
}

/// Ends with the exit status, or by the signal, of a wait status.
pub fn end_by(wait_status: i32) -> ExitCode {
    match scope::status_of(wait_status) {
        (_, _, Some(signal)) => process::die_by(signal),
        (_, code, _) => ExitCode::from(u8::try_from(code.unwrap_or(0)).unwrap_or(1)),
    }
}
