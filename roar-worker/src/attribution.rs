//! The supervisor's side of the attribution page (`roar_tracee::abi`): which task a
//! thread works for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use roar_lineage::object::{ObjectId, RayTaskId, hex};
use roar_tracee::abi::{self, entry, state};

use crate::clock;
use crate::process_table::Membership;
use crate::sys::mapping::{self, Mapping};

/// Slots without a thread after which the search for one ends.
const SLOT_GAP: usize = 64;

/// Ended tasks whose times are remembered.
const REMEMBERED: usize = 64;

/// Where Ray's job supervisor is defined.
const JOB_SUPERVISOR: &str = "ray.dashboard.modules.job.job_supervisor.";
/// What Ray itself runs as tasks and actors. Its libraries (ray.data, ray.train, …) run
/// their users' work and are not in this list.
const INTERNAL: [&str; 5] = [
    "ray.dashboard.",
    "ray._private.",
    "ray.util.client.",
    "ray.autoscaler.",
    "ray.util.placement_group.",
];

/// What a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A Ray task.
    Task,
    /// An actor's constructor.
    ActorInit,
    /// An actor's method.
    ActorMethod,
    /// Ray's own work, never shown.
    Internal,
    /// Ray's job supervisor: the processes it starts are drivers.
    JobSupervisor,
}

impl Kind {
    /// What its id and its function's qualified name say.
    fn of(id: &RayTaskId, func: &str) -> Self {
        if func.starts_with(JOB_SUPERVISOR) {
            Self::JobSupervisor
        } else if INTERNAL.iter().any(|prefix| func.starts_with(prefix)) {
            Self::Internal
        } else if id[8..20] == [0xff; 12] {
            Self::Task
        } else if id[..8] == [0xff; 8] {
            Self::ActorInit
        } else {
            Self::ActorMethod
        }
    }
}

/// A task as its worker described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageTask {
    /// Number on the page.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// Attempt, from 0.
    pub attempt: u32,
    /// Qualified name of the function.
    pub func: String,
    /// See `abi::entry::DETAIL`.
    pub detail: Option<String>,
    /// Task id, hexadecimal.
    pub task_id: String,
    /// Actor id, hexadecimal.
    pub actor_id: Option<String>,
    /// Job id, hexadecimal.
    pub job_id: String,
    /// Start: wall time, stamp.
    pub began: (i64, u64),
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageEnd {
    /// Number on the page.
    pub number: u64,
    /// Whether it ended with an exception.
    pub failed: bool,
    /// See `abi::entry::DETAIL`.
    pub detail: Option<String>,
    /// Wall time, stamp.
    pub at: (i64, u64),
}

/// Something that happened on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A task began.
    Began(PageTask),
    /// A task ended.
    Ended(PageEnd),
}

/// What a process says of itself on its page.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Context {
    /// `worker` or `driver`.
    pub role: String,
    /// Job id, hexadecimal.
    pub job_id: String,
    /// Node id, hexadecimal.
    pub node_id: String,
    /// Worker id, hexadecimal.
    pub worker_id: String,
    /// Name of Ray's session.
    pub session: String,
    /// The submission that the job belongs to; empty for none.
    pub submission_id: String,
}

/// Whose work a thread does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// A task's.
    Task(Membership),
    /// No task's: what the process does on its own account.
    None,
    /// One of several tasks', unknown which.
    Unknown,
}

/// An object of Ray's as the process described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageObject {
    /// Number of the task that received or passed it; 0 for the process itself.
    pub number: u64,
    /// The object.
    pub object: ObjectId,
    /// The task that it was passed to; none when it was received.
    pub receiver: Option<RayTaskId>,
    /// Size of its serialized value (bytes), where it is known.
    pub size: Option<u64>,
}

/// The page of one process.
pub struct Page {
    map: Mapping,
    next: u64,
    next_object: u64,
    lost_objects: u64,
    context: Arc<Context>,
    context_document: Vec<u8>,
    waiting: BTreeSet<u64>,
    tasks: HashMap<u64, Membership>,
    /// Tasks that ended last: number, and the times of begin and end.
    lately: VecDeque<(u64, u64, u64)>,
    /// When the last of those ended whose times are not remembered.
    forgotten: u64,
}

impl Page {
    /// A new page, and the file by which the process maps it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let file = mapping::sealed_file(c"roar-page", abi::PAGE_SIZE)?;
        let map = Mapping::of(file.as_fd(), abi::PAGE_SIZE)?;
        map.store(abi::VERSION_AT, abi::VERSION);
        map.store(0, abi::MAGIC);
        Ok((
            Self {
                map,
                next: 1,
                next_object: 0,
                lost_objects: 0,
                context: Arc::default(),
                context_document: Vec::new(),
                waiting: BTreeSet::new(),
                tasks: HashMap::new(),
                lately: VecDeque::new(),
                forgotten: 0,
            },
            file,
        ))
    }

    /// What the process says of itself, as far as that is whole.
    pub fn context(&mut self) -> Arc<Context> {
        let length = usize::try_from(self.map.load(abi::CONTEXT_LEN)).unwrap_or(0);
        let document = self.map.bytes(abi::CONTEXT, length.min(abi::CONTEXT_MAX));
        if document != self.context_document {
            self.context = Arc::new(serde_json::from_slice(&document).unwrap_or_default());
            self.context_document = document;
        }
        self.context.clone()
    }

    /// What has happened since the last look.
    pub fn changes(&mut self) -> Vec<Change> {
        let issued = self.map.load(abi::ISSUED);
        // A damaged word must not make us walk for ever.
        let issued = issued.min(self.next.saturating_add(abi::ENTRY_COUNT as u64));
        while self.next <= issued {
            self.waiting.insert(self.next);
            self.next += 1;
        }
        let mut changes = Vec::new();
        for number in self.waiting.clone() {
            let at = entry_at(number);
            if self.map.load(at + entry::NUMBER) != number {
                continue;
            }
            let is_known = self.tasks.contains_key(&number);
            let (state, detail) = halves(self.map.load(at + entry::STATE));
            if is_known && state == state::RUNNING {
                continue;
            }
            if !is_known {
                changes.push(Change::Began(self.task(number, at, detail)));
            }
            if state != state::RUNNING {
                self.waiting.remove(&number);
                let [began, ended] = [entry::BEGAN, entry::ENDED].map(|it| self.map.load(at + it));
                self.lately.push_back((number, began, ended));
                if self.lately.len() > REMEMBERED
                    && let Some((_, _, ended)) = self.lately.pop_front()
                {
                    self.forgotten = self.forgotten.max(ended);
                }
                changes.push(Change::Ended(PageEnd {
                    number,
                    failed: state == state::FAILED,
                    detail: self.string(detail),
                    at: on_both_clocks(self.map.load(at + entry::ENDED)),
                }));
            }
        }
        changes
    }

    /// Objects since the last look.
    pub fn objects(&mut self) -> Vec<PageObject> {
        let mut objects = Vec::new();
        while objects.len() < abi::OBJECT_COUNT {
            let at = object_at(self.next_object);
            if self.map.load(at + abi::OBJECT_SEQUENCE) != self.next_object + 1 {
                break;
            }
            objects.push(self.object(at));
            self.next_object += 1;
        }
        if !objects.is_empty() {
            self.map.store(abi::OBJECTS_TAKEN, self.next_object);
        }
        objects
    }

    /// How many more objects found no room since the last look.
    pub fn lost_objects(&mut self) -> u64 {
        let lost = self.map.load(abi::OBJECTS_LOST);
        let more = lost.saturating_sub(self.lost_objects);
        self.lost_objects = lost;
        more
    }

    fn object(&self, at: usize) -> PageObject {
        let mut id = [0; 28];
        id.copy_from_slice(&self.map.bytes(at + abi::OBJECT_ID, 28));
        let mut receiver = [0; 24];
        receiver.copy_from_slice(&self.map.bytes(at + abi::OBJECT_RECEIVER, 24));
        let was_passed = (self.map.load(at + abi::OBJECT_WAS_PASSED - 4) >> 32) != 0;
        let size = self.map.load(at + abi::OBJECT_LENGTH);
        PageObject {
            number: self.map.load(at + abi::OBJECT_NUMBER),
            object: ObjectId(id),
            receiver: was_passed.then_some(receiver),
            size: (size != u64::MAX).then_some(size),
        }
    }

    fn task(&self, number: u64, at: usize, detail: u32) -> PageTask {
        let (func, attempt) = halves(self.map.load(at + entry::FUNC));
        let func = self.string(func).unwrap_or_default();
        let mut id: RayTaskId = [0; 24];
        id.copy_from_slice(&self.map.bytes(at + entry::TASK_ID, 24));
        let kind = Kind::of(&id, &func);
        let has_actor = id[8..20] != [0xff; 12];
        PageTask {
            number,
            kind,
            attempt,
            func,
            detail: self.string(detail),
            task_id: hex(&id),
            actor_id: has_actor.then(|| hex(&id[8..])),
            job_id: hex(&id[20..]),
            began: on_both_clocks(self.map.load(at + entry::BEGAN)),
        }
    }

    fn string(&self, reference: u32) -> Option<String> {
        let reference = reference as usize;
        if reference == 0 || reference >= abi::STRINGS_SIZE - 4 {
            return None;
        }
        let length = self.map.bytes(abi::STRINGS + reference, 4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let room = abi::STRINGS_SIZE - reference - 4;
        let text = self
            .map
            .bytes(abi::STRINGS + reference + 4, length.min(room));
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Remembers what a task's number stands for.
    pub fn assign(&mut self, number: u64, membership: Membership) {
        self.tasks.insert(number, membership);
    }

    /// What a task's number stands for.
    pub fn membership(&self, number: u64) -> Option<&Membership> {
        self.tasks.get(&number)
    }

    /// Frees the entry of a task that has ended and is recorded.
    pub fn release(&self, number: u64) {
        self.map.store(dirty_at(number), 0);
        self.map.store(entry_at(number) + entry::NUMBER, 0);
    }

    /// Asks the worker to say when a task ends, since it has written files.
    pub fn mark_dirty(&self, membership: &Membership) {
        for number in &self.waiting {
            if self.tasks.get(number) == Some(membership) {
                self.map.store(dirty_at(*number), 1);
            }
        }
    }

    /// Numbers of the tasks that have not ended.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        self.waiting
            .iter()
            .copied()
            .filter(|number| self.tasks.contains_key(number))
    }

    /// Whose work the thread does; `tid` as the thread sees it itself.
    pub fn work_of(&self, tid: u32) -> Work {
        let running = || self.map.load(abi::ONLY_RUNNING);
        let number = self.slot(tid).unwrap_or_else(running);
        self.work_numbered(number)
    }

    /// Whose work a task's number means: [`abi::MANY`] is not one, nor is 0.
    pub fn work_numbered(&self, number: u64) -> Work {
        match number {
            0 => Work::None,
            number => self
                .tasks
                .get(&number)
                .map_or(Work::Unknown, |task| Work::Task(task.clone())),
        }
    }

    /// Whose work a process did at a time, whichever of its threads did it.
    pub fn work_at(&self, stamp: u64) -> Work {
        if stamp <= self.forgotten {
            return Work::Unknown;
        }
        let began = |number: &u64| self.map.load(entry_at(*number) + entry::BEGAN) <= stamp;
        let running = self.running().filter(began);
        let during = |&&(_, began, ended): &&(u64, u64, u64)| (began..=ended).contains(&stamp);
        let lately = self
            .lately
            .iter()
            .filter(during)
            .map(|(number, ..)| *number);
        let mut numbers = running.chain(lately);
        match (numbers.next(), numbers.next()) {
            (Some(number), None) => self.work_numbered(number),
            (None, _) => Work::None,
            _ => Work::Unknown,
        }
    }

    fn slot(&self, tid: u32) -> Option<u64> {
        let mut empty = 0;
        for index in 0..abi::SLOT_COUNT {
            let at = abi::SLOTS + index * abi::SLOT_SIZE;
            match self.map.load(at) {
                0 => empty += 1,
                owner if owner == u64::from(tid) => return Some(self.map.load(at + 8)),
                _ => empty = 0,
            }
            if empty > SLOT_GAP {
                break;
            }
        }
        None
    }
}

fn index_of(number: u64) -> usize {
    (number % abi::ENTRY_COUNT as u64) as usize
}

fn entry_at(number: u64) -> usize {
    abi::ENTRIES + index_of(number) * abi::ENTRY_SIZE
}

fn dirty_at(number: u64) -> usize {
    abi::DIRTY + index_of(number) * 8
}

/// The two 32-bit integers in a word.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Wall time and stamp of a stamp.
fn on_both_clocks(stamp: u64) -> (i64, u64) {
    let ago = clock::stamp().saturating_sub(stamp);
    (clock::wall().saturating_sub_unsigned(ago), stamp)
}

fn object_at(index: u64) -> usize {
    abi::OBJECTS + (index % abi::OBJECT_COUNT as u64) as usize * abi::OBJECT_SIZE
}
