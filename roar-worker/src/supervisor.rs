//! The supervisor: one thread that waits for notifications, ends of processes, results
//! of hashing and messages, and answers every notification whatever happens.
//!
//! Nothing it does between receiving and answering waits for anything but the local file
//! system. If it dies, the guardian answers; if the guardian dies, it makes another.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use foldhash::HashSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use roar_lineage::event::{Event, TaskNo};
use roar_lineage::model::{GapKind, Status, TaskKind};

use crate::accelerated::Known;
use crate::accelerator::Accelerator;
use crate::backend::{Backend, Listener};
use crate::digest_pool::DigestPool;
use crate::filter::Exemption;
use crate::inner::Inner;
use crate::mounts;
use crate::preload::Receiver;
use crate::proc::{self, Credentials};
use crate::process_table::{Membership, ProcessTable};
use crate::ptrace::Tracer;
use crate::scope::{self, Phase, Scope};
use crate::served::Served;
use crate::stores::Stores;
use crate::sys;
use crate::under_way::UnderWay;

/// How often the attribution pages are looked at when nothing happens (milliseconds).
const TICK_MS: u16 = 100;

/// What an epoll event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The preloaded library says something.
    Listener,
    /// The guardian ended.
    Guardian,
    /// Hashing has results.
    Hashing,
    /// A process ended.
    Process(u32),
    /// A message from an inner roar.
    Control(u32),
    /// Something was seen to pass to or from an object store.
    Stores,
    /// The relay of connections to object stores says something.
    Relay,
    /// Something that the supervisor's owner watches.
    Owner(u32),
}

impl Source {
    fn token(self) -> u64 {
        let (kind, value) = match self {
            Self::Listener => (0, 0),
            Self::Guardian => (1, 0),
            Self::Hashing => (2, 0),
            Self::Process(pid) => (3, pid),
            Self::Control(scope) => (4, scope),
            Self::Stores => (5, 0),
            Self::Relay => (6, 0),
            Self::Owner(which) => (7, which),
        };
        (kind << 32) | u64::from(value)
    }

    fn of(token: u64) -> Self {
        let value = token as u32;
        match token >> 32 {
            0 => Self::Listener,
            1 => Self::Guardian,
            2 => Self::Hashing,
            3 => Self::Process(value),
            4 => Self::Control(value),
            5 => Self::Stores,
            6 => Self::Relay,
            _ => Self::Owner(value),
        }
    }
}

/// What a turn of the loop brought to its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Something that the owner watches is ready.
    Owner(u32),
    /// A process of the tree ended, with its wait status where that is known.
    Ended(u32, Option<i32>),
    /// A scope's record is complete.
    Done(usize),
    /// No process of the tree is left.
    TreeEmpty,
    /// Time has passed.
    Tick,
}

/// The supervisor of one tree.
pub struct Supervisor {
    pub(crate) backend: Backend,
    is_tree_empty: bool,
    epoll: Epoll,
    pub(crate) table: ProcessTable,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) inner: Vec<Inner>,
    pub(crate) pool: DigestPool,
    pub(crate) own: Credentials,
    /// Processes with a task of their own, commands that Ray's job supervisor started and
    /// workers of other languages: the process, and the task in each scope.
    pub(crate) own_tasks: Vec<(u32, usize, TaskNo)>,
    /// File systems that must not be looked at, once the tree may serve some.
    pub(crate) served: Option<Served>,
    pub(crate) is_side: bool,
    /// Whether a process of the tree has asked for an attribution page.
    pub(crate) has_pages: bool,
    /// When the pages and rings were all looked at.
    looked: Instant,
    /// What programs load, where the filter exempts its calls.
    pub(crate) accelerator: Option<Accelerator>,
    /// Seccomp filters of the first process.
    pub(crate) filters: Option<u32>,
    /// Object stores, and connections to them.
    pub(crate) stores: Stores,
    /// Processes that record what they open without a notification.
    pub(crate) with_rings: BTreeSet<u32>,
    /// Whether a directory may have got another name since the pages were looked at.
    pub(crate) renames: bool,
    /// Calls that were let go a moment ago.
    pub(crate) under_way: UnderWay,
    /// Whether the tree may have mounted something.
    pub(crate) mounts: bool,
    /// That the file which was recorded last was opened from, for as long as that may be so.
    pub(crate) known_directory: Option<Known>,
}

impl Supervisor {
    /// Takes a listener over. The guardian runs when this returns.
    pub fn new(listener: OwnedFd, is_side: bool, exemption: Option<Exemption>) -> io::Result<Self> {
        let mut supervisor = Self::with(Backend::Notify(Listener::new(listener)?), is_side)?;
        supervisor.accelerator = exemption.and_then(|exempt| Accelerator::new(exempt).ok());
        Ok(supervisor)
    }

    /// Observes by a tracer. The owner says what it waited for ([`Supervisor::stopped`]).
    pub(crate) fn tracing(tracer: Tracer) -> io::Result<Self> {
        Self::with(Backend::Ptrace(tracer), false)
    }

    /// Observes by a library within the programs.
    pub(crate) fn preloaded(receiver: Receiver) -> io::Result<Self> {
        Self::with(Backend::Preload(receiver), false)
    }

    fn with(backend: Backend, is_side: bool) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let pool = DigestPool::new()?;
        mounts::begin();
        let own = proc::status(std::process::id()).map(|status| status.credentials);
        let supervisor = Self {
            backend,
            is_tree_empty: false,
            epoll,
            table: ProcessTable::default(),
            scopes: Vec::new(),
            inner: Vec::new(),
            pool,
            own: own.unwrap_or_default(),
            own_tasks: Vec::new(),
            served: None,
            is_side,
            has_pages: false,
            looked: Instant::now(),
            accelerator: None,
            filters: None,
            stores: Stores::default(),
            with_rings: BTreeSet::new(),
            renames: false,
            under_way: UnderWay::default(),
            mounts: false,
            known_directory: None,
        };
        match &supervisor.backend {
            Backend::Notify(listener) => {
                supervisor.watch(listener.guardian().pidfd(), Source::Guardian)?;
            }
            Backend::Preload(receiver) => {
                supervisor.watch(receiver.as_fd(), Source::Listener)?;
            }
            Backend::Ptrace(_) => {}
        }
        supervisor.watch(supervisor.pool.wake(), Source::Hashing)?;
        Ok(supervisor)
    }

    /// Adds a scope; the first one is that of the tree itself.
    pub fn add_scope(&mut self, scope: Scope) -> usize {
        self.scopes.push(scope);
        self.scopes.len() - 1
    }

    /// Watches a descriptor.
    pub fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        Ok(self
            .epoll
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.token()))?)
    }

    /// Watches a descriptor no longer.
    pub fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.delete(fd);
    }

    /// The tasks of a process whose parent nobody knows: the command itself.
    pub(crate) fn root_membership(&self) -> Membership {
        Membership::from([(0, 0)])
    }

    /// Waits for what comes next and deals with it, until something concerns the owner.
    pub fn turn(&mut self) -> Vec<Turn> {
        loop {
            let mut turns = self.finish_scopes();
            if !turns.is_empty() {
                return turns;
            }
            let mut events = [EpollEvent::empty(); 64];
            let (calls, ready) = self.wait(&mut events);
            self.backend.beat();
            let events = events.get(..ready).unwrap_or_default();
            // Ends first: a new process may have the id of one that ended.
            for event in events {
                if let Source::Process(pid) = Source::of(event.data()) {
                    turns.push(self.process_ended(pid));
                }
            }
            if calls.contains(PollFlags::POLLIN) {
                self.notified();
            } else if calls.contains(PollFlags::POLLHUP) {
                self.is_tree_empty = true;
                turns.push(Turn::TreeEmpty);
            }
            for event in events {
                match Source::of(event.data()) {
                    Source::Listener => self.told(),
                    Source::Guardian => self.replace_guardian(),
                    Source::Hashing => self.take_digests(),
                    Source::Stores => self.hear_of_stores(),
                    Source::Relay => self.hear_relay(),
                    Source::Control(index) => self.controlled(index as usize),
                    Source::Owner(which) => turns.push(Turn::Owner(which)),
                    Source::Process(_) => {}
                }
            }
            if sys::was_starved() {
                self.starved();
            }
            let is_time = self.looked.elapsed() >= Duration::from_millis(TICK_MS.into());
            if calls.is_empty() && ready == 0 || is_time && !self.with_rings.is_empty() {
                turns.push(Turn::Tick);
            }
            if !turns.is_empty() {
                self.looked = Instant::now();
                self.look_at_pages();
            }
            if !turns.is_empty() {
                return turns;
            }
        }
    }

    /// Waits until something happens: what the listener has, and how many other events.
    ///
    /// The listener is waited for by poll(2): with SYNC_WAKE_UP the kernel wakes this thread on
    /// the CPU of the caller then. epoll(7) forgets that on the way, and the scheduler prefers an
    /// idle CPU, all the more as a session of its own makes this process a group of its own
    /// (sched(7), autogroups): a notification costs twice as much.
    fn wait(&self, events: &mut [EpollEvent]) -> (PollFlags, usize) {
        let timeout = if self.has_pages || !self.with_rings.is_empty() {
            PollTimeout::from(TICK_MS)
        } else {
            PollTimeout::NONE
        };
        let others = PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN);
        let mut calls = PollFlags::empty();
        let is_ready = match &self.backend {
            Backend::Notify(listener) if !self.is_tree_empty => {
                let listener = PollFd::new(listener.as_fd(), PollFlags::POLLIN);
                let mut fds = [listener, others];
                let _ = poll(&mut fds, timeout);
                let [listener, others] = fds;
                calls = listener.revents().unwrap_or(calls);
                others.any().unwrap_or(false)
            }
            _ => poll(&mut [others], timeout).is_ok_and(|ready| ready > 0),
        };
        let ready = is_ready.then(|| self.epoll.wait(events, EpollTimeout::ZERO));
        (calls, ready.and_then(Result::ok).unwrap_or(0))
    }

    fn replace_guardian(&mut self) {
        let Backend::Notify(listener) = &mut self.backend else {
            return;
        };
        let _ = self.epoll.delete(listener.guardian().pidfd());
        if self.is_tree_empty || listener.replace_guardian().is_err() {
            return;
        }
        if let Backend::Notify(listener) = &self.backend {
            let _ = self.watch(listener.guardian().pidfd(), Source::Guardian);
        }
    }

    fn take_digests(&mut self) {
        for (version, outcome) in self.pool.results() {
            for scope in &mut self.scopes {
                scope.hashed(version, outcome);
            }
        }
    }

    /// What was looked for and not found may be there.
    fn starved(&mut self) {
        let detail = "the supervisor had too few descriptors or too little memory";
        let open = self.scopes.iter_mut();
        for scope in open.filter(|scope| scope.phase != Phase::Done) {
            scope.gap(0, GapKind::LostRecords, detail, 1);
        }
    }

    fn finish_scopes(&mut self) -> Vec<Turn> {
        let unseen = self.backend.unseen();
        let scopes = self.scopes.iter_mut().enumerate();
        let done = scopes.filter_map(|(index, scope)| {
            let is_done = scope.try_to_finish(unseen, &mut self.pool);
            is_done.then_some(Turn::Done(index))
        });
        let done: Vec<_> = done.collect();
        for turn in &done {
            if let Turn::Done(index) = turn {
                self.tell_done(*index);
            }
        }
        done
    }

    /// Begins the end of a scope: its command has ended.
    pub fn finish(&mut self, index: usize) {
        self.catch_up_all();
        self.settle_stores_at_last();
        if index == 0 {
            for pid in self.silent_orphans() {
                self.process_of(pid);
            }
        }
        let known = self.table.iter().filter(|process| {
            let mut scopes = process.membership.iter().map(|(scope, _)| *scope);
            process.exit_code.is_none() && scopes.any(|scope| scope == index)
        });
        let running: Vec<u32> = known.map(|process| process.key.pid).collect();
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let mut unfinished = HashSet::default();
        if !running.is_empty() && !self.is_side {
            let detail = "processes went on after the command had ended";
            scope.gap(0, GapKind::StillRunning, detail, running.len() as u64);
            unfinished.extend(running.iter().flat_map(|pid| proc::writable_files(*pid)));
        }
        scope.begin_to_finish(&unfinished, &mut self.pool);
    }

    /// Processes that outlived their parents, which makes them children of this one, the
    /// subreaper, and that have not called anything notified yet.
    fn silent_orphans(&self) -> Vec<u32> {
        let own = std::process::id();
        let guardian = match &self.backend {
            Backend::Notify(listener) => Some(listener.guardian().id()),
            _ => None,
        };
        let is_helper = |pid: u32| Some(pid) == guardian || self.stores.has(pid);
        let children = proc::children(own, own).into_iter();
        children
            .filter(|pid| !is_helper(*pid) && self.table.get(*pid).is_none())
            .filter(|pid| proc::is_alive(*pid))
            .collect()
    }

    /// This process is the parent or the tracer of one that ended, and takes its status.
    pub(crate) fn waited(&mut self, pid: u32, wait_status: i32) {
        if let Some(process) = self.table.get_mut(pid) {
            process.wait_status = Some(wait_status);
        }
    }

    pub(crate) fn process_ended(&mut self, pid: u32) -> Turn {
        self.catch_up(pid);
        self.learn(pid);
        self.settle_stores_of(pid);
        self.with_rings.remove(&pid);
        self.under_way.ended(pid);
        let Some(mut process) = self.table.remove(pid) else {
            return Turn::Ended(pid, None);
        };
        let pidfd = process.pidfd.take();
        let told = || {
            let pidfd = pidfd.as_ref()?;
            sys::process::exit_status(pidfd.as_fd())
        };
        // It tells once the parent has waited, which may be between two looks.
        let wait_status = process.wait_status.or_else(told);
        let wait_status = wait_status.or_else(|| proc::zombie_status(process.key));
        let wait_status = wait_status.or_else(told);
        let wait_status = wait_status.or(process.exit_code.map(|code| code << 8));
        if let Some(fd) = pidfd {
            self.unwatch(fd.as_fd());
        }
        let (_, exit_code, signal) =
            wait_status.map_or((Status::Unknown, None, None), scope::status_of);
        let at = scope::now();
        for (index, _) in process.membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let key = process.key;
                let ended = Event::ProcessEnded {
                    key,
                    exit_code,
                    signal,
                    at: at.0,
                };
                scope.recorder.record(&ended);
                // There may be very many, and a log is all that is read of this record.
                if !self.is_side && scope.recorder.is_logged() {
                    scope.recorder.state.forget_process(key);
                }
            }
        }
        let page = process.page.take();
        self.end_page(pid, &process.membership, page, at);
        self.end_own_task(pid, wait_status, at);
        Turn::Ended(pid, wait_status)
    }

    fn end_own_task(&mut self, pid: u32, wait_status: Option<i32>, at: (i64, u64)) {
        let (status, exit_code, signal) =
            wait_status.map_or((Status::Unknown, None, None), scope::status_of);
        for (_, index, no) in self.own_tasks.extract_if(.., |(of, ..)| *of == pid) {
            let Some(scope) = self.scopes.get_mut(index) else {
                continue;
            };
            match scope.recorder.state.task(no).cloned() {
                // How such a worker ends says nothing of its tasks.
                Some(task) if task.kind == TaskKind::RayTask => {
                    scope.end_task(no, task.status, task.status_detail, (None, None), at);
                }
                _ => scope.end_task(no, status, None, (exit_code, signal), at),
            }
        }
    }

    /// The phase of a scope.
    pub fn phase(&self, index: usize) -> Option<Phase> {
        self.scopes.get(index).map(|scope| scope.phase)
    }
}
