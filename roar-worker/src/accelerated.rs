//! From the accelerator's records to what they mean.
//!
//! A record says what was opened; by which name that is found is looked up when it is read:
//! before anything of the tree changes a name, and soon after otherwise.

use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use bstr::BString;
use foldhash::{HashMap, HashMapExt};
use roar_lineage::event::Access;
use roar_lineage::model::{GapKind, How};

use crate::arch::Call;
use crate::attribution::{Page, Work};
use crate::decode;
use crate::filter;
use crate::imports;
use crate::mounts;
use crate::proc;
use crate::process_table::Membership;
use crate::rings::{Record, Rings, Start};
use crate::supervisor::Supervisor;
use crate::sys::{self, file};
use crate::tracee::{Base, Found, Tracee};

/// A directory's path, and its device and inode number.
pub(crate) type Known = (BString, (u64, u64));

impl Supervisor {
    /// Gives a process rings of its own.
    pub(crate) fn give_rings(&mut self, pid: u32) -> Option<OwnedFd> {
        let process = self.table.get(pid)?;
        // One that shares its parent's memory would have the parent's records written.
        let has_own_memory =
            process.program.is_some() || !sys::process::share_memory(pid, process.ppid);
        if process.rings.is_some() || !has_own_memory || self.is_confined(pid) {
            return None;
        }
        // It may have set one itself since it began.
        if sys::process::is_memory_limited(pid) {
            return None;
        }
        let (rings, file) = Rings::new(self.accelerator.as_ref()?.secret()).ok()?;
        let process = self.table.get_mut(pid)?;
        if process.page.is_some() {
            rings.name_tasks();
        }
        process.rings = Some(rings);
        self.with_rings.insert(pid);
        Some(file)
    }

    /// Reads what was opened before a call: by its process, or by all where it may change
    /// what a name leads to.
    pub(crate) fn catch_up_before(&mut self, pid: u32, call: Call, args: [u64; 6]) {
        let [_, second, third, ..] = args;
        match call {
            Call::Seccomp | Call::Prctl => self.forbid_exemptions(pid),
            // Who watches calls, or changes them, is to see the program's own.
            Call::Ptrace => self.forbid_all_exemptions(),
            _ => {}
        }
        let changes_names = match call {
            Call::Open => filter::changes(second),
            Call::Openat => filter::changes(third),
            Call::Fork | Call::Clone | Call::Clone3 | Call::Execve | Call::Execveat => false,
            Call::ExitGroup | Call::Seccomp | Call::Prctl | Call::Connect => false,
            _ => true,
        };
        self.catch_up(pid);
        if changes_names {
            self.catch_up_all();
        }
        let renames_directories = match call {
            Call::Rename | Call::Renameat | Call::Renameat2 | Call::Rmdir | Call::Namespace => true,
            Call::Unlinkat => third as i32 & libc::AT_REMOVEDIR != 0,
            _ => false,
        };
        if renames_directories {
            self.rename_directories();
            self.renames = true;
        }
    }

    /// A directory may get another name, or may have got one when this was last called.
    pub(crate) fn rename_directories(&mut self) {
        self.renames = false;
        self.known_directory = None;
        for pid in &self.with_rings {
            let process = self.table.get(*pid);
            if let Some(rings) = process.and_then(|process| process.rings.as_ref()) {
                rings.rename_directories();
            }
        }
    }

    /// Reads what all processes have opened.
    pub(crate) fn catch_up_all(&mut self) {
        let has_opened = |pid: &&u32| {
            let process = self.table.get(**pid);
            process
                .and_then(|it| it.rings.as_ref())
                .is_some_and(Rings::has_more)
        };
        let waiting: Vec<u32> = self.with_rings.iter().filter(has_opened).copied().collect();
        for pid in waiting {
            self.catch_up(pid);
        }
    }

    /// A process is about to forbid itself system calls: it may be killed for one of ours.
    fn forbid_exemptions(&mut self, pid: u32) {
        if let Some(process) = self.table.get_mut(pid) {
            process.adds_filters = true;
        }
        let mut next = Some(pid);
        // A child has the rings of its parent until it has its own.
        while let Some(process) = next.and_then(|pid| self.table.get(pid)) {
            if let Some(rings) = &process.rings {
                rings.turn_off();
                return;
            }
            next = Some(process.ppid);
        }
    }

    /// Whether a process has more filters than the command had: to one that has forbidden
    /// itself system calls, ours may be fatal.
    pub(crate) fn is_confined(&self, pid: u32) -> bool {
        let known = self.table.get(pid).filter(|process| !process.adds_filters);
        let filters = match known {
            Some(process) => process.filters,
            None => proc::status(pid).and_then(|status| status.filters),
        };
        filters.is_none() || filters > self.filters
    }

    /// The tree has a tracer, or serves a file system of whose files the library would ask for
    /// the state.
    pub(crate) fn forbid_all_exemptions(&mut self) {
        self.accelerator = None;
        for pid in &self.with_rings {
            let rings = self
                .table
                .get(*pid)
                .and_then(|process| process.rings.as_ref());
            if let Some(rings) = rings {
                rings.turn_off();
            }
        }
    }

    /// What a process has opened since the last time.
    pub(crate) fn opened_by(&mut self, pid: u32) -> Vec<Record> {
        let Some(process) = self.table.get_mut(pid) else {
            return Vec::new();
        };
        let Some(rings) = &mut process.rings else {
            return Vec::new();
        };
        let records = rings.take();
        let damaged = rings.damaged();
        if records.is_empty() && damaged == 0 {
            return records;
        }
        process.opens += records.len() as u64;
        if process.changes_credentials {
            process.refresh(pid);
        }
        let base = process.membership.clone();
        if damaged > 0 {
            let detail = "the accelerator's memory was written by the program itself";
            self.gap(&base, GapKind::LostRecords, detail);
        }
        records
    }

    /// Records what a process has opened.
    pub(crate) fn record_opened(&mut self, pid: u32, records: &[Record], page: Option<&Page>) {
        // A program that opens the same again and again has records of the same.
        let mut seen = HashMap::with_capacity(records.len());
        let mut known = self.known_directory.take().filter(|_| !self.renames);
        let has_own_mounts = self.mounts && mounts::is_changed();
        for record in records {
            let Some(process) = self.table.get(pid) else {
                return;
            };
            let base = process.membership.clone();
            let before = seen.insert((record.version, record.task), &record.path);
            if before == Some(&record.path) {
                self.count_accelerated(&base, 1);
                continue;
            }
            let named = page.map_or(Work::None, |page| page.work_numbered(record.task));
            let work = match named {
                Work::None => process.own_work(),
                work => work,
            };
            let tracee = self.tracee(process, pid);
            let is_here = !tracee.is_elsewhere && !has_own_mounts && tracee.served.is_none();
            let mut is_gone = false;
            let mut accesses = Vec::new();
            if is_here && is_resolved(record, &mut known) {
                accesses.push(access(record, record.path.clone(), None));
            } else {
                match read(&tracee, record) {
                    Ok(Some(found)) => accesses.push(access(record, found.path, found.via)),
                    Ok(None) => {}
                    Err(Gone) => is_gone = true,
                }
            }
            accesses.extend(imports::sources(&tracee, &accesses));
            if mounts::was_detached() {
                self.gap(&base, GapKind::LostRecords, mounts::DETACHED);
            }
            if is_gone {
                let detail = "a file that was read was gone before it was looked at";
                self.gap(&base, GapKind::LostRecords, detail);
            }
            self.count_accelerated(&base, accesses.len());
            self.notice_client(pid, &accesses);
            self.record(&work, accesses, record.stamp);
        }
        self.known_directory = known;
    }

    fn count_accelerated(&mut self, membership: &Membership, events: usize) {
        for (index, _) in membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                scope.count_accelerated(events);
            }
        }
    }
}

/// Whether a device is that of the kernel's own file systems, reached by a symbolic link.
fn is_kernels(device: u64) -> bool {
    static DEVICES: LazyLock<[Option<u64>; 2]> = LazyLock::new(|| {
        [&b"/proc"[..], b"/sys"].map(|path| Some(file::stat_path(path).ok()?.dev))
    });
    DEVICES.contains(&Some(device))
}

/// The file is not where it was.
struct Gone;

/// What was opened, and where it is; `None` for what is not recorded.
fn read(tracee: &impl Tracee, record: &Record) -> Result<Option<Found>, Gone> {
    if is_kernels(record.version.dev) {
        return Ok(None);
    }
    let lookup = tracee.lookup(Base::Cwd, &record.path, true);
    let found = lookup.found().ok_or(Gone)?;
    let (there, version) = (found.version, record.version);
    if (there.dev, there.ino) != (version.dev, version.ino) {
        return Err(Gone);
    }
    let links = record.links;
    let was = Found {
        version,
        links,
        ..found
    };
    Ok(decode::named(&was).is_some().then_some(was))
}

fn access(record: &Record, path: BString, via: Option<BString>) -> Access {
    Access::Read {
        path,
        version: record.version,
        how: How::Open,
        via,
        inferred: false,
    }
}

/// Whether the file was where its path says. `known` is a directory that is where it was.
fn is_resolved(record: &Record, known: &mut Option<Known>) -> bool {
    let is_at = |path: &[u8], which| {
        let there = file::stat_path(path);
        there.is_ok_and(|there| (there.dev, there.ino) == which)
    };
    let is_it = match record.resolved {
        None => false,
        Some(Start::Root) => true,
        Some(Start::Directory { length, identity }) => {
            match (identity, record.path.get(..length)) {
                (Some(which), Some(path)) => {
                    let is_known = |(at, it): &Known| (at.as_slice(), *it) == (path, which);
                    let is_known = known.as_ref().is_some_and(is_known);
                    if !is_known {
                        *known = is_at(path, which).then(|| (path.into(), which));
                    }
                    known.is_some()
                }
                _ => is_at(&record.path, (record.version.dev, record.version.ino)),
            }
        }
    };
    is_it && decode::is_recorded(&record.path) && !is_kernels(record.version.dev)
}
