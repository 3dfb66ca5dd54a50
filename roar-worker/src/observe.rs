//! From one notification to its answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use roar_lineage::event::Event;
use roar_lineage::mask;
use roar_lineage::model::GapKind;

use crate::arch::{self, Call};
use crate::attribution::{Page, Work};
use crate::backend::Backend;
use crate::clock;
use crate::decode::{self, Decoded};
use crate::imports;
use crate::live::LiveTracee;
use crate::memory::Unreadable;
use crate::mounts;
use crate::proc;
use crate::process_table::{Identified, Image, Membership, Process};
use crate::scope;
use crate::served::Served;
use crate::supervisor::{Source, Supervisor};
use crate::sys::notify::Notification;
use crate::sys::process;
use crate::sys::socket;
use crate::under_way::{self, Effect, Naming};

/// What a call is answered with.
pub(crate) enum Answer {
    /// It happens.
    Continue,
    /// It has happened, and its result is 0.
    Success,
    /// It has happened, or has not, and its result is this error.
    Fails(i32),
    /// Its result is a copy of this.
    Descriptor(OwnedFd),
}

/// A call at its entry.
pub(crate) struct Entry {
    /// Thread id.
    pub(crate) tid: u32,
    /// `AUDIT_ARCH_*`.
    pub(crate) arch: u32,
    /// System call number.
    pub(crate) nr: i32,
    /// Arguments.
    pub(crate) args: [u64; 6],
}

/// What a call will do, and for whom.
pub(crate) struct Observed {
    pid: u32,
    tid: u32,
    base: Membership,
    work: Work,
    stamp: u64,
    decoded: Result<Decoded, Unreadable>,
}

impl Observed {
    /// Whether nothing is known of it until it has returned: a file's name may not change
    /// hands, a program may not start.
    pub(crate) fn depends_on_its_result(&self) -> bool {
        match &self.decoded {
            Ok(Decoded::Files(_) | Decoded::Exec(_)) => true,
            Ok(Decoded::IoUring | Decoded::Hampers(_)) => true,
            Ok(_) => false,
            // What cannot be read the kernel may not be able to read either.
            Err(Unreadable) => true,
        }
    }
}

impl Supervisor {
    /// Receives one notification and answers it.
    pub(crate) fn notified(&mut self) {
        let Some(notification) = self.backend.receive() else {
            return;
        };
        let Notification {
            id,
            pid: tid,
            arch,
            nr,
            args,
            ..
        } = notification;
        let entry = Entry {
            tid,
            arch,
            nr,
            args,
        };
        self.hold_all_logs(true);
        let answer = self.loading(&entry).unwrap_or_else(|| {
            let observed = self.observe(&entry);
            let observed =
                observed.filter(|seen| seen.decoded.is_ok() || self.backend.is_waiting(id));
            observed.map_or(Answer::Continue, |observed| self.act(observed))
        });
        self.hold_all_logs(false);
        self.backend.answer(id, &answer);
    }

    fn hold_all_logs(&mut self, is_held: bool) {
        for scope in &mut self.scopes {
            scope.recorder.hold(is_held);
        }
    }

    /// What a call will do. `None`: nothing to record, or its thread is gone.
    pub(crate) fn observe(&mut self, entry: &Entry) -> Option<Observed> {
        let tid = entry.tid;
        let stamp = clock::stamp();
        let (call, pointer) = arch::call(entry.arch, entry.nr)?;
        let (pid, _) = self.process_of(tid)?;
        self.under_way.returned(tid, stamp);
        self.catch_up_before(pid, call, entry.args);
        self.confirm_exec(pid);
        let process = self.table.get_mut(pid)?;
        if let Call::Open | Call::Openat = call {
            process.opens += 1;
        }
        if process.changes_credentials {
            process.refresh(tid);
        }
        let process = self.table.get(pid)?;
        let mut tracee = self.tracee(process, tid);
        let (mut decoded, naming, is_unclear) =
            self.look(&mut tracee, entry, (call, pointer), stamp);
        if let Ok(Decoded::Files(accesses)) = &mut decoded {
            accesses.extend(imports::sources(&tracee, accesses));
        }
        let observed = Observed {
            pid,
            tid,
            base: process.membership.clone(),
            work: process.work_of(tid),
            stamp,
            decoded,
        };
        // A tracer looks when calls have returned.
        if !matches!(self.backend, Backend::Ptrace(_)) {
            if is_unclear {
                self.unclear(pid);
            }
            self.is_let_go(naming);
        }
        Some(observed)
    }

    /// What a call does, the names that it uses, and whether another process changes one of them
    /// just now: then it is looked at again, a few times.
    fn look(
        &self,
        tracee: &mut LiveTracee<'_>,
        entry: &Entry,
        (call, pointer): (Call, usize),
        stamp: u64,
    ) -> (Result<Decoded, Unreadable>, Naming, bool) {
        let pid = tracee.pid;
        let mut looks = 0;
        loop {
            let changing = self.under_way.changing(pid, Naming::has_happened);
            let decoded = decode::decode(tracee, call, pointer, entry.args);
            let mut names = tracee.names.take();
            tracee.mounts.take();
            names.retain(|name| decode::is_recorded(name));
            let accesses = match &decoded {
                Ok(Decoded::Files(accesses)) => accesses.as_slice(),
                _ => &[],
            };
            let is_remembered = !names.is_empty() && !self.table.has_one();
            let naming = Naming {
                pid,
                tid: entry.tid,
                nr: entry.nr,
                args: entry.args,
                executes: matches!(call, Call::Execve | Call::Execveat),
                stamp,
                ran: is_remembered.then(|| process::cpu_time(pid)).flatten(),
                effect: Effect::of(call, &names, accesses),
                is_over: Cell::default(),
                names,
            };
            let is_unclear = self.under_way.depends(&naming, &changing);
            looks += 1;
            if !is_unclear || looks == under_way::LOOKS {
                return (decoded, naming, is_unclear);
            }
            std::thread::sleep(under_way::PAUSE);
        }
    }

    /// A call that names files happens soon. Where others may come before or after it, and find
    /// something else, that is a gap.
    fn is_let_go(&mut self, naming: Naming) {
        if naming.names.is_empty() {
            return;
        }
        for pid in self.under_way.add(naming, Naming::has_happened) {
            self.unclear(pid);
        }
    }

    fn unclear(&mut self, pid: u32) {
        if let Some(membership) = self.table.get(pid).map(|it| it.membership.clone()) {
            let detail = "a process used a name at the very moment another changed it";
            self.gap(&membership, GapKind::LostRecords, detail);
        }
    }

    /// A thread's process, and whether this is its first event. `None`: it is gone.
    pub(crate) fn process_of(&mut self, tid: u32) -> Option<(u32, bool)> {
        let otherwise = self.root_membership();
        let sees_execs = self.backend.is_notify();
        match self.table.identify(tid, &otherwise, sees_execs) {
            Identified::Known(pid) => Some((pid, false)),
            Identified::New(pid) => {
                if self.filters.is_none() {
                    self.filters = self.table.get(pid).and_then(|process| process.filters);
                }
                self.introduce(pid);
                Some((pid, true))
            }
            Identified::Gone => None,
        }
    }

    /// A thread as it sees the file system.
    pub(crate) fn tracee<'a>(&'a self, process: &'a Process, tid: u32) -> LiveTracee<'a> {
        LiveTracee {
            pid: process.key.pid,
            tid,
            credentials: &process.credentials,
            own: &self.own,
            is_elsewhere: process.is_elsewhere,
            served: self.served.as_ref(),
            names: RefCell::default(),
            mounts: OnceCell::new(),
        }
    }

    /// Records what a call does, or did.
    pub(crate) fn acknowledge(&mut self, observed: Observed) {
        let _ = self.act(observed);
    }

    fn act(&mut self, observed: Observed) -> Answer {
        let Observed {
            pid,
            tid,
            base,
            work,
            stamp,
            decoded,
        } = observed;
        if self.served.as_ref().is_some_and(Served::was_met) {
            let detail = "files of a FUSE file system that the command itself serves";
            self.gap(&base, GapKind::Backend, detail);
        }
        if mounts::was_detached() {
            self.gap(&base, GapKind::LostRecords, mounts::DETACHED);
        }
        let Ok(decoded) = decoded else {
            self.count(&base, 0);
            self.unreadable(&base);
            return Answer::Continue;
        };
        let events = match &decoded {
            Decoded::Files(accesses) => accesses.len(),
            _ => 1,
        };
        self.count(&base, events);
        if events >= decode::MAX_MOVED {
            let detail = "a directory was renamed that has more files than are followed";
            self.gap(&base, GapKind::LostRecords, detail);
        }
        match decoded {
            Decoded::Files(accesses) => {
                self.notice_client(pid, &accesses);
                self.record(&work, accesses, stamp);
            }
            Decoded::Exec(execution) => self.executes(pid, &work, *execution, stamp),
            Decoded::Fork { is_plain } => self.table.forks(pid, tid, &work, is_plain),
            Decoded::Works { process, number } => self.hand_over(pid, process, number),
            Decoded::Exit(code) => {
                self.table.exits(pid);
                if let Some(process) = self.table.get_mut(pid) {
                    process.exit_code = Some(code);
                }
            }
            // One that shares another's memory writes to the other's rings.
            Decoded::Sync => self.catch_up_all(),
            Decoded::Rings => {
                return self
                    .give_rings(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::Keys => {
                return self
                    .give_keys(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::Page => {
                if !self.backend.is_notify() {
                    let detail = "the tasks of Ray workers are only told apart by notify";
                    self.gap(&base, GapKind::Backend, detail);
                    return Answer::Continue;
                }
                return self
                    .give_page(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::Scope if !self.backend.is_notify() => {}
            Decoded::Scope => {
                return self
                    .give_scope(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::Serves => {
                self.served.get_or_insert_with(Served::begin);
                self.forbid_all_exemptions();
            }
            Decoded::Connect { socket, address } => {
                return self.connects(pid, tid, &work, socket, address);
            }
            Decoded::Store(told) => self.told_of_store(pid, tid, &work, &told, stamp),
            Decoded::IoUring => {
                if let Work::Task(membership) = &work {
                    let detail = "a ring was made; files opened through it are not seen";
                    self.gap(membership, GapKind::IoUring, detail);
                }
            }
            Decoded::Hampers(detail) => {
                // A worker's own launcher asks, and does without.
                let exe = proc::link(pid, "exe").unwrap_or_default();
                let is_ours = matches!(scope::base_name(&exe), b"roar" | b"roar-worker");
                let is_met = self.backend.is_notify() && !is_ours;
                if let (Work::Task(membership), true) = (&work, is_met) {
                    self.gap(membership, GapKind::Backend, detail);
                }
            }
            Decoded::Credentials | Decoded::Namespace => {
                self.mounts |= matches!(decoded, Decoded::Namespace);
                // The call comes after this answer: look again at every later event.
                if let Some(process) = self.table.get_mut(pid) {
                    process.changes_credentials = true;
                }
            }
        }
        Answer::Continue
    }

    /// A process at its first event: what it is, and the files it came with.
    fn introduce(&mut self, pid: u32) {
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        let image = process.image.get_or_insert_with(|| {
            Arc::new(Image {
                exe: proc::link(pid, "exe"),
                argv: mask::arguments(&proc::command_line(pid)),
            })
        });
        let Image { exe, argv } = image.as_ref().clone();
        let Some(process) = self.table.get(pid) else {
            return;
        };
        if let Some(pidfd) = &process.pidfd {
            let _ = self.watch(pidfd.as_fd(), Source::Process(pid));
        }
        let at = clock::wall();
        for (index, task) in process.membership.iter() {
            let event = Event::Process {
                key: process.key,
                ppid: process.ppid,
                task: *task,
                exe: exe.clone(),
                argv: argv.clone(),
                at,
            };
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.recorder.record(&event);
            }
        }
    }

    fn give_page(&mut self, pid: u32) -> Option<OwnedFd> {
        let (page, file) = Page::new().ok()?;
        let process = self.table.get_mut(pid)?;
        process.page = Some(page);
        if let Some(rings) = &process.rings {
            rings.name_tasks();
        }
        self.has_pages = true;
        Some(file)
    }

    /// Gives an inner roar its own scope, by a socket over which it says more.
    fn give_scope(&mut self, pid: u32) -> Option<OwnedFd> {
        let (ours, theirs) = socket::pair().ok()?;
        self.expect_scope(pid, ours)?;
        Some(theirs)
    }
}
