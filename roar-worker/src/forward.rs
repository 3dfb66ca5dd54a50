//! Signals that are sent to the launcher, and are the command's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::sys::process;

/// Every signal but those that tell of a fault of this process's own.
pub(crate) fn all_but_faults() -> SigSet {
    let mut set = SigSet::all();
    for fault in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
    ] {
        set.remove(fault);
    }
    set
}

/// Passes signals that were sent to this process on to the command.
pub(crate) struct Forwarder {
    fd: SignalFd,
}

impl Forwarder {
    pub(crate) fn new() -> io::Result<Self> {
        let set = all_but_faults();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether a signal has come by which people end what they wait for. All that came are
    /// taken.
    pub(crate) fn asks_to_end(&self) -> bool {
        const ENDS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
        let mut ends = false;
        while let Ok(Some(signal)) = self.fd.read_signal() {
            ends |= ENDS.contains(&(signal.ssi_signo as i32));
        }
        ends
    }

    /// What the terminal sends goes to the whole process group, and has reached the
    /// command already; what a process sent to this one alone has not.
    pub(crate) fn forward(&self, command: Option<Pid>) {
        while let Ok(Some(signal)) = self.fd.read_signal() {
            let is_ours = matches!(signal.ssi_signo as i32, libc::SIGCHLD | libc::SIGPIPE);
            let is_from_terminal = signal.ssi_code == libc::SI_KERNEL;
            if let (false, false, Some(command)) = (is_ours, is_from_terminal, command) {
                let value = (signal.ssi_code == libc::SI_QUEUE).then_some(signal.ssi_ptr);
                process::send(command, signal.ssi_signo as i32, value);
            }
        }
    }
}
