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
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use roar_lineage::event::{Event, ProcessKey};
use roar_lineage::model::GapKind;
use serde::{Deserialize, Serialize};

use crate::backend::Choice;
use crate::filter::IoUring;
use crate::forward::{Forwarder, all_but_faults};
use crate::inner::Outer;
use crate::launch::{self, Program, Start};
use crate::meter::{Hashing, Meter};
use crate::proc;
use crate::pulse::Pulse;
use crate::scope::{self, Spec};
use crate::supervisor_process;
use crate::sys::process::{self, Fork};
use crate::sys::{mapping, socket};
use crate::task_log::{self, Recorder};

/// What the supervisor tells the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The command's process id, before its exec.
    Started(i32),
    /// It has no guardian: a supervisor that is stopped or hangs holds it up.
    HeldUp,
    /// Nothing observes it, and why: the command runs untraced.
    Untraced(String),
    /// The command is let go: from here on it runs, whatever becomes of the supervisor.
    Begins,
    /// The exec failed, by this errno.
    NotExecuted(i32),
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command ended with this wait status.
    Ended(i32),
    /// The record is complete. The supervisor ends too, unless processes go on.
    Done {
        /// Whether it ends.
        ends: bool,
        /// Log records that could not be kept.
        lost: u64,
    },
}

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

/// How the command ended, and what kept the record from being complete.
struct Ended {
    command: Option<Pid>,
    wait_status: i32,
    gap: Option<(GapKind, String)>,
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

/// The wait for digests.
struct Wait {
    meter: Option<Meter>,
    tell: Option<Box<dyn FnMut(Option<Hashing>)>>,
}

impl Wait {
    fn tell(&mut self, hashing: Option<Hashing>) {
        if let Some(tell) = &mut self.tell {
            tell(hashing);
        }
    }

    fn show(&mut self) {
        if let Some(progress) = self.meter.as_ref().map(Meter::progress) {
            self.tell(Some(progress));
        }
    }

    /// Whoever waits wants to wait no longer.
    fn end(&self) {
        if let Some(meter) = &self.meter {
            meter.end();
        }
    }
}

/// Waits for what the supervisor says; waits for the command itself when it dies.
fn wait_with_supervisor(
    supervisor: &OwnedFd,
    signals: &Forwarder,
    (supervisor_pid, pulse): (Pid, &Pulse),
    wait: &mut Wait,
) -> Result<Ended, LaunchError> {
    let mut command = None;
    let mut pidfd = None;
    let mut wait_status = None;
    let mut gap = None;
    let mut has_begun = false;
    let mut unwell = 0;
    let mut is_held_up = false;
    let mut stop = None;
    let mut looked = Instant::now();
    loop {
        let mut fds = [
            PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let has_ended = wait_status.is_some();
        let period = if has_ended { SHOW_MS } else { LOOK_MS };
        let _ = poll(&mut fds, PollTimeout::from(period));
        let [from_supervisor, from_signals] = &fds;
        if is_ready(from_signals) {
            if !has_ended {
                signals.forward(command);
            } else if signals.asks_to_end() {
                wait.end();
            }
        }
        if !is_ready(from_supervisor) {
            if has_ended {
                wait.show();
            }
            if looked.elapsed() < Duration::from_millis(LOOK_MS.into()) {
                continue;
            }
            looked = Instant::now();
            // The command has ended, or does not begin, and its supervisor does not get
            // on with it; or it is held up by one that is stopped, or that waits itself.
            let has_ended = pidfd.as_ref().is_some_and(is_readable);
            let before = std::mem::replace(&mut stop, pulse.stop());
            let hangs = is_stopped(supervisor_pid) || stop.is_some() && stop == before;
            let is_silent = wait_status.is_none() || hangs;
            let is_stuck = match has_begun {
                true => (has_ended && is_silent) || (is_held_up && hangs),
                false => hangs,
            };
            unwell = if is_stuck { unwell + 1 } else { 0 };
            if unwell > MAX_LOOKS {
                let _ = kill(supervisor_pid, Signal::SIGKILL);
            }
            continue;
        }
        match receive(supervisor) {
            Some(Word::Started(pid)) => {
                command = Some(Pid::from_raw(pid));
                pidfd = process::open_pidfd(pid.cast_unsigned()).ok();
            }
            Some(Word::HeldUp) => is_held_up = true,
            Some(Word::Untraced(why)) => gap = Some((GapKind::Backend, why)),
            Some(Word::Begins) => has_begun = true,
            Some(Word::NotExecuted(errno)) => return Err(LaunchError::NotExecuted(errno)),
            Some(Word::Stopped(signal)) => stop_like(signal, command),
            Some(Word::Ended(status)) => wait_status = Some(status),
            Some(Word::Done { ends, lost }) => {
                if lost > 0 {
                    let detail = "the log could not be written (a limit to the size of files?)";
                    gap = gap.or(Some((GapKind::LostRecords, detail.to_owned())));
                }
                if ends {
                    // Its CPU time, and so the command's, becomes this process's children's.
                    let _ = waitpid(supervisor_pid, None);
                }
                let wait_status = wait_status.unwrap_or(0);
                return Ok(Ended {
                    command,
                    wait_status,
                    gap,
                });
            }
            None => break,
        }
    }
    let _ = waitpid(supervisor_pid, None);
    let detail = "the supervisor ended before the command; what came later was not seen";
    let died = gap.unwrap_or((GapKind::SupervisorDied, detail.to_owned()));
    let wait_status = match (wait_status, command) {
        (Some(status), _) => status,
        (None, Some(command)) if has_begun => wait_alone(command, signals),
        (None, command) => {
            if let Some(command) = command {
                // It ends by itself, not having been let go.
                wait_alone(command, signals);
            }
            let error = io::Error::other("the supervisor ended before the command began");
            return Err(LaunchError::Setup("start", error));
        }
    };
    Ok(Ended {
        command,
        wait_status,
        gap: Some(died),
    })
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

/// How often the launcher looks whether its supervisor is well (milliseconds), and how
/// often it finds that it is not before it goes on alone.
const LOOK_MS: u16 = 1000;
const MAX_LOOKS: u32 = 5;
/// How often it is told how far hashing is (milliseconds).
const SHOW_MS: u16 = 200;

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn is_stopped(pid: Pid) -> bool {
    proc::is_stopped(pid.as_raw().cast_unsigned())
}

/// Waits for a command that is this process's own child.
fn wait_alone(command: Pid, signals: &Forwarder) -> i32 {
    loop {
        match wait_raw(command, WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED) {
            Some(status) if libc::WIFSTOPPED(status) => {
                stop_like(libc::WSTOPSIG(status), Some(command));
            }
            Some(status) => return status,
            None => {
                let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::NONE);
                signals.forward(Some(command));
            }
        }
    }
}

/// The wait status of a child. `None` when it has not changed.
pub(crate) fn wait_raw(pid: Pid, flags: WaitPidFlag) -> Option<i32> {
    match process::wait(pid, flags) {
        Ok(status) => status,
        // Somebody else took it: nothing more will come.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Some(0),
        Err(_) => None,
    }
}

fn receive(supervisor: &OwnedFd) -> Option<Word> {
    let mut buffer = [0; 512];
    let (length, _) = socket::receive(supervisor.as_fd(), &mut buffer).ok()??;
    postcard::from_bytes(buffer.get(..length)?).ok()
}

/// Stops this process as its command was stopped, so that the shell sees it; when the
/// shell lets it go on, so does the command.
fn stop_like(signal: i32, command: Option<Pid>) {
    process::stop_by(signal);
    if let Some(command) = command {
        let _ = kill(command, Signal::SIGCONT);
    }
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
