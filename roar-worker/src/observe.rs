//! From one notification to its answer.

use std::os::fd::{AsFd, OwnedFd};

use bstr::{BString, ByteSlice};
use roar_lineage::event::{Access, Event, TaskNo};
use roar_lineage::mask;
use roar_lineage::model::{GapKind, How};

use crate::arch;
use crate::attribution::{Page, Work};
use crate::clock;
use crate::decode::{self, Decoded, Execution};
use crate::digest_pool::HashJob;
use crate::live::LiveTracee;
use crate::proc;
use crate::process_table::{Identified, Membership};
use crate::supervisor::{Source, Supervisor};
use crate::sys::notify::{self, Notification};
use crate::sys::socket;
use crate::tracee::{Base, Tracee};

/// What a notification is answered with.
enum Answer {
    Continue,
    Descriptor(OwnedFd),
}

impl Supervisor {
    /// Receives one notification and answers it.
    pub(crate) fn notified(&mut self) {
        let Ok(notification) = self.shared.receive(self.listener.as_fd()) else {
            return;
        };
        let answer = self.observe(&notification);
        let listener = self.listener.as_fd();
        let id = notification.id;
        let answered = match answer {
            Answer::Continue => notify::send_continue(listener, id),
            Answer::Descriptor(fd) => notify::send_descriptor(listener, id, fd.as_fd()),
        };
        if answered.is_err() {
            // Gone, interrupted, or the kernel cannot add descriptors: never leave it waiting.
            let _ = notify::send_continue(listener, id);
        }
        self.shared.answered();
    }

    fn observe(&mut self, notification: &Notification) -> Answer {
        let tid = notification.pid;
        let stamp = clock::stamp();
        let Some((call, pointer)) = arch::call(notification.arch, notification.nr) else {
            return Answer::Continue;
        };
        let otherwise = self.root_membership();
        let pid = match self.table.identify(tid, &otherwise) {
            Identified::Known(pid) => pid,
            Identified::New(pid) => {
                self.introduce(pid);
                pid
            }
            Identified::Gone => return Answer::Continue,
        };
        self.look_at_page(pid);
        self.confirm_exec(pid);
        let Some(process) = self.table.get_mut(pid) else {
            return Answer::Continue;
        };
        if process.changes_credentials {
            process.refresh(tid);
        }
        let base = process.membership.clone();
        let work = process.work_of(tid);
        let tracee = LiveTracee {
            pid,
            tid,
            credentials: &process.credentials,
            own: &self.own,
            is_elsewhere: process.is_elsewhere,
        };
        let decoded = decode::decode(&tracee, call, pointer, notification.args);
        let decoded = match decoded {
            Ok(Decoded::Files(mut accesses)) => {
                accesses.extend(imports(&tracee, &accesses));
                Decoded::Files(accesses)
            }
            Ok(decoded) => decoded,
            Err(_) => {
                if notify::is_valid(self.listener.as_fd(), notification.id) {
                    self.unreadable(&base);
                }
                Decoded::Files(Vec::new())
            }
        };
        let events = match &decoded {
            Decoded::Files(accesses) => accesses.len(),
            _ => 1,
        };
        if events >= decode::MAX_MOVED {
            let detail = "a directory was renamed that has more files than are followed";
            self.gap(&base, GapKind::LostRecords, detail);
        }
        for (index, _) in base.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.count(events);
            }
        }
        self.act(pid, tid, &work, decoded, stamp)
    }

    fn act(&mut self, pid: u32, tid: u32, work: &Work, decoded: Decoded, stamp: u64) -> Answer {
        match decoded {
            Decoded::Files(accesses) => self.record(work, accesses, stamp),
            Decoded::Exec(execution) => self.executes(pid, work, *execution, stamp),
            Decoded::Fork => self.table.forks(pid, tid, work),
            Decoded::Works { process, number } => self.hand_over(pid, process, number),
            Decoded::Exit(code) => {
                self.table.exits(pid);
                if let Some(process) = self.table.get_mut(pid) {
                    process.exit_code = Some(code);
                }
            }
            Decoded::Sync => {}
            Decoded::Page => {
                return self
                    .give_page(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::Scope => {
                return self
                    .give_scope(pid)
                    .map_or(Answer::Continue, Answer::Descriptor);
            }
            Decoded::IoUring => {
                if let Work::Task(membership) = work {
                    let detail = "a ring was made; files opened through it are not seen";
                    self.gap(membership, GapKind::IoUring, detail);
                }
            }
            Decoded::Credentials | Decoded::Namespace => {
                // The call comes after this answer: look again at every later event.
                if let Some(process) = self.table.get_mut(pid) {
                    process.changes_credentials = true;
                }
            }
        }
        Answer::Continue
    }

    fn unreadable(&mut self, membership: &Membership) {
        self.gap(
            membership,
            GapKind::UnreadableMemory,
            "arguments of a call could not be read",
        );
    }

    fn gap(&mut self, membership: &Membership, kind: GapKind, detail: &str) {
        for (index, task) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.gap(*task, kind, detail, 1);
            }
        }
    }

    /// Records what a task did to files.
    fn record(&mut self, work: &Work, accesses: Vec<Access>, stamp: u64) {
        let Work::Task(membership) = work else {
            if let (false, Some(scope)) = (accesses.is_empty(), self.scopes.first_mut()) {
                scope.count_unattributed(accesses.len());
            }
            return;
        };
        for access in accesses {
            for (index, task) in membership.iter() {
                self.record_one(membership, *index, *task, &access, stamp);
            }
        }
    }

    fn record_one(
        &mut self,
        membership: &Membership,
        index: usize,
        task: TaskNo,
        access: &Access,
        stamp: u64,
    ) {
        let Some(scope) = self.scopes.get_mut(index) else {
            return;
        };
        let event = Event::Access {
            task,
            stamp,
            access: access.clone(),
        };
        if !scope.recorder.record(&event) {
            return;
        }
        match access {
            Access::Read {
                path, version, how, ..
            } => {
                let executed = matches!(how, How::Exec | How::Import);
                let category = scope.recorder.state.classifier().category(path, executed);
                if scope.hashing.wants(category, *version) {
                    self.pool.when_idle(HashJob {
                        path: path.clone(),
                        version: *version,
                        is_gone: false,
                        is_early: true,
                    });
                }
            }
            _ => {
                let page = scope
                    .page_of
                    .get(&task)
                    .and_then(|pid| self.table.get(*pid));
                if let Some(page) = page.and_then(|process| process.page.as_ref()) {
                    page.mark_dirty(membership);
                }
            }
        }
    }

    /// A process at its first event: what it is, and the files it came with.
    fn introduce(&mut self, pid: u32) {
        let exe = proc::link(pid, "exe");
        let argv = mask::arguments(&proc::command_line(pid));
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

    fn executes(&mut self, pid: u32, work: &Work, execution: Execution, stamp: u64) {
        let Execution {
            path,
            argv,
            reads,
            changes_credentials,
        } = execution;
        self.become_driver(pid, &argv);
        self.become_other_worker(pid, &argv);
        let work = match (self.table.get(pid), work) {
            // A worker's own exec, or one that became a driver just now.
            (Some(process), Work::Task(_)) if process.page.is_none() => {
                Work::Task(process.membership.clone())
            }
            _ => work.clone(),
        };
        if let Some(process) = self.table.get_mut(pid) {
            process.pending_exec = Some((path, mask::arguments(&argv)));
            process.changes_credentials |= changes_credentials;
        }
        self.record(&work, reads, stamp);
    }

    /// Records an exec once the process shows that it has happened.
    fn confirm_exec(&mut self, pid: u32) {
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        let Some((path, argv)) = process.pending_exec.take() else {
            return;
        };
        let Some(exe) = proc::link(pid, "exe") else {
            return;
        };
        if exe != path {
            // A script runs under its interpreter, with the arguments that it was given.
            let line = proc::command_line(pid);
            let last = line.last();
            if line.len() < argv.len() || last.is_none() || last != argv.last() {
                return;
            }
        }
        // The page belonged to the program that is gone.
        process.page = None;
        let (key, membership) = (process.key, process.membership.clone());
        for (index, _) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let (exe, argv) = (exe.clone(), argv.clone());
                scope.recorder.record(&Event::Exec { key, exe, argv });
            }
        }
    }

    fn give_page(&mut self, pid: u32) -> Option<OwnedFd> {
        let (page, file) = Page::new().ok()?;
        self.table.get_mut(pid)?.page = Some(page);
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

/// Modules of which only the compiled cache was opened: Python reads
/// `__pycache__/m.cpython-311.pyc` and not `m.py` when it is fresh (PEP 3147).
fn imports(tracee: &impl Tracee, accesses: &[Access]) -> Vec<Access> {
    let sources = accesses.iter().filter_map(|access| match access {
        Access::Read { path, .. } => source_of_cache(path),
        _ => None,
    });
    let reads = sources.filter_map(|source| {
        let found = tracee.lookup(Base::Cwd, &source, true).found()?;
        let how = How::Import;
        let (path, version) = (found.path, found.version);
        Some(Access::Read {
            path,
            version,
            how,
            via: None,
            inferred: true,
        })
    });
    reads.collect()
}

/// The module that a cache file was compiled from, where it may be a project's own.
fn source_of_cache(path: &[u8]) -> Option<BString> {
    let path = path.strip_suffix(b".pyc")?;
    let (directory, name) = path.rsplit_once_str(b"/")?;
    let directory = directory.strip_suffix(b"/__pycache__")?;
    let is_installed = |part: &[u8]| {
        matches!(part, b"site-packages" | b"dist-packages") || part.starts_with(b"python3.")
    };
    if directory.split(|byte| *byte == b'/').any(is_installed) {
        return None;
    }
    let module = name.split_str(b".").next()?;
    Some([directory, b"/", module, b".py"].concat().into())
}
