//! The guardian: a process that lives until the listener hangs up, and answers for the
//! supervisor when that one has died or hangs.
//!
//! Without an answer a notified call waits for ever, and without a listener it fails:
//! either destroys the program. So the guardian holds a copy of the listener and shares
//! the slot into which the supervisor receives. It wakes when the supervisor's pidfd
//! says that it is gone, and every second; when a notification has waited for
//! [`PATIENCE`] it lets that call and all that follow happen, unseen but counted, until
//! the supervisor shows signs of life again.
//!
//! It allocates nothing, opens nothing, prints nothing, and runs in memory that was
//! touched before it was forked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::sys::mapping::Mapping;
use crate::sys::notify::{self, Notification};
use crate::sys::process::{self, Fork};

/// How long a notification may wait before the guardian answers it.
pub const PATIENCE: Duration = Duration::from_secs(5);

const TICK_MS: u16 = 1000;

/// Words of the shared memory, by offset. The supervisor's slot comes first.
const SLOT: usize = 0;
const GUARDIAN_SLOT: usize = 128;
/// Grows with every turn of the supervisor's loop.
const HEARTBEAT: usize = 256;
/// Calls that the guardian answered.
const UNSEEN: usize = 264;
const LENGTH: usize = 4096;

/// The memory that supervisor and guardian share.
pub struct Shared(Mapping);

impl Shared {
    /// New, before either is forked.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Mapping::anonymous(LENGTH)?))
    }

    /// Receives a notification through the supervisor's slot, so that the guardian can
    /// answer it should this process not come to it.
    pub fn receive(&self, listener: BorrowedFd<'_>) -> io::Result<Notification> {
        self.receive_in(SLOT, listener)
    }

    /// Declares the received notification answered.
    pub fn answered(&self) {
        self.0.store(SLOT, 0);
        self.beat();
    }

    /// A sign of life.
    pub fn beat(&self) {
        self.0
            .store(HEARTBEAT, self.0.load(HEARTBEAT).wrapping_add(1));
    }

    /// How many calls were answered unseen.
    pub fn unseen(&self) -> u64 {
        self.0.load(UNSEEN)
    }

    fn receive_in(&self, slot: usize, listener: BorrowedFd<'_>) -> io::Result<Notification> {
        for offset in (0..size_of::<Notification>()).step_by(8) {
            self.0.store(slot + offset, 0);
        }
        notify::receive(listener, &self.0, slot)?;
        let word = |index: usize| self.0.load(slot + 8 * index);
        let low = |word: u64| word as u32;
        let high = |word: u64| (word >> 32) as u32;
        Ok(Notification {
            id: word(0),
            pid: low(word(1)),
            flags: high(word(1)),
            nr: low(word(2)) as i32,
            arch: high(word(2)),
            instruction_pointer: word(3),
            args: [word(4), word(5), word(6), word(7), word(8), word(9)],
        })
    }
}

/// A guardian, as the process that forked it sees it.
pub struct Guardian {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Guardian {
    /// Readable when the guardian has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Takes the status of a guardian that has ended.
    pub fn reap(&self) {
        let _ = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// Forks a guardian for the calling process.
pub fn spawn(listener: &OwnedFd, shared: &Shared) -> io::Result<Guardian> {
    let supervisor = process::open_pidfd(std::process::id())?;
    match process::fork()? {
        Fork::Parent(pid) => {
            let pidfd = process::open_pidfd(pid.cast_unsigned())?;
            Ok(Guardian {
                pid: Pid::from_raw(pid),
                pidfd,
            })
        }
        Fork::Child => {
            process::stand_apart(&[listener.as_raw_fd(), supervisor.as_raw_fd()]);
            guard(listener.as_fd(), supervisor.as_fd(), shared);
            process::exit_now(0)
        }
    }
}

/// Watches until the listener hangs up.
fn guard(listener: BorrowedFd<'_>, supervisor: BorrowedFd<'_>, shared: &Shared) {
    let patience = (PATIENCE.as_millis() as u64).div_ceil(u64::from(TICK_MS));
    let mut heartbeat = shared.0.load(HEARTBEAT);
    let mut silent = 0;
    let mut is_dead = false;
    loop {
        let acts = is_dead || silent >= patience;
        if acts {
            answer_in_flight(listener, shared);
            answer_waiting(listener, shared, is_dead);
        }
        let calls = if acts {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::new(listener, calls),
            PollFd::new(supervisor, PollFlags::POLLIN),
        ];
        // A dead supervisor's descriptor stays readable.
        let watched = if is_dead {
            fds.split_at_mut(1).0
        } else {
            &mut fds
        };
        let timeout = if is_dead {
            PollTimeout::NONE
        } else {
            PollTimeout::from(TICK_MS)
        };
        let ready = match poll(watched, timeout) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
        };
        let has = |fd: &PollFd<'_>, flags| fd.revents().is_some_and(|got| got.intersects(flags));
        let [from_listener, from_supervisor] = &fds;
        if has(
            from_listener,
            PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL,
        ) {
            return;
        }
        is_dead |= has(from_supervisor, PollFlags::POLLIN);
        let now = shared.0.load(HEARTBEAT);
        if now != heartbeat {
            heartbeat = now;
            silent = 0;
        } else if !acts && ready == 0 {
            let is_pending = shared.0.load(SLOT) != 0 || is_readable(listener);
            silent = if is_pending { silent + 1 } else { 0 };
        }
    }
}

fn is_readable(listener: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds[0]
            .revents()
            .is_some_and(|got| got.contains(PollFlags::POLLIN))
}

/// Answers what the supervisor had received and not answered.
fn answer_in_flight(listener: BorrowedFd<'_>, shared: &Shared) {
    let id = shared.0.load(SLOT);
    if id != 0 && notify::send_continue(listener, id).is_ok() {
        count(shared);
    }
}

/// Answers what waits to be received. One who is alone with it (`is_dead`) outlives a limit.
fn answer_waiting(listener: BorrowedFd<'_>, shared: &Shared, is_dead: bool) {
    while is_readable(listener) {
        if is_dead {
            outlive_limit();
        }
        match shared.receive_in(GUARDIAN_SLOT, listener) {
            Ok(notification) => {
                if notify::send_continue(listener, notification.id).is_ok() {
                    count(shared);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Who has used half of its CPU time leaves the rest to a process of its own, whose time begins
/// anew (RLIMIT_CPU, getrlimit(2): seconds).
fn outlive_limit() {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_CPU) else {
        return;
    };
    let Ok(used) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) else {
        return;
    };
    let used = Duration::from(used);
    let is_near = limit != RLIM_INFINITY && used * 2 >= Duration::from_secs(limit);
    if is_near && matches!(process::fork(), Ok(Fork::Parent(_))) {
        process::exit_now(0)
    }
}

fn count(shared: &Shared) {
    shared
        .0
        .store(UNSEEN, shared.0.load(UNSEEN).wrapping_add(1));
}
