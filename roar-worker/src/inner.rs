//! A roar inside a traced tree. The kernel refuses it a listener of its own, so it asks
//! the supervisor above for a scope: a record of its own, of its own command alone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::process_table::Membership;
use crate::scope::{self, Scope, Spec};
use crate::supervisor::{Source, Supervisor};
use crate::sys::socket;
use crate::task_log::{Recorder, TaskLog};

/// Largest message (bytes): a job with a long command line.
pub const MAX_MESSAGE: usize = 128 << 10;

/// What an inner roar says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// What it traces; the log's descriptor comes with it.
    Begin(Box<Spec>),
    /// Its command ended with this wait status.
    Ended(i32),
}

/// An inner roar, as the supervisor above keeps it.
pub struct Inner {
    pid: u32,
    socket: Option<OwnedFd>,
    scope: Option<usize>,
}

impl Supervisor {
    /// Expects an inner roar to say what it traces.
    pub(crate) fn expect_scope(&mut self, pid: u32, socket: OwnedFd) -> Option<()> {
        let index = u32::try_from(self.inner.len()).ok()?;
        self.watch(socket.as_fd(), Source::Control(index)).ok()?;
        self.inner.push(Inner {
            pid,
            socket: Some(socket),
            scope: None,
        });
        Some(())
    }

    /// Reads a message of an inner roar.
    pub(crate) fn controlled(&mut self, index: usize) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = self
            .inner
            .get(index)
            .and_then(|inner| inner.socket.as_ref())
            .map(|socket| socket::receive(socket.as_fd(), &mut buffer));
        let message = match received {
            Some(Ok(Some((length, descriptor)))) => buffer
                .get(..length)
                .and_then(|bytes| postcard::from_bytes(bytes).ok())
                .map(|request| (request, descriptor)),
            _ => None,
        };
        match message {
            Some((Request::Begin(mut spec), Some(log))) => {
                spec.job.tracer.accel = self.accelerator.is_some();
                self.begin_scope(index, &spec, log);
            }
            Some((Request::Ended(wait_status), _)) => self.end_scope(index, wait_status),
            _ => self.forget(index),
        }
    }

    fn begin_scope(&mut self, index: usize, spec: &Spec, log: OwnedFd) {
        let recorder = Recorder::with_log(TaskLog::begin(File::from(log)));
        let scope = self.add_scope(Scope::begin(recorder, spec));
        let Some(inner) = self.inner.get_mut(index) else {
            return;
        };
        inner.scope = Some(scope);
        let Some(process) = self.table.get_mut(inner.pid) else {
            return;
        };
        let around = process.membership.iter().copied();
        process.child_membership = Some(around.chain([(scope, 0)]).collect::<Membership>());
        if let Some(socket) = &inner.socket {
            let _ = socket::send(socket.as_fd(), b"begun", None);
        }
    }

    fn end_scope(&mut self, index: usize, wait_status: i32) {
        let Some(scope) = self.inner.get(index).and_then(|inner| inner.scope) else {
            return;
        };
        let (status, exit_code, signal) = scope::status_of(wait_status);
        if let Some(scope) = self.scopes.get_mut(scope) {
            scope.end_task(0, status, None, (exit_code, signal), scope::now());
        }
        self.finish(scope);
    }

    /// Tells an inner roar that its record is complete.
    pub(crate) fn tell_done(&mut self, scope: usize) {
        let inner = self.inner.iter().find(|inner| inner.scope == Some(scope));
        if let Some(socket) = inner.and_then(|inner| inner.socket.as_ref()) {
            let _ = socket::send(socket.as_fd(), b"done", None);
        }
    }

    fn forget(&mut self, index: usize) {
        let socket = self
            .inner
            .get_mut(index)
            .and_then(|inner| inner.socket.take());
        if let Some(socket) = socket {
            self.unwatch(socket.as_fd());
        }
    }
}

/// The inner side: a scope under the supervisor above.
pub struct Outer(OwnedFd);

impl Outer {
    /// Asks for a scope. `None` when there is no supervisor above.
    pub fn find() -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::OsStr::from_bytes(roar_tracee::abi::SCOPE_PATH);
        File::open(path).ok().map(|file| Self(file.into()))
    }

    /// Begins the scope; events go to `log`.
    pub fn begin(&self, spec: &Spec, log: &File) -> io::Result<()> {
        self.say(&Request::Begin(Box::new(spec.clone())), Some(log))?;
        self.wait()
    }

    /// Says that the command has ended, and waits until its record is complete.
    pub fn end(&self, wait_status: i32) -> io::Result<()> {
        self.say(&Request::Ended(wait_status), None)?;
        self.wait()
    }

    fn say(&self, request: &Request, log: Option<&File>) -> io::Result<()> {
        let message = postcard::to_stdvec(request).map_err(io::Error::other)?;
        socket::send(self.0.as_fd(), &message, log.map(AsFd::as_fd))
    }

    fn wait(&self) -> io::Result<()> {
        let mut buffer = [0; 16];
        match socket::receive(self.0.as_fd(), &mut buffer)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
