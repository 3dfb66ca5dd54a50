//! The tracer, for where the kernel gives no listener: every thread of the tree stops at
//! the entry and at the exit of every call. Slow, and nobody else can trace the tree; but
//! the result of a call is seen, and when the tracer dies, its tracees go on.

use std::collections::HashMap;
use std::io;

use crate::backend::Backend;
use crate::filter::{self, IoUring};
use crate::observe::{Entry, Observed};
use crate::supervisor::Supervisor;
use crate::sys::ptrace::{self, SYSCALL_STOP, Syscall};

/// The tracer of a tree.
pub(crate) struct Tracer {
    /// What threads will have done once their calls have succeeded.
    entered: HashMap<u32, Observed>,
    /// What would be notified: nothing else is looked at here either.
    filter: Vec<libc::sock_filter>,
}

impl Tracer {
    /// Becomes the tracer of a process and of all that it forks.
    pub(crate) fn seize(pid: u32) -> io::Result<Self> {
        ptrace::seize(pid)?;
        ptrace::interrupt(pid)?;
        Ok(Self {
            entered: HashMap::new(),
            filter: filter::program(IoUring::Allow, None),
        })
    }
}

impl Supervisor {
    /// Deals with a thread's change of state and lets it go on. Gives the signal by which
    /// its process was stopped, if that is what happened.
    pub(crate) fn stopped(&mut self, tid: u32, wait_status: i32) -> Option<i32> {
        if !libc::WIFSTOPPED(wait_status) {
            // Killed within a call, which may have happened.
            self.returned(tid, true);
            self.waited(tid, wait_status);
            return None;
        }
        match (wait_status >> 16, libc::WSTOPSIG(wait_status)) {
            (0, SYSCALL_STOP) => {
                self.at_syscall(tid);
                ptrace::go_on(tid, 0);
            }
            (0, signal) => ptrace::go_on(tid, signal),
            (
                libc::PTRACE_EVENT_STOP,
                signal @ (libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU),
            ) => {
                ptrace::listen(tid);
                return Some(signal);
            }
            (libc::PTRACE_EVENT_EXEC, _) => {
                // The thread that called it has the process's id now.
                self.returned(ptrace::event_message(tid).unwrap_or(tid), true);
                ptrace::go_on(tid, 0);
            }
            _ => ptrace::go_on(tid, 0),
        }
        None
    }

    fn at_syscall(&mut self, tid: u32) {
        match ptrace::syscall(tid) {
            Some(Syscall::Entry { arch, nr, args }) => {
                let Backend::Ptrace(tracer) = &self.backend else {
                    return;
                };
                if !filter::notifies(&tracer.filter, arch, nr as u32, args) {
                    return;
                }
                let entry = Entry {
                    tid,
                    arch,
                    nr,
                    args,
                };
                let Some(observed) = self.observe(&entry) else {
                    return;
                };
                match &mut self.backend {
                    Backend::Ptrace(tracer) if observed.depends_on_its_result() => {
                        tracer.entered.insert(tid, observed);
                    }
                    _ => self.acknowledge(observed),
                }
            }
            Some(Syscall::Exit { failed }) => self.returned(tid, !failed),
            None => {}
        }
    }

    /// A call has returned.
    fn returned(&mut self, tid: u32, succeeded: bool) {
        let Backend::Ptrace(tracer) = &mut self.backend else {
            return;
        };
        if let Some(observed) = tracer.entered.remove(&tid).filter(|_| succeeded) {
            self.acknowledge(observed);
        }
    }
}
