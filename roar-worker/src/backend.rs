//! How the calls of the tree come to the supervisor: as notifications of a seccomp
//! listener, as a tracer's stops, or told by a preloaded library. What they mean is the same.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::guardian::{self, Guardian, Shared};
use crate::launch;
use crate::observe::Answer;
use crate::preload::Receiver;
use crate::ptrace::Tracer;
use crate::sys::notify::{self, Notification};

/// Which one to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// A listener, else the tracer, else the preloaded library.
    #[default]
    Auto,
    /// A listener.
    Notify,
    /// The tracer.
    Ptrace,
    /// The preloaded library.
    Preload,
}

/// Name of the listener in reports.
pub const NOTIFY: &str = "notify";
/// Name of the tracer in reports.
pub const PTRACE: &str = "ptrace";
/// Name of the preloaded library in reports.
pub const PRELOAD: &str = "preload";

/// What the kernel's listeners can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Notifications are answered on the CPU of the caller (6.6).
    pub sync_wake_up: bool,
    /// Only a fatal signal interrupts a call that was received (5.19).
    pub wait_killable: bool,
}

/// What a listener of this process can do, found out by a thread that gets one.
///
/// Errors: that of seccomp(2).
pub fn features() -> io::Result<Features> {
    let probe = || {
        launch::give_up_privileges()?;
        let (listener, wait_killable) = notify::install_allowing()?;
        Ok(Features {
            sync_wake_up: notify::set_sync_wake_up(listener.as_fd()),
            wait_killable,
        })
    };
    let thread = std::thread::Builder::new().spawn(probe)?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probe ended")))
}

/// One of them, at work.
pub(crate) enum Backend {
    /// A seccomp listener.
    Notify(Listener),
    /// A tracer.
    Ptrace(Tracer),
    /// A library within the programs.
    Preload(Receiver),
}

/// A listener, and the guardian that answers when this process cannot.
pub(crate) struct Listener {
    fd: OwnedFd,
    shared: Shared,
    guardian: Guardian,
}

impl Listener {
    /// Takes a listener over. The guardian runs when this returns.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        notify::set_sync_wake_up(fd.as_fd());
        let shared = Shared::new()?;
        let guardian = guardian::spawn(&fd, &shared)?;
        Ok(Self {
            fd,
            shared,
            guardian,
        })
    }

    /// Readable when a notification waits.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Who answers when this process cannot.
    pub(crate) fn guardian(&self) -> &Guardian {
        &self.guardian
    }

    /// Puts another guardian in the place of one that has ended.
    pub(crate) fn replace_guardian(&mut self) -> io::Result<()> {
        self.guardian.reap();
        self.guardian = guardian::spawn(&self.fd, &self.shared)?;
        Ok(())
    }
}

impl Backend {
    /// Whether it is the listener, which alone can answer a call with a descriptor.
    pub(crate) fn is_notify(&self) -> bool {
        matches!(self, Self::Notify(_))
    }

    /// A sign of life.
    pub(crate) fn beat(&self) {
        if let Self::Notify(listener) = self {
            listener.shared.beat();
        }
    }

    /// Calls that nobody saw.
    pub(crate) fn unseen(&self) -> u64 {
        match self {
            Self::Notify(listener) => listener.shared.unseen(),
            _ => 0,
        }
    }

    /// Receives a notification.
    pub(crate) fn receive(&self) -> Option<Notification> {
        match self {
            Self::Notify(listener) => listener.shared.receive(listener.as_fd()).ok(),
            _ => None,
        }
    }

    /// Whether a notification still waits for its answer.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        match self {
            Self::Notify(listener) => notify::is_valid(listener.as_fd(), id),
            _ => true,
        }
    }

    /// Answers a notification.
    pub(crate) fn answer(&self, id: u64, answer: &Answer) {
        let Self::Notify(listener) = self else {
            return;
        };
        let fd = listener.as_fd();
        let answered = match answer {
            Answer::Continue => notify::send_continue(fd, id),
            Answer::Success => notify::send_success(fd, id),
            Answer::Fails(errno) => notify::send_error(fd, id, *errno),
            Answer::Descriptor(given) => notify::send_descriptor(fd, id, given.as_fd()),
        };
        if answered.is_err() {
            // Gone, interrupted, or the kernel cannot add descriptors: never leave it waiting.
            let _ = notify::send_continue(fd, id);
        }
        listener.shared.answered();
    }
}
