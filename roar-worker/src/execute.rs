//! Execs: what they read, and whether they have happened.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use bstr::{BString, ByteSlice};
use nix::sys::statvfs::{FsFlags, statvfs};
use roar_lineage::event::Event;
use roar_lineage::mask;
use roar_lineage::model::GapKind;

use crate::accelerator::Loads;
use crate::attribution::Work;
use crate::decode::Execution;
use crate::outside;
use crate::proc;
use crate::process_table::Image;
use crate::scope;
use crate::stores::Client;
use crate::supervisor::Supervisor;
use crate::sys::file;

impl Supervisor {
    pub(crate) fn executes(&mut self, pid: u32, work: &Work, execution: Execution, stamp: u64) {
        let Execution {
            path,
            argv,
            reads,
            changes_credentials,
        } = execution;
        if changes_credentials && self.loses_privilege(pid, &path) {
            let name = scope::base_name(&path).as_bstr();
            let why = "set-uid programs do, where roar is not root";
            let detail = format!("{name} ran without its privilege ({why})");
            if let Some(process) = self.table.get(pid) {
                let membership = process.membership.clone();
                self.gap(&membership, GapKind::Privilege, &detail);
            }
        }
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
            process.executes();
            process.pending_exec = Some((path, mask::arguments(&argv)));
            process.loads = Loads::Asks;
            process.changes_credentials |= changes_credentials;
        }
        self.record(&work, reads, stamp);
    }

    /// Whether the privilege that a set-uid or set-gid file gives is kept from a process,
    /// and by roar: the supervisor itself made no such promise (execve(2), prctl(2)).
    fn loses_privilege(&self, pid: u32, path: &[u8]) -> bool {
        let promised = |pid| proc::status(pid).is_some_and(|status| status.no_new_privileges);
        let (Some(process), Ok(stat)) = (self.table.get(pid), file::stat_path(path)) else {
            return false;
        };
        let who = &process.credentials;
        let gives = stat.mode & libc::S_ISUID != 0 && stat.uid != who.uid
            || stat.mode & libc::S_ISGID != 0 && stat.gid != who.gid;
        let is_ignored = || {
            let path = std::ffi::OsStr::from_bytes(path);
            statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID))
        };
        gives && promised(pid) && !promised(std::process::id()) && !is_ignored()
    }

    /// Records an exec once the process shows that it has happened.
    pub(crate) fn confirm_exec(&mut self, pid: u32) {
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
        process.knows_stores = false;
        process.client = Client::None;
        process.logs_keys = false;
        if let Some(name) = outside::has_work_done(&exe, &argv) {
            let membership = process.membership.clone();
            let detail = format!("{} had work done by what is not traced", name.as_bstr());
            self.gap(&membership, GapKind::UntracedWorker, &detail);
        }
        self.record_exec(pid, &exe, &argv);
    }

    /// Records that a process has become another program.
    pub(crate) fn record_exec(&mut self, pid: u32, exe: &BString, argv: &[BString]) {
        let Some(process) = self.table.get_mut(pid) else {
            return;
        };
        process.image = Some(Arc::new(Image {
            exe: Some(exe.clone()),
            argv: argv.to_vec(),
        }));
        for (index, _) in process.membership.iter() {
            if let Some(scope) = self.scopes.get_mut(*index) {
                let (key, exe, argv) = (process.key, exe.clone(), argv.to_vec());
                scope.recorder.record(&Event::Exec { key, exe, argv });
            }
        }
    }
}
