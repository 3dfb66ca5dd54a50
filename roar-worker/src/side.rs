//! `roar-worker`: a program that keeps its process id, and a supervisor beside it.
//!
//! ```text
//! raylet
//!   └── roar-worker, which becomes python default_worker.py …, under the filter
//! supervisor (double-forked, in a session of its own)
//!   └── guardian
//! ```
//!
//! Ray kills workers without warning and counts their memory by process id, so the
//! supervisor is not their child, and completes the record after their end. Whatever
//! fails here, the program is executed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use roar_lineage::model::{Job, Status, Task, TaskKind};

use crate::accelerator;
use crate::filter::{Exemption, IoUring};
use crate::launch::{self, Program, Start};
use crate::scope::{self, Hashing, Scope, Spec};
use crate::seal::Sealer;
use crate::sink::{Place, SINK_VARIABLE, Sink};
use crate::supervisor::{Supervisor, Turn};
use crate::supervisor_process::settle_down;
use crate::sys::process::{self, Fork};
use crate::sys::socket;
use crate::task_log::{Recorder, TaskLog};
use crate::{host, ray, stores};

/// Job id given to the workers of a job that `roar run` submitted.
pub const JOB_VARIABLE: &str = "ROAR_JOB";
/// Root of the project that the job belongs to.
pub const ROOT_VARIABLE: &str = "ROAR_ROOT";
/// Where fragments go when the program is not a Ray worker.
pub const FRAGMENTS_VARIABLE: &str = "ROAR_FRAGMENTS";

/// Whose record it is.
#[derive(Default)]
struct Owner {
    job: Option<Vec<u8>>,
    root: Option<Vec<u8>>,
}

impl Owner {
    /// From the variables, and from `--job=ID --root=DIR` before the command, which win;
    /// and the command.
    fn of(arguments: &[OsString]) -> (Self, &[OsString]) {
        let variable = |name: &str| std::env::var_os(name).map(OsString::into_vec);
        let mut owner = Self {
            job: variable(JOB_VARIABLE),
            root: variable(ROOT_VARIABLE),
        };
        let mut rest = arguments;
        while let [word, after @ ..] = rest {
            let word = word.as_bytes();
            match (word.strip_prefix(b"--job="), word.strip_prefix(b"--root=")) {
                (Some(job), _) => owner.job = Some(job.to_vec()),
                (_, Some(root)) => owner.root = Some(root.to_vec()),
                _ if word == b"--" => return (owner, after),
                _ => break,
            }
            rest = after;
        }
        (owner, rest)
    }
}

/// Runs `roar-worker [--job=ID] [--root=DIR] [--] COMMAND…`; only returns when the
/// command cannot be executed.
pub fn main(arguments: &[OsString]) -> io::Error {
    let (owner, command) = Owner::of(arguments);
    let worker = ray::Worker::of(command);
    let command = worker
        .as_ref()
        .map_or(command.to_vec(), ray::Worker::command);
    let directory = match &worker {
        Some(worker) => worker.fragments(),
        None => own_fragments(),
    };
    let environment: Vec<_> = worker
        .as_ref()
        .and_then(|worker| worker.environment(&directory))
        .into_iter()
        .chain(stores::key_log())
        .collect();
    let program = match Program::new(&command, &environment) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let spec = spec(&command, worker.is_some(), owner);
    if let Err(error) = trace(spec, &directory) {
        note(&directory, &error);
    }
    process::restore_signals();
    process::restore_closed_descriptors();
    program.execute()
}

/// Puts this process under a filter, with a supervisor beside it. The caller executes
/// the program, traced or not.
fn trace(spec: Spec, directory: &Path) -> io::Result<()> {
    let worker = std::process::id();
    let exemption = accelerator::exemption().ok();
    let (ours, theirs) = socket::pair()?;
    let Fork::Parent(between) = process::fork()? else {
        drop(ours);
        let _ = nix::unistd::setsid();
        if let Ok(Fork::Child) = process::fork() {
            supervise(spec, directory, (worker, exemption), &theirs);
        }
        process::exit_now(0)
    };
    drop(theirs);
    let _ = nix::sys::wait::waitpid(Pid::from_raw(between), None);
    let mut word = [0; 4];
    match socket::receive(ours.as_fd(), &mut word)? {
        Some((4, _)) => {
            // Fails where there is no Yama, and is not needed there.
            let _ = process::allow_reader(i32::from_le_bytes(word));
        }
        _ => return Err(io::Error::other("the supervisor did not start")),
    }
    let installed = launch::install(IoUring::Allow, exemption);
    let failed = installed.as_ref().err().and_then(io::Error::raw_os_error);
    launch::say_and_wait(installed, ours.as_fd());
    match failed {
        // Inside another roar, which sees everything already.
        None | Some(libc::EBUSY) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn supervise(
    mut spec: Spec,
    directory: &Path,
    (worker, exemption): (u32, Option<Exemption>),
    other: &OwnedFd,
) -> ! {
    settle_down();
    let pid = std::process::id().to_le_bytes();
    if socket::send(other.as_fd(), &pid, None).is_err() {
        process::exit_now(1);
    }
    let Start::Filtered(listener) = launch::next_word(other.as_fd()) else {
        launch::let_go(other.as_fd());
        process::exit_now(0)
    };
    process::detach_descriptors(&[listener.as_raw_fd(), other.as_raw_fd()]);
    let _ = nix::unistd::chdir(c"/");
    // From here on somebody must answer, whether anything can be recorded or not.
    let Ok(mut supervisor) = Supervisor::new(listener, true, exemption) else {
        process::exit_now(1)
    };
    spec.job.tracer.accel = supervisor.accelerator.is_some();
    let mut opened = Sealer::new(directory, &spec.observer);
    if let (Ok((sealer, _)), Some(sink)) = (&mut opened, sink()) {
        sealer.mirror(sink);
    }
    let recorder = match &opened {
        Ok((_, log)) => log
            .try_clone()
            .map(|log| Recorder::with_log(TaskLog::begin(log))),
        Err(_) => Ok(Recorder::default()),
    };
    supervisor.add_scope(Scope::begin(recorder.unwrap_or_default(), &spec));
    launch::let_go(other.as_fd());
    watch(supervisor, opened.ok(), worker)
}

fn watch(mut supervisor: Supervisor, sealer: Option<(Sealer, File)>, worker: u32) -> ! {
    let mut sealer = sealer.map(|(sealer, _)| sealer);
    loop {
        for turn in supervisor.turn() {
            match turn {
                Turn::Ended(pid, wait_status) if pid == worker => {
                    end(&mut supervisor, wait_status);
                }
                Turn::TreeEmpty => {
                    for turn in supervisor.end_all() {
                        if let Turn::Ended(pid, wait_status) = turn
                            && pid == worker
                        {
                            end(&mut supervisor, wait_status);
                        }
                    }
                    end(&mut supervisor, None);
                    supervisor.finish(0);
                }
                Turn::Done(0) => {
                    if let (Some(mut sealer), Some(scope)) = (sealer, supervisor.scopes.first())
                        && sealer.seal(scope, true).is_ok()
                    {
                        let _ = sealer.close();
                    }
                    supervisor.pool.close();
                    process::exit_now(0)
                }
                _ => {}
            }
        }
        if let (Some(sealer), Some(scope)) = (&mut sealer, supervisor.scopes.first()) {
            let _ = sealer.seal(scope, false);
        }
    }
}

/// The worker ended. Ray ends its workers with status 1 as a matter of course.
fn end(supervisor: &mut Supervisor, wait_status: Option<i32>) {
    let Some(scope) = supervisor.scopes.first_mut() else {
        return;
    };
    let is_running = scope
        .recorder
        .state
        .task(0)
        .is_some_and(|task| task.status == Status::Running);
    if !is_running {
        return;
    }
    let (status, exit_code, signal) =
        wait_status.map_or((Status::Unknown, None, None), scope::status_of);
    scope.end_task(0, status, None, (exit_code, signal), scope::now());
}

fn spec(command: &[OsString], is_ray: bool, owner: Owner) -> Spec {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let cwd = cwd.into_os_string().into_vec();
    let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    let (started_at, started) = scope::now();
    let job_id = match owner.job {
        Some(id) => String::from_utf8_lossy(&id).into_owned(),
        // A Ray job is named when its first task tells which one it is.
        None if is_ray => String::new(),
        None => host::unique_id(),
    };
    // The name of its files begins with the job's, so that the job's can be found.
    let observer = format!(
        "{}-{}",
        if job_id.is_empty() { "ray" } else { &job_id },
        host::unique_id()
    );
    let name = words
        .first()
        .map_or(&b""[..], |word| scope::base_name(word));
    let task = Task {
        id: roar_lineage::model::task_id(&job_id, &format!("worker/{observer}")),
        parent: None,
        kind: if is_ray {
            TaskKind::Worker
        } else {
            TaskKind::Command
        },
        name: name.into(),
        status: Status::Running,
        status_detail: None,
        exit_code: None,
        signal: None,
        started_at,
        ended_at: None,
        started,
        ended: None,
        host: host::name(),
        boot: host::boot(),
        pid: Some(std::process::id()),
        ray: None,
    };
    let job = Job {
        id: job_id,
        command: if is_ray {
            Vec::new()
        } else {
            roar_lineage::mask::arguments(&words)
        },
        root: owner.root.unwrap_or_else(|| cwd.clone()).into(),
        cwd: cwd.into(),
        started_at,
        ended_at: None,
        exit_code: None,
        signal: None,
        tracer: host::tracer(),
        git: None,
    };
    Spec {
        observer,
        job,
        task,
        hashing: Hashing {
            enabled: true,
            limit: None,
        },
    }
}

/// Where fragments of a program go that is no Ray worker: the named directory, the
/// nearest `.roar`, or a temporary directory of the user's.
fn own_fragments() -> PathBuf {
    if let Some(named) = std::env::var_os(FRAGMENTS_VARIABLE) {
        return named.into();
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    let project = cwd
        .ancestors()
        .map(|dir| dir.join(".roar"))
        .find(|dir| dir.is_dir());
    project.map_or_else(
        || {
            std::env::temp_dir()
                .join(format!("roar-{}", nix::unistd::geteuid()))
                .join("fragments")
        },
        |project| project.join("fragments"),
    )
}

/// Where fragments are to be kept too.
fn sink() -> Option<Box<dyn Sink>> {
    let place = Place::parse(&std::env::var_os(SINK_VARIABLE)?).ok()?;
    let is_elsewhere = matches!(&place, Place::Directory(path) if path.is_relative());
    place.open().ok().filter(|_| !is_elsewhere)
}

/// Leaves a line where somebody who misses a record will look; never on the program's
/// own streams.
fn note(directory: &Path, error: &io::Error) {
    let _ = std::fs::create_dir_all(directory);
    let name = OsStr::from_bytes(b"roar-worker.err");
    let _ = std::fs::write(
        directory.join(name),
        format!("roar-worker: not traced: {error}\n"),
    );
}
