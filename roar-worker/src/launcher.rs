//! The process that the user started: it waits, forwards signals, and ends as its
//! command ended.
//!
//! ```text
//! launcher (this one: subreaper)
//!   └── supervisor (subreaper, in a process group of its own)
//!         ├── guardian
//!         └── the command, in the launcher's process group
//! ```
//!
//! The supervisor is the command's ancestor so that it may read its memory under Yama.
//! When the supervisor dies, the command becomes the launcher's child, and the launcher
//! completes the record from the log.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use roar_lineage::event::{Event, ProcessKey};
use roar_lineage::model::GapKind;

use crate::backend::Choice;
use crate::filter::IoUring;
use crate::forward::{Forwarder, all_but_faults};
use crate::inner::Outer;
use crate::launch::{self, Program, Start};
use crate::meter::{Hashing, Meter};
use crate::pulse::Pulse;
use crate::scope::{self, Spec};
use crate::supervisor_process;
use crate::sys::process::{self, Fork};
use crate::sys::{mapping, socket};
use crate::task_log::{self, Recorder};
use crate::wait::{Ended, Wait, wait_alone, wait_with_supervisor};

/// Takes a record that was completed without the launcher, in the background or after it was
/// killed: nothing runs any more.
pub type Late = Box<dyn FnOnce(&Recorder)>;

/// How to trace a command.
pub struct Launch {
    /// The command line.
    pub command: Vec<OsString>,
    /// Variables added to its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it is.
    pub spec: Spec,
    /// What becomes of io_uring.
    pub io_uring: IoUring,
    /// How it is observed.
    pub backend: Choice,
    /// Whether programs may load the accelerator.
    pub accelerate: bool,
    /// Whether to wait for the whole tree, not the command alone.
    pub wait_for_tree: bool,
    /// Called now and then while what the command has used is being hashed and somebody
    /// waits for it, and at last with nothing.
    pub hashing: Option<Box<dyn FnMut(Option<Hashing>)>>,
    /// Called in the background with the complete record when processes went on after
    /// the command had ended.
    pub late: Option<Late>,
}

/// A command that was run.
pub struct Ran {
    /// Its wait status.
    pub wait_status: i32,
    /// What was observed.
    pub record: Recorder,
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The command could not be executed.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    NotExecuted(i32),
    /// roar could not do its part.
    #[error("{0}: {1}")]
    Setup(&'static str, io::Error),
}

/// Runs a command to its end.
pub fn run(launch: Launch) -> Result<Ran, LaunchError> {
    process::hear_of_children();
    let setup = |what| move |error: io::Error| LaunchError::Setup(what, error);
    let log = File::from(mapping::memory_file(c"roar-log", 0).map_err(setup("memfd_create"))?);
    let program =
        Program::new(&launch.command, &launch.environment).map_err(setup("command line"))?;
    let original = SigSet::thread_get_mask().map_err(|e| setup("sigprocmask")(e.into()))?;
    let hashing = launch.spec.hashing;
    let spec = launch.spec.clone();
    let outer = match launch.backend {
        Choice::Auto | Choice::Notify => Outer::find(),
        Choice::Ptrace | Choice::Preload => None,
    };
    // One above that understands nothing does no harm: this one is then on its own.
    let mut ended = match outer.filter(|outer| outer.begin(&launch.spec, &log).is_ok()) {
        Some(outer) => run_inside(&outer, &program, &original)?,
        None => run_outermost(launch, &program, &original, &log)?,
    };
    let logged = task_log::read(&log).map_err(setup("read the log"))?;
    let begun = logged.filter(|record| record.state.job().is_some());
    if begun.is_none() {
        let detail = "the log could not be read".to_owned();
        ended.gap = ended.gap.or(Some((GapKind::LostRecords, detail)));
    }
    let mut record =
        begun.unwrap_or_else(|| scope::Scope::begin(Recorder::default(), &spec).recorder);
    if let Some((kind, detail)) = ended.gap {
        if !record.state.has_processes() {
            record_command(&mut record, &spec, ended.command, ended.wait_status);
        }
        let task = 0;
        record.record(&Event::Gap {
            task,
            kind,
            detail,
            count: 1,
        });
        let (status, exit_code, signal) = scope::status_of(ended.wait_status);
        let (at, stamp) = scope::now();
        let (no, detail) = (0, None);
        record.record(&Event::TaskEnded {
            no,
            status,
            detail,
            exit_code,
            signal,
            at,
            stamp,
        });
        scope::finish_alone(&mut record, hashing, false);
    }
    Ok(Ran {
        wait_status: ended.wait_status,
        record,
    })
}

fn run_outermost(
    mut launch: Launch,
    program: &Program,
    original: &SigSet,
    log: &File,
) -> Result<Ended, LaunchError> {
    let setup = |what| move |error: io::Error| LaunchError::Setup(what, error);
    let _ = process::become_subreaper();
    let (ours, theirs) = socket::pair().map_err(setup("socketpair"))?;
    let signals = Forwarder::new().map_err(setup("signalfd"))?;
    let log = log.try_clone().map_err(setup("dup"))?;
    let meter = Meter::new().ok();
    let pulse = Pulse::new().map_err(setup("mmap"))?;
    let supervisor = match process::fork().map_err(setup("fork"))? {
        Fork::Child => {
            drop((ours, signals));
            supervisor_process::main(launch, program, original, log, theirs, (meter, pulse))
        }
        Fork::Parent(pid) => Pid::from_raw(pid),
    };
    drop(theirs);
    supervisor_process::lift_limits();
    let mut wait = Wait {
        meter,
        tell: launch.hashing.take(),
    };
    let ended = wait_with_supervisor(&ours, &signals, (supervisor, &pulse), &mut wait);
    wait.tell(None);
    ended
}

/// Records the command as a process, where nobody saw it run.
fn record_command(record: &mut Recorder, spec: &Spec, command: Option<Pid>, wait_status: i32) {
    let (_, exit_code, signal) = scope::status_of(wait_status);
    let key = ProcessKey {
        pid: command.map_or(0, |pid| pid.as_raw().cast_unsigned()),
        start_ticks: 0,
    };
    record.record(&Event::Process {
        key,
        ppid: std::process::id(),
        task: 0,
        exe: None,
        argv: spec.job.command.clone(),
        at: spec.job.started_at,
    });
    let (at, _) = scope::now();
    record.record(&Event::ProcessEnded {
        key,
        exit_code,
        signal,
        at,
    });
}

/// Traces a command under the supervisor above.
fn run_inside(outer: &Outer, program: &Program, original: &SigSet) -> Result<Ended, LaunchError> {
    let wait_status = run_and_wait(program, original)?;
    let gap = outer.end(wait_status).err().map(|_| {
        (
            GapKind::SupervisorDied,
            "the supervisor above ended before the command".to_owned(),
        )
    });
    Ok(Ended {
        command: None,
        wait_status,
        gap,
    })
}

/// Starts a thread that works beside a command: no signal is delivered to it.
pub fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<std::thread::JoinHandle<T>> {
    let original = SigSet::thread_get_mask()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all_but_faults()), None)?;
    let started = std::thread::Builder::new().spawn(work);
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&original), None);
    started
}

/// Runs a command as this process's child, untraced; gives its wait status.
pub fn run_untraced(command: &[OsString]) -> Result<i32, LaunchError> {
    process::hear_of_children();
    let setup = |what| move |error: io::Error| LaunchError::Setup(what, error);
    let program = Program::new(command, &[]).map_err(setup("command line"))?;
    let original = SigSet::thread_get_mask().map_err(|e| setup("sigprocmask")(e.into()))?;
    let wait_status = run_and_wait(&program, &original)?;
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&original), None);
    Ok(wait_status)
}

fn run_and_wait(program: &Program, original: &SigSet) -> Result<i32, LaunchError> {
    let setup = |what| move |error: io::Error| LaunchError::Setup(what, error);
    let (ours, theirs) = socket::pair().map_err(setup("socketpair"))?;
    let signals = Forwarder::new().map_err(setup("signalfd"))?;
    let command = match process::fork().map_err(setup("fork"))? {
        Fork::Child => {
            drop(ours);
            process::restore_signals();
            process::restore_closed_descriptors();
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(original), None);
            let error = program.execute();
            launch::say_not_executed(theirs.as_fd(), &error);
            process::exit_now(127)
        }
        Fork::Parent(pid) => Pid::from_raw(pid),
    };
    drop(theirs);
    if let Start::NotExecuted(errno) = launch::next_word(ours.as_fd()) {
        let _ = waitpid(command, None);
        return Err(LaunchError::NotExecuted(errno));
    }
    Ok(wait_alone(command, &signals))
}
