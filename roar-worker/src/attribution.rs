//! The supervisor's side of the attribution page (`roar_tracee::abi`): which task a
//! thread works for.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use roar_lineage::object::{ObjectId, RayTaskId, hex};
use roar_tracee::abi::{self, entry, state};

use crate::process_table::Membership;
use crate::sys::mapping::{self, Mapping};

/// Slots without a thread after which the search for one ends.
const SLOT_GAP: usize = 64;

/// A task as its worker described it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageTask {
    /// Number on the page.
    pub number: u64,
    /// One of `abi::state`.
    pub state: u64,
    /// One of `abi::kind`.
    pub kind: u32,
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
    /// End: wall time, stamp.
    pub ended: (i64, u64),
}

/// Something that happened on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A task began.
    Began(PageTask),
    /// A task ended.
    Ended(PageTask),
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
    waiting: BTreeSet<u64>,
    tasks: HashMap<u64, Membership>,
}

impl Page {
    /// A new page, and the file by which the process maps it.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let file = mapping::memory_file(c"roar-page", abi::PAGE_SIZE)?;
        let map = Mapping::of(file.as_fd(), abi::PAGE_SIZE)?;
        map.store(abi::VERSION_AT, abi::VERSION);
        map.store(0, abi::MAGIC);
        Ok((
            Self {
                map,
                next: 1,
                next_object: 0,
                lost_objects: 0,
                waiting: BTreeSet::new(),
                tasks: HashMap::new(),
            },
            file,
        ))
    }

    /// The context document, once it is whole.
    pub fn context(&self) -> Option<serde_json::Value> {
        let length = usize::try_from(self.map.load(abi::CONTEXT_LEN)).ok()?;
        if length == 0 || length > abi::CONTEXT_MAX {
            return None;
        }
        serde_json::from_slice(&self.map.bytes(abi::CONTEXT, length)).ok()
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
            let state = self.map.load(at + entry::STATE);
            if state == state::FREE || self.map.load(at + entry::NUMBER) != number {
                continue;
            }
            let task = self.task(number, at, state);
            if !self.tasks.contains_key(&number) {
                changes.push(Change::Began(task.clone()));
            }
            if state != state::RUNNING {
                self.waiting.remove(&number);
                changes.push(Change::Ended(task));
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

    fn task(&self, number: u64, at: usize, state: u64) -> PageTask {
        let word = |offset| self.map.load(at + offset);
        let halves = |offset| (word(offset) as u32, (word(offset) >> 32) as u32);
        let hexadecimal = |offset, length| hex(&self.map.bytes(at + offset, length));
        let (kind, attempt) = halves(entry::KIND);
        let (func, detail) = halves(entry::FUNC);
        let actor_id = hexadecimal(entry::ACTOR_ID, 16);
        PageTask {
            number,
            state,
            kind,
            attempt,
            func: self.string(func).unwrap_or_default(),
            detail: self.string(detail),
            task_id: hexadecimal(entry::TASK_ID, 24),
            actor_id: actor_id
                .bytes()
                .any(|digit| digit != b'0')
                .then_some(actor_id),
            job_id: hexadecimal(entry::JOB_ID, 4),
            began: (word(entry::BEGAN_WALL).cast_signed(), word(entry::BEGAN)),
            ended: (word(entry::ENDED_WALL).cast_signed(), word(entry::ENDED)),
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
        self.map.store(entry_at(number) + entry::STATE, state::FREE);
    }

    /// Asks the worker to say when a task ends, since it has written files.
    pub fn mark_dirty(&self, membership: &Membership) {
        for number in &self.waiting {
            if self.tasks.get(number) == Some(membership) {
                self.map.store(entry_at(*number) + entry::DIRTY, 1);
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
        let number = match self.slot(tid) {
            Some(0) => return Work::None,
            Some(number) => number,
            None => match self.map.load(abi::ONLY_RUNNING) {
                0 => return Work::None,
                abi::MANY => return Work::Unknown,
                number => number,
            },
        };
        self.tasks
            .get(&number)
            .map_or(Work::Unknown, |task| Work::Task(task.clone()))
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

fn entry_at(number: u64) -> usize {
    abi::ENTRIES + (number % abi::ENTRY_COUNT as u64) as usize * abi::ENTRY_SIZE
}

fn object_at(index: u64) -> usize {
    abi::OBJECTS + (index % abi::OBJECT_COUNT as u64) as usize * abi::OBJECT_SIZE
}
