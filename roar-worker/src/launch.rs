//! Starting a program under the filter: what happens in the child between fork and exec.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use crate::backend::Choice;
use crate::filter::{self, Exemption, IoUring};
use crate::sys::{notify, process, socket};

/// A program, its arguments and environment, ready for exec.
#[derive(Clone, Debug)]
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
        let line = |(name, value): (OsString, OsString)| {
            c_string([name.as_bytes(), b"=", &value.into_vec()].concat())
        };
        let environment = std::env::vars_os().map(line).collect::<io::Result<_>>()?;
        let mut program = Self {
            file,
            argv,
            environment,
        };
        for change in changes.iter().cloned() {
            program.change(line(change)?);
        }
        Ok(program)
    }

    /// Changes a variable of its environment, by a line `NAME=VALUE`.
    fn change(&mut self, line: CString) {
        let name = name_of(&line);
        self.environment.retain(|line| name_of(line) != name);
        self.environment.push(line);
    }

    /// Replaces this process; only returns on failure.
    pub fn execute(&self) -> io::Error {
        process::execute(&self.file, &self.argv, &self.environment)
    }
}

/// The name in a line of the environment.
fn name_of(line: &CString) -> &[u8] {
    let line = line.as_bytes();
    let end = line.iter().position(|byte| *byte == b'=');
    line.get(..end.unwrap_or(line.len())).unwrap_or_default()
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
    (backend, exemption): (Choice, Option<Exemption>),
    to_parent: BorrowedFd<'_>,
    signals: &SigSet,
) -> ! {
    let installed = match backend {
        Choice::Auto | Choice::Notify => install(io_uring, exemption),
        Choice::Ptrace | Choice::Preload => Err(io::Error::from_raw_os_error(0)),
    };
    if installed.is_err() && backend != Choice::Notify && io_uring == IoUring::Refuse {
        let _ = refuse_io_uring();
    }
    let Some(lines) = say_and_wait(installed, to_parent) else {
        // Nobody may be there to answer: not even the exec would succeed.
        process::exit_now(125)
    };
    process::restore_signals();
    process::restore_closed_descriptors();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(signals), None);
    let mut program = program.clone();
    for line in lines.into_iter().filter_map(|line| CString::new(line).ok()) {
        program.change(line);
    }
    let error = program.execute();
    say_not_executed(to_parent, &error);
    process::exit_now(127)
}

/// Installs the filter in this thread.
pub fn install(io_uring: IoUring, exemption: Option<Exemption>) -> io::Result<OwnedFd> {
    give_up_privileges()?;
    notify::install(&filter::program(io_uring, exemption))
}

fn refuse_io_uring() -> io::Result<()> {
    give_up_privileges()?;
    notify::install_without_listener(&filter::refusal())
}

/// Lets this thread install a filter: without privilege, by never gaining any.
pub(crate) fn give_up_privileges() -> io::Result<()> {
    if process::has_sys_admin() {
        return Ok(());
    }
    process::no_new_privileges()
}

/// Tells the other side how installing went, and waits for its word: lines of the
/// environment that the program is to have. None: it never came.
pub fn say_and_wait(installed: io::Result<OwnedFd>, other: BorrowedFd<'_>) -> Option<Vec<Vec<u8>>> {
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
    let mut word = [0; MAX_WORD];
    let (length, _) = socket::receive(other, &mut word).ok()??;
    let lines = word.get(..length).map(postcard::from_bytes);
    Some(lines.and_then(Result::ok).unwrap_or_default())
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

/// Largest word to a child (bytes).
const MAX_WORD: usize = 16 << 10;

/// Lets the child go on.
pub fn let_go(child: BorrowedFd<'_>) {
    let_go_with(child, &[]);
}

/// Lets the child go on, with these lines in its program's environment.
pub fn let_go_with(child: BorrowedFd<'_>, lines: &[Vec<u8>]) {
    let word = postcard::to_stdvec(lines).ok();
    let word = word.filter(|word| word.len() <= MAX_WORD);
    let _ = socket::send(child, word.as_deref().unwrap_or(&[0]), None);
}
