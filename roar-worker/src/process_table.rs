//! The processes of the tree: who they are, whose work they do, who forked them.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};

use bstr::BString;
use foldhash::HashMap;
use roar_lineage::event::{ProcessKey, TaskNo};
use roar_lineage::model::FileVersion;

use crate::accelerator::Loads;
use crate::attribution::{Page, Work};
use crate::proc::{self, Credentials};
use crate::rings::Rings;
use crate::scope;
use crate::stores::Client;
use crate::sys::process;

/// The tasks that a process's events belong to: one in each scope around it, the
/// outermost first.
pub type Membership = Arc<[(usize, TaskNo)]>;

/// The program that a process runs.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its file.
    pub exe: Option<BString>,
    /// The arguments that it was given, masked.
    pub argv: Vec<BString>,
}

/// One process.
pub struct Process {
    /// Process id and start time.
    pub key: ProcessKey,
    /// Parent's process id at first sight.
    pub ppid: u32,
    /// Whose work it does unless its page says otherwise.
    pub membership: Membership,
    /// Whether it serves several tasks at once, so that nobody knows whose work it does.
    pub is_shared: bool,
    /// Whose work the processes that it forks do, where that is another's.
    pub child_membership: Option<Membership>,
    /// Its attribution page, once it has asked for one.
    pub page: Option<Page>,
    /// Where it records what it opens without a notification.
    pub rings: Option<Rings>,
    /// What the dynamic loader opens next.
    pub loads: Loads,
    /// Its program, once the loader has asked.
    pub program: Option<FileVersion>,
    /// Files that it has opened since.
    pub opens: u64,
    /// What it runs, as far as is known.
    pub image: Option<Arc<Image>>,
    /// How many seccomp filters it had at first sight.
    pub filters: Option<u32>,
    /// Whether it may have more by now.
    pub adds_filters: bool,
    /// Who it is to the file system.
    pub credentials: Credentials,
    /// Whether its credentials must be looked up at every event.
    pub changes_credentials: bool,
    /// Whether its root directory or mount namespace is not the supervisor's.
    pub is_elsewhere: bool,
    /// Whether it is in a pid namespace below the supervisor's.
    pub is_inner: bool,
    /// Program and arguments of an exec whose success was not seen yet.
    pub pending_exec: Option<(BString, Vec<BString>)>,
    /// Exit status announced by exit_group(2).
    pub exit_code: Option<i32>,
    /// Its wait status, once its parent or tracer, this process, has taken it.
    pub wait_status: Option<i32>,
    /// Whether it was asked which object stores it is told of.
    pub knows_stores: bool,
    /// Whether it has made a client of an object store.
    pub client: Client,
    /// Whether it logs its secrets of TLS.
    pub logs_keys: bool,
    /// Tells its end.
    pub pidfd: Option<OwnedFd>,
    /// Whether it has forked.
    has_forked: bool,
    /// Whether a child may be otherwise than it is.
    has_unlike: bool,
    /// The last fork of each thread that forked: all of the thread's children that are
    /// not known yet are of that fork, which may not have made its child yet.
    forks: HashMap<u32, Work>,
    /// Children whose work is known before their first event.
    children: HashMap<u32, Work>,
}

/// All processes, by process id.
#[derive(Default)]
pub struct ProcessTable {
    processes: HashMap<u32, Process>,
    threads: HashMap<u32, u32>,
    /// Processes whose work is known before their first event, whoever their parent is.
    unseen: HashMap<u32, Work>,
}

/// A thread's process.
pub enum Identified {
    /// It is in the table.
    Known(u32),
    /// It was just added.
    New(u32),
    /// It is gone already.
    Gone,
}

impl ProcessTable {
    /// The process of a thread, added to the table at first sight. `otherwise` is whose
    /// work a process does whose parent is not known. `sees_execs` tells whether a process's
    /// first event comes before it runs another program than its parent.
    pub fn identify(&mut self, tid: u32, otherwise: &Membership, sees_execs: bool) -> Identified {
        if self.processes.contains_key(&tid) {
            return Identified::Known(tid);
        }
        if let Some(&pid) = self.threads.get(&tid)
            && self.processes.contains_key(&pid)
            && proc::is_thread_of(tid, pid)
        {
            return Identified::Known(pid);
        }
        let like_parent = sees_execs.then(|| self.first_look_by_parent(tid)).flatten();
        let look = match like_parent {
            Some(look) => look,
            None => {
                let Some(status) = proc::status(tid) else {
                    return Identified::Gone;
                };
                if status.tgid != tid {
                    self.threads.insert(tid, status.tgid);
                }
                if self.processes.contains_key(&status.tgid) {
                    return Identified::Known(status.tgid);
                }
                match FirstLook::at(status) {
                    Some(look) => look,
                    None => return Identified::Gone,
                }
            }
        };
        let (pid, ppid) = (look.key.pid, look.ppid);
        let work = self.inherited(pid, ppid);
        let is_shared = work == Work::Unknown;
        let membership = match work {
            Work::Task(membership) => membership,
            _ => self
                .processes
                .get(&ppid)
                .map_or(otherwise, |parent| &parent.membership)
                .clone(),
        };
        let process = Process {
            key: look.key,
            ppid,
            membership,
            is_shared,
            child_membership: None,
            page: None,
            rings: None,
            loads: Loads::default(),
            program: None,
            opens: 0,
            image: look.image,
            filters: look.filters,
            adds_filters: false,
            credentials: look.credentials,
            changes_credentials: false,
            is_elsewhere: look.is_elsewhere,
            is_inner: look.is_inner,
            pending_exec: None,
            exit_code: None,
            wait_status: None,
            knows_stores: false,
            client: Client::None,
            logs_keys: self.processes.get(&ppid).is_some_and(|it| it.logs_keys),
            pidfd: look.pidfd,
            has_forked: false,
            has_unlike: false,
            forks: HashMap::default(),
            children: HashMap::default(),
        };
        self.processes.insert(pid, process);
        Identified::New(pid)
    }

    /// What a process is that its parent has just forked and that has done nothing yet: what
    /// the parent is. `None`: that is not so certain.
    fn first_look_by_parent(&self, tid: u32) -> Option<FirstLook> {
        // An orphan has another parent than it had; the first process has none here.
        if self.unseen.contains_key(&tid) || self.processes.is_empty() {
            return None;
        }
        // Of a thread that is not the first there is none.
        let pidfd = process::open_pidfd(tid).ok()?;
        let stat = proc::stat(tid)?;
        let parent = self.processes.get(&stat.ppid)?;
        let image = parent.image.as_ref()?;
        let is_like = parent.has_forked
            && !parent.has_unlike
            && !parent.changes_credentials
            && !parent.adds_filters
            && parent.pending_exec.is_none()
            && image.may_be_called(&stat.name);
        is_like.then(|| FirstLook {
            key: ProcessKey {
                pid: tid,
                start_ticks: stat.start_ticks,
            },
            ppid: stat.ppid,
            pidfd: Some(pidfd),
            image: Some(image.clone()),
            filters: parent.filters,
            credentials: parent.credentials.clone(),
            is_elsewhere: parent.is_elsewhere,
            is_inner: parent.is_inner,
        })
    }

    /// Whose work a new process does: that of the thread which forked it, at that time.
    fn inherited(&mut self, pid: u32, ppid: u32) -> Work {
        if let Some(work) = self.unseen.remove(&pid) {
            return work;
        }
        let Some(parent) = self.processes.get_mut(&ppid) else {
            return Work::None;
        };
        if let Some(membership) = &parent.child_membership {
            return Work::Task(membership.clone());
        }
        parent.bind_children();
        match parent.children.remove(&pid) {
            Some(work) => work,
            None => parent.own_work(),
        }
    }

    /// Notes whose work a process does from now on, which may not have called yet. True
    /// when it has.
    pub fn hand_over(&mut self, pid: u32, work: Work) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else {
            self.unseen.insert(pid, work);
            return false;
        };
        process.is_shared = work == Work::Unknown;
        if let Work::Task(membership) = work {
            process.membership = membership;
        }
        true
    }

    /// One process.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// One process.
    pub fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }

    /// Processes that have an attribution page.
    pub fn with_page(&self) -> Vec<u32> {
        let with = self
            .processes
            .iter()
            .filter(|(_, process)| process.page.is_some());
        with.map(|(pid, _)| *pid).collect()
    }

    /// Whether there is one process alone.
    pub fn has_one(&self) -> bool {
        self.processes.len() == 1
    }

    /// All processes.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Notes a fork by a thread that does this work. `is_plain` tells whether the child is in
    /// the same namespaces, and a child of this process.
    pub fn forks(&mut self, pid: u32, tid: u32, work: &Work, is_plain: bool) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.has_forked = true;
        if !is_plain {
            process.has_unlike = true;
            let ppid = process.ppid;
            if let Some(parent) = self.processes.get_mut(&ppid) {
                parent.has_unlike = true;
            }
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let own = process.own_work();
        let work = if *work == Work::None { &own } else { work };
        if process.page.is_some() || *work != own {
            process.bind_children();
            process.forks.insert(tid, work.clone());
        }
    }

    /// Notes that a process is about to end: its children will have another parent.
    pub fn exits(&mut self, pid: u32) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if !process.has_forked {
            return;
        }
        process.bind_children();
        let mut orphans = std::mem::take(&mut process.children);
        let work = match &process.child_membership {
            Some(membership) => Work::Task(membership.clone()),
            None => process.own_work(),
        };
        for tid in proc::threads(pid) {
            for child in proc::children(pid, tid) {
                orphans.entry(child).or_insert_with(|| work.clone());
            }
        }
        orphans.retain(|child, _| !self.processes.contains_key(child));
        self.unseen.extend(orphans);
    }

    /// Removes a process that has ended.
    pub fn remove(&mut self, pid: u32) -> Option<Process> {
        self.threads.retain(|_, owner| *owner != pid);
        self.processes.remove(&pid)
    }
}

/// What is seen of a process at its first event.
struct FirstLook {
    key: ProcessKey,
    ppid: u32,
    pidfd: Option<OwnedFd>,
    image: Option<Arc<Image>>,
    filters: Option<u32>,
    credentials: Credentials,
    is_elsewhere: bool,
    is_inner: bool,
}

impl FirstLook {
    /// `None`: it is gone.
    fn at(status: proc::Status) -> Option<Self> {
        let pid = status.tgid;
        let start_ticks = proc::stat(pid)?.start_ticks;
        Some(Self {
            key: ProcessKey { pid, start_ticks },
            ppid: status.ppid,
            pidfd: process::open_pidfd(pid).ok(),
            image: None,
            filters: status.filters,
            credentials: status.credentials,
            is_elsewhere: is_elsewhere(pid),
            is_inner: status.depth > 0,
        })
    }
}

impl Image {
    /// Whether the kernel may have given a thread this name for it: that of its file, or of
    /// the script or link by which it was called.
    fn may_be_called(&self, name: &[u8]) -> bool {
        const LONGEST: usize = 15;
        let mut paths = self.exe.iter().chain(self.argv.iter().take(2));
        paths.any(|path| {
            let own = scope::base_name(path);
            own.get(..LONGEST).unwrap_or(own) == name
        })
    }
}

impl Process {
    /// Notes that it is about to become another program.
    pub fn executes(&mut self) {
        self.has_unlike |= self.has_forked;
    }

    /// Learns which children the noted forks have made so far.
    fn bind_children(&mut self) {
        let pid = self.key.pid;
        for (tid, work) in &self.forks {
            for child in proc::children(pid, *tid) {
                self.children.entry(child).or_insert_with(|| work.clone());
            }
        }
        self.forks
            .retain(|tid, _| *tid == pid || proc::is_thread_of(*tid, pid));
    }

    /// Whose work it does, whatever its threads do.
    pub(crate) fn own_work(&self) -> Work {
        match self.is_shared {
            true => Work::Unknown,
            false => Work::Task(self.membership.clone()),
        }
    }

    /// Whose work one of its threads does.
    pub fn work_of(&self, tid: u32) -> Work {
        let Some(page) = &self.page else {
            return self.own_work();
        };
        let inner = match self.is_inner {
            true => proc::status(tid).map_or(tid, |status| status.inner_tid),
            false => tid,
        };
        match page.work_of(inner) {
            Work::None => self.own_work(),
            work => work,
        }
    }

    /// Whose work it did at a time, whichever of its threads did it.
    pub fn work_at(&self, stamp: u64) -> Work {
        match self.page.as_ref().map(|page| page.work_at(stamp)) {
            None | Some(Work::None) => self.own_work(),
            Some(work) => work,
        }
    }

    /// Looks again at what a call may have changed.
    pub fn refresh(&mut self, tid: u32) {
        if let Some(status) = proc::status(tid) {
            self.credentials = status.credentials;
        }
        // Of one that has ended nothing is to be known.
        let theirs = view(tid);
        if let [Some(_), _] = theirs {
            self.is_elsewhere = is_other(&theirs);
        }
    }
}

/// This process's root directory and mount namespace, which it never changes.
static OWN_VIEW: LazyLock<[Option<BString>; 2]> = LazyLock::new(|| view(std::process::id()));

fn view(pid: u32) -> [Option<BString>; 2] {
    ["root", "ns/mnt"].map(|name| proc::link(pid, name))
}

/// Whether a process has another root directory or mount namespace than this one.
fn is_elsewhere(pid: u32) -> bool {
    is_other(&view(pid))
}

fn is_other(theirs: &[Option<BString>; 2]) -> bool {
    let mut both = theirs.iter().zip(OWN_VIEW.iter());
    both.any(|(theirs, own)| theirs.is_some() && theirs != own)
}
