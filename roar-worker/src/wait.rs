//! The wait for a command, with its supervisor and without.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use roar_lineage::model::GapKind;
use serde::{Deserialize, Serialize};

use crate::forward::Forwarder;
use crate::launcher::LaunchError;
use crate::meter::{Hashing, Meter};
use crate::proc::{self, Activity};
use crate::pulse::Pulse;
use crate::sys::process;
use crate::sys::socket;

/// How often the launcher looks whether its supervisor is well (milliseconds), and how
/// often it finds that it is not before it goes on alone.
const LOOK_MS: u16 = 1000;
const MAX_LOOKS: u32 = 5;
/// How often it is told how far hashing is (milliseconds).
const SHOW_MS: u16 = 200;

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

/// How the command ended, and what kept the record from being complete.
pub(crate) struct Ended {
    pub(crate) command: Option<Pid>,
    pub(crate) wait_status: i32,
    pub(crate) gap: Option<(GapKind, String)>,
}

/// The wait for digests.
pub(crate) struct Wait {
    pub(crate) meter: Option<Meter>,
    pub(crate) tell: Option<Box<dyn FnMut(Option<Hashing>)>>,
}

impl Wait {
    pub(crate) fn tell(&mut self, hashing: Option<Hashing>) {
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
pub(crate) fn wait_with_supervisor(
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
            has_begun &= !hangs || !command.is_some_and(awaits_its_word);
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

fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn is_stopped(pid: Pid) -> bool {
    proc::is_stopped(pid.as_raw().cast_unsigned())
}

/// Whether a command has not been let go, though that was announced: its supervisor was stopped
/// between the two.
fn awaits_its_word(command: Pid) -> bool {
    let pid = command.as_raw().cast_unsigned();
    let receives = |nr| libc::c_long::from(nr) == libc::SYS_recvmsg;
    let waits = match proc::activity(pid, pid) {
        Some(Activity::Waits(nr, _)) => receives(nr),
        _ => false,
    };
    waits && proc::link(pid, "exe") == proc::link(std::process::id(), "exe")
}

/// Waits for a command that is this process's own child.
pub(crate) fn wait_alone(command: Pid, signals: &Forwarder) -> i32 {
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
