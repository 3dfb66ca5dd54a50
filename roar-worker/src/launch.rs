//! Starting a program under the filter: what happens in the child between fork and exec.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use crate::filter::{self, IoUring};
use crate::sys::{notify, process, socket};

/// A program, its arguments and environment, ready for exec.
#[derive(Debug)]
pub struct Program {
    file: CString,
    argv: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// A command line, in this process's environment with `changes` made to it.
    ///
    /// Errors: InvalidInput for an empty command or a zero byte.
    pub fn new(command: &[OsString], changes: &[(OsString, OsString)]) -> io::Result<Self> {
        let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::other);
        let argv: Vec<CString> = command
            .iter()
            .map(|word| c_string(word.as_bytes().to_vec()))
            .collect::<io::Result<_>>()?;
        let file = argv.first().cloned().ok_or(io::ErrorKind::InvalidInput)?;
        let kept = std::env::vars_os()
            .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let environment = kept
            .chain(changes.iter().cloned())
            .map(|(name, value)| c_string([name.as_bytes(), b"=", &value.into_vec()].concat()))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            file,
            argv,
            environment,
        })
    }

    /// Replaces this process; only returns on failure.
    pub fn execute(&self) -> io::Error {
        process::execute(&self.file, &self.argv, &self.environment)
    }
}

/// What a child says before its exec, in its first byte; an errno follows (i32).
const FILTERED: u8 = b'f';
const UNFILTERED: u8 = b'u';
const NOT_EXECUTED: u8 = b'x';

/// What became of a child.
#[derive(Debug)]
pub enum Start {
    /// The filter is in place; this is its listener.
    Filtered(OwnedFd),
    /// No filter could be installed, by this errno.
    Unfiltered(i32),
    /// The exec failed, by this errno.
    NotExecuted(i32),
    /// The exec has happened, or the child is gone.
    Gone,
}

/// In the child: installs the filter, hands its listener over, waits until somebody
/// listens, and executes. `signals` is the mask that the program gets.
pub fn become_program(
    program: &Program,
    io_uring: IoUring,
    to_parent: BorrowedFd<'_>,
    signals: &SigSet,
) -> ! {
    if !say_and_wait(install(io_uring), to_parent) {
        // Nobody may be there to answer: not even the exec would succeed.
        process::exit_now(125)
    }
    process::restore_sigpipe();
    process::restore_closed_descriptors();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(signals), None);
    let error = program.execute();
    say_not_executed(to_parent, &error);
    process::exit_now(127)
}

/// Installs the filter in this thread.
pub fn install(io_uring: IoUring) -> io::Result<OwnedFd> {
    if !process::has_sys_admin() {
        process::no_new_privileges()?;
    }
    notify::install(&filter::program(io_uring))
}

/// Tells the other side how installing went, and waits for its word: whether it came.
pub fn say_and_wait(installed: io::Result<OwnedFd>, other: BorrowedFd<'_>) -> bool {
    match &installed {
        Ok(listener) => {
            say(
                other,
                FILTERED,
                &io::Error::from_raw_os_error(0),
                Some(listener.as_fd()),
            );
        }
        Err(error) => say(other, UNFILTERED, error, None),
    }
    drop(installed);
    let mut word = [0; 1];
    matches!(socket::receive(other, &mut word), Ok(Some(_)))
}

/// Tells the other side that the exec failed.
pub fn say_not_executed(other: BorrowedFd<'_>, error: &io::Error) {
    say(other, NOT_EXECUTED, error, None);
}

fn say(other: BorrowedFd<'_>, what: u8, error: &io::Error, fd: Option<BorrowedFd<'_>>) {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(0).to_le_bytes();
    let _ = socket::send(other, &[what, a, b, c, d], fd);
}

/// In the parent: what the child said next.
pub fn next_word(from_child: BorrowedFd<'_>) -> Start {
    let mut word = [0; 5];
    match socket::receive(from_child, &mut word) {
        Ok(Some((5, listener))) => {
            let [what, errno @ ..] = word;
            let errno = i32::from_le_bytes(errno);
            match (what, listener) {
                (FILTERED, Some(listener)) => Start::Filtered(listener),
                (UNFILTERED | FILTERED, _) => Start::Unfiltered(errno),
                _ => Start::NotExecuted(errno),
            }
        }
        _ => Start::Gone,
    }
}

/// Lets the child go on.
pub fn let_go(child: BorrowedFd<'_>) {
    let _ = socket::send(child, b"g", None);
}
