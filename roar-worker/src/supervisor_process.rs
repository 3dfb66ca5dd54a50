//! The supervisor's process under a launcher: forks the command, watches it, and tells
//! the launcher.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use roar_lineage::model::GapKind;

use crate::accelerator;
use crate::backend::{self, Backend, Choice};
use crate::forward::all_but_faults;
use crate::inherited;
use crate::launch::{self, Program, Start};
use crate::launcher::Launch;
use crate::meter::Meter;
use crate::preload::{self, Receiver};
use crate::ptrace::Tracer;
use crate::pulse::Pulse;
use crate::scope::{self, Phase, Scope};
use crate::supervisor::{Source, Supervisor, Turn};
use crate::sys::process::{self, Fork};
use crate::sys::ptrace;
use crate::sys::socket;
use crate::task_log::{Recorder, TaskLog};
use crate::wait::{Word, wait_raw};

/// How long the end of a command that used Ray waits for Ray's own processes.
const GRACE: Duration = Duration::from_secs(5);

const LAUNCHER: u32 = 0;
const SIGNALS: u32 = 1;
const CHILD: u32 = 2;

/// Never returns: this process is a copy of the launcher.
pub(crate) fn main(
    mut launch: Launch,
    program: &Program,
    original: &SigSet,
    log: File,
    launcher: OwnedFd,
    (meter, pulse): (Option<Meter>, Pulse),
) -> ! {
    let tell = |word: &Word| tell(&launcher, word);
    let (ours, theirs) = match socket::pair() {
        Ok(pair) => pair,
        Err(_) => process::exit_now(1),
    };
    // Only a filter can exempt.
    let has_filter = matches!(launch.backend, Choice::Auto | Choice::Notify);
    let exemption = (launch.accelerate && has_filter).then(accelerator::exemption);
    let exemption = exemption.and_then(Result::ok);
    let command = match process::fork() {
        Ok(Fork::Child) => {
            drop((ours, launcher, log));
            let how = (launch.backend, exemption);
            launch::become_program(program, launch.io_uring, how, theirs.as_fd(), original)
        }
        Ok(Fork::Parent(pid)) => Pid::from_raw(pid),
        Err(_) => process::exit_now(1),
    };
    drop(theirs);
    tell(&Word::Started(command.as_raw()));
    settle_down();
    process::hide_arguments();
    // A parent in another group of the same session would keep the command's group from being
    // orphaned, and its end hang the group up if a process in it is stopped
    // (kill_orphaned_pgrp in kernel/exit.c).
    let _ = nix::unistd::setsid();
    let child = command.as_raw().cast_unsigned();
    let mut keep = vec![ours.as_raw_fd(), launcher.as_raw_fd(), log.as_raw_fd()];
    let start = launch::next_word(ours.as_fd());
    let backend = match start {
        Start::Filtered(listener) => {
            keep.push(listener.as_raw_fd());
            Ok(Observer::Listener(listener))
        }
        Start::Unfiltered(errno) => observe_otherwise(launch.backend, errno, child),
        _ => process::exit_now(1),
    };
    let observer = match backend {
        Ok(observer) => observer,
        Err(why) => {
            tell(&Word::Untraced(why));
            tell(&Word::Begins);
            launch::let_go(ours.as_fd());
            watch_untraced(command, &ours, &launcher)
        }
    };
    if let Observer::Receiver(receiver, _) = &observer {
        keep.push(receiver.number());
    }
    process::detach_descriptors(&keep);
    let _ = nix::unistd::chdir(c"/");
    let mut lines = Vec::new();
    if !matches!(observer, Observer::Listener(_)) {
        tell(&Word::HeldUp);
    }
    let supervisor = match observer {
        Observer::Listener(listener) => {
            let supervisor = Supervisor::new(listener, false, exemption);
            launch.spec.job.tracer.accel =
                supervisor.as_ref().is_ok_and(|it| it.accelerator.is_some());
            supervisor
        }
        Observer::Tracer(tracer) => {
            launch.spec.job.tracer.backend = backend::PTRACE.to_owned();
            Supervisor::tracing(tracer)
        }
        Observer::Receiver(receiver, preload) => {
            lines = preload;
            launch.spec.job.tracer.backend = backend::PRELOAD.to_owned();
            Supervisor::preloaded(receiver)
        }
    };
    let Ok(mut supervisor) = supervisor else {
        // The listener is closed with this process; the command has not begun.
        let _ = kill(command, Signal::SIGKILL);
        process::exit_now(1)
    };
    if let Some(meter) = meter {
        supervisor.pool.measure(meter);
    }
    launch.spec.task.pid = Some(command.as_raw().cast_unsigned());
    let recorder = Recorder::with_log(TaskLog::begin(log));
    let mut scope = Scope::begin(recorder, &launch.spec);
    inherited::record(&mut scope, child);
    if !lines.is_empty() {
        scope.gap(0, GapKind::Backend, preload::BLIND, 1);
    }
    supervisor.add_scope(scope);
    // First: what has begun must not be taken for what has not.
    tell(&Word::Begins);
    launch::let_go_with(ours.as_fd(), &lines);
    Watch {
        supervisor,
        command,
        launcher,
        child: Some(ours),
        launch,
        pulse,
        wait_status: None,
        ended: None,
        alone: false,
        is_orphan: false,
    }
    .run()
}

/// What the command's calls come from.
enum Observer {
    Listener(OwnedFd),
    Tracer(Tracer),
    /// With lines of the command's environment.
    Receiver(Receiver, Vec<Vec<u8>>),
}

/// Without a listener, by this errno (0: none was asked for). Errors: why there is nothing
/// else either.
fn observe_otherwise(choice: Choice, errno: i32, child: u32) -> Result<Observer, String> {
    let mut refused = Vec::new();
    if errno != 0 {
        let error = std::io::Error::from_raw_os_error(errno);
        refused.push(format!("no seccomp listener ({error})"));
    }
    if let Choice::Auto | Choice::Ptrace = choice {
        match Tracer::seize(child) {
            Ok(tracer) => return Ok(Observer::Tracer(tracer)),
            Err(error) => refused.push(format!("no ptrace ({error})")),
        }
    }
    if let Choice::Auto | Choice::Preload = choice {
        match Receiver::prepare() {
            Ok((receiver, lines)) => return Ok(Observer::Receiver(receiver, lines)),
            Err(error) => refused.push(format!("no preloaded library ({error})")),
        }
    }
    Err(refused.join(", "))
}

/// The signals and limits of a process that works for another.
pub(crate) fn settle_down() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all_but_faults()), None);
    let _ = process::become_subreaper();
    process::hear_of_children();
    process::forbid_core_dump();
    process::print_no_backtraces();
    // If memory runs out, this process goes before the user's.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    lift_limits();
}

/// A command's limits to CPU time and the size of files are not those of what is recorded of it
/// (getrlimit(2)); without CAP_SYS_RESOURCE the hard ones stay.
pub(crate) fn lift_limits() {
    for limit in [Resource::RLIMIT_CPU, Resource::RLIMIT_FSIZE] {
        if setrlimit(limit, RLIM_INFINITY, RLIM_INFINITY).is_err()
            && let Ok((_, hard)) = getrlimit(limit)
        {
            let _ = setrlimit(limit, hard, hard);
        }
    }
}

fn tell(launcher: &OwnedFd, word: &Word) {
    if let Ok(message) = postcard::to_stdvec(word) {
        let _ = socket::send(launcher.as_fd(), &message, None);
    }
}

/// Waits for a command that could not be traced.
fn watch_untraced(command: Pid, child: &OwnedFd, launcher: &OwnedFd) -> ! {
    process::detach_descriptors(&[child.as_raw_fd(), launcher.as_raw_fd()]);
    if let Start::NotExecuted(errno) = launch::next_word(child.as_fd()) {
        tell(launcher, &Word::NotExecuted(errno));
        process::exit_now(0)
    }
    loop {
        match wait_raw(command, WaitPidFlag::WUNTRACED) {
            Some(status) if libc::WIFSTOPPED(status) => {
                tell(launcher, &Word::Stopped(libc::WSTOPSIG(status)));
            }
            Some(status) => {
                tell(launcher, &Word::Ended(status));
                process::exit_now(0)
            }
            None => {}
        }
    }
}

struct Watch {
    supervisor: Supervisor,
    command: Pid,
    launcher: OwnedFd,
    child: Option<OwnedFd>,
    launch: Launch,
    pulse: Pulse,
    wait_status: Option<i32>,
    ended: Option<Instant>,
    /// Whether the launcher is gone, or has all that it waits for.
    alone: bool,
    /// Whether the launcher went before it had its record.
    is_orphan: bool,
}

impl Watch {
    fn run(mut self) -> ! {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let Ok(signals) = SignalFd::with_flags(&set, flags) else {
            process::exit_now(1)
        };
        let watched = [
            (self.launcher.as_fd(), LAUNCHER),
            (signals.as_fd(), SIGNALS),
        ];
        for (fd, which) in watched {
            let _ = self.supervisor.watch(fd, Source::Owner(which));
        }
        if let Some(child) = &self.child {
            let _ = self.supervisor.watch(child.as_fd(), Source::Owner(CHILD));
        }
        let mut tree_is_empty = false;
        loop {
            for turn in self.supervisor.turn() {
                match turn {
                    Turn::Owner(LAUNCHER) => self.launcher_left(),
                    Turn::Owner(CHILD) => self.child_spoke(),
                    Turn::Owner(_) => {
                        while let Ok(Some(_)) = signals.read_signal() {}
                        match self.supervisor.backend {
                            Backend::Notify(_) => self.reap(),
                            Backend::Ptrace(_) => tree_is_empty = !self.take_stops(),
                            Backend::Preload(_) => {
                                self.reap();
                                // Orphans are this process's children.
                                tree_is_empty = ptrace::peek().is_err();
                            }
                        }
                    }
                    Turn::TreeEmpty => {
                        tree_is_empty = true;
                        self.supervisor.end_all();
                        self.reap();
                    }
                    Turn::Done(0) => self.done(tree_is_empty),
                    Turn::Ended(..) | Turn::Done(_) | Turn::Tick => {}
                }
            }
            let is_over = self.wait_status.is_some()
                && (tree_is_empty
                    || self.alone
                    || !(self.launch.wait_for_tree || self.is_ending()));
            if is_over && self.supervisor.phase(0) == Some(Phase::Running) {
                self.supervisor.finish(0);
            }
            if tree_is_empty && self.alone {
                self.finish_late();
            }
        }
    }

    /// Whether the processes of a Ray that the command started may still be on their way
    /// out, as they are for a moment after every driver's end.
    fn is_ending(&self) -> bool {
        self.supervisor.has_pages && self.ended.is_some_and(|at| at.elapsed() < GRACE)
    }

    /// The exec failed, or (the socket closes) has happened.
    fn child_spoke(&mut self) {
        let Some(child) = self.child.take() else {
            return;
        };
        let word = launch::next_word(child.as_fd());
        self.supervisor.unwatch(child.as_fd());
        if let Start::NotExecuted(errno) = word {
            tell(&self.launcher, &Word::NotExecuted(errno));
            process::exit_now(0);
        }
    }

    /// The launcher is gone. Killed before its command had ended, it takes the command
    /// with it, as any wrapper does; what was seen is kept from here.
    fn launcher_left(&mut self) {
        self.supervisor.unwatch(self.launcher.as_fd());
        if self.wait_status.is_none() {
            let _ = kill(self.command, Signal::SIGKILL);
        }
        self.is_orphan = !self.alone;
        self.alone = true;
    }

    fn reap(&mut self) {
        // Look first: should this process die now, the launcher takes the status.
        while let Ok(Some((pid, status))) = ptrace::peek() {
            if Pid::from_raw(pid.cast_signed()) == self.command {
                match libc::WIFSTOPPED(status) {
                    true => tell(&self.launcher, &Word::Stopped(libc::WSTOPSIG(status))),
                    false => self.command_ended(status),
                }
            }
            if !libc::WIFSTOPPED(status) {
                self.supervisor.waited(pid, status);
            }
            ptrace::take(pid);
        }
    }

    /// Deals with all stops of a tracer. False when no process is left.
    fn take_stops(&mut self) -> bool {
        loop {
            let (pid, status) = match ptrace::peek() {
                Ok(Some(changed)) => changed,
                Ok(None) => return true,
                Err(_) => {
                    self.supervisor.end_all();
                    return false;
                }
            };
            let is_command = Pid::from_raw(pid.cast_signed()) == self.command;
            // Told first: should this process die now, the launcher takes the status.
            if is_command && !libc::WIFSTOPPED(status) {
                self.command_ended(status);
            }
            ptrace::take(pid);
            let stopped = self.pulse.during(|| self.supervisor.stopped(pid, status));
            if let (true, Some(signal)) = (is_command, stopped) {
                tell(&self.launcher, &Word::Stopped(signal));
            }
        }
    }

    fn command_ended(&mut self, wait_status: i32) {
        if self.wait_status.replace(wait_status).is_some() {
            return;
        }
        self.ended = Some(Instant::now());
        tell(&self.launcher, &Word::Ended(wait_status));
        let (status, exit_code, signal) = scope::status_of(wait_status);
        if let Some(scope) = self.supervisor.scopes.first_mut() {
            scope.end_task(0, status, None, (exit_code, signal), scope::now());
        }
    }

    fn done(&mut self, tree_is_empty: bool) {
        let ends = tree_is_empty || self.launch.late.is_none();
        let scope = self.supervisor.scopes.first();
        let lost = scope.map_or(0, |scope| scope.recorder.lost());
        tell(&self.launcher, &Word::Done { ends, lost });
        // Nothing waits for an answer meanwhile.
        if self.is_orphan && tree_is_empty {
            self.keep();
        }
        if ends {
            self.supervisor.pool.close();
            process::exit_now(0);
        }
        // What still runs is traced on.
        self.alone = true;
    }

    fn finish_late(&mut self) -> ! {
        let unseen = self.supervisor.backend.unseen();
        if let Some(scope) = self.supervisor.scopes.first_mut() {
            scope::finish_alone(&mut scope.recorder, self.launch.spec.hashing, true);
            scope.record_counts(unseen);
        }
        self.keep();
        process::exit_now(0)
    }

    /// Nothing runs any more. The processes that have ended are in the log alone.
    fn keep(&mut self) {
        let scope = self.supervisor.scopes.first();
        let record = scope.and_then(|scope| scope.recorder.logged());
        if let (Some(record), Some(late)) = (record, self.launch.late.take()) {
            late(&record);
        }
    }
}
