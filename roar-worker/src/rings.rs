//! The supervisor's side of the accelerator's memory (`roar_tracee::ring`): records of files
//! that a program opened for reading without a notification.
//!
//! The other side is the program's own, and may be anything: what does not hold together is
//! skipped, and counted as damaged.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bstr::BString;
use roar_lineage::model::FileVersion;
use roar_tracee::ring::{self, record};

use crate::clock;
use crate::sys::mapping::{self, Mapping};

/// One open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// When it was called, nanoseconds of `CLOCK_BOOTTIME`.
    pub stamp: u64,
    /// What was opened: a regular file.
    pub version: FileVersion,
    /// Number of its names.
    pub links: u64,
    /// Number on the attribution page of the task that did it; 0 for none.
    pub task: u64,
    /// Where no symbolic link was followed: where the path begins, which was canonical if that
    /// was.
    pub resolved: Option<Start>,
    /// The path.
    pub path: BString,
}

/// Where a path begins: at the root, or in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the root.
    Root,
    /// In this directory, by the name that the kernel gave.
    Directory {
        /// Length of that name (bytes).
        length: usize,
        /// Device and inode number, if that is certain.
        identity: Option<(u64, u64)>,
    },
}

/// The rings of one process.
pub struct Rings {
    map: Mapping,
    taken: [u64; ring::RING_COUNT],
    damaged: u64,
    looked: u64,
}

impl Rings {
    /// New rings, and the file by which the process maps them.
    pub fn new(secret: u64) -> io::Result<(Self, OwnedFd)> {
        let file = mapping::sealed_file(c"roar-ring", ring::FILE_SIZE)?;
        let map = Mapping::of(file.as_fd(), ring::FILE_SIZE)?;
        map.store(ring::SECRET_AT, secret);
        map.store(ring::VERSION_AT, ring::VERSION);
        map.store(0, ring::MAGIC);
        let rings = Self {
            map,
            taken: [0; ring::RING_COUNT],
            damaged: 0,
            looked: clock::stamp(),
        };
        Ok((rings, file))
    }

    /// Has every later call be notified, of the process and of its children.
    pub fn turn_off(&self) {
        self.map.store(ring::OFF_AT, 1);
    }

    /// Has every later record name its task.
    pub fn name_tasks(&self) {
        self.map.store(ring::HAS_PAGE_AT, 1);
    }

    /// Has the process ask anew for the names of directories.
    pub fn rename_directories(&self) {
        let epoch = self.map.load(ring::EPOCH_AT);
        self.map.store(ring::EPOCH_AT, epoch.wrapping_add(1));
    }

    /// Whether something was written since the last time.
    pub fn has_more(&self) -> bool {
        let mut taken = self.taken.iter().enumerate();
        taken.any(|(index, taken)| self.map.load(control_at(index) + ring::HEAD) != *taken)
    }

    /// What was written since the last time, ring by ring. When, is the program's word, as far
    /// as that can be.
    pub fn take(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for index in 0..ring::RING_COUNT {
            self.take_from(index, &mut records);
        }
        let now = clock::stamp();
        for record in &mut records {
            record.stamp = record.stamp.clamp(self.looked.min(now), now);
        }
        self.looked = now;
        records
    }

    /// How often what was written did not hold together, since the last time.
    pub fn damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    fn take_from(&mut self, index: usize, records: &mut Vec<Record>) {
        const SIZE: u64 = ring::RING_SIZE as u64;
        let head = self.map.load(control_at(index) + ring::HEAD);
        let Some(taken) = self.taken.get_mut(index).filter(|taken| **taken != head) else {
            return;
        };
        let start = ring::RINGS_AT + index * ring::RING_SIZE;
        while *taken != head {
            let at = *taken % SIZE;
            let bytes = self.map.load(start + at as usize);
            let (length, path) = (bytes & 0xffff_ffff, (bytes >> 32) as u32);
            let is_whole = length >= 8 && length.is_multiple_of(8) && at + length <= SIZE;
            let left = head.wrapping_sub(*taken);
            if !is_whole || left > SIZE || length > left {
                self.damaged += 1;
                *taken = head;
                break;
            }
            if path != ring::SKIP {
                let at = start + at as usize;
                match record_at(&self.map, at, length as usize, path as usize) {
                    Some(record) => records.push(record),
                    None => self.damaged += 1,
                }
            }
            *taken = taken.wrapping_add(length);
        }
        self.map.store(control_at(index) + ring::TAIL, *taken);
    }
}

/// Offset of a ring's control words.
fn control_at(index: usize) -> usize {
    ring::CONTROL_AT + index * ring::CONTROL_SIZE
}

fn record_at(map: &Mapping, at: usize, length: usize, path: usize) -> Option<Record> {
    if path.checked_add(record::PATH)? > length {
        return None;
    }
    let word = |offset: usize| map.load(at + offset);
    Some(Record {
        stamp: word(record::STAMP),
        version: FileVersion {
            dev: word(record::DEV),
            ino: word(record::INO),
            size: word(record::SIZE),
            mtime: word(record::MTIME).cast_signed(),
            ctime: word(record::CTIME).cast_signed(),
        },
        links: word(record::LINKS),
        task: word(record::TASK),
        resolved: match word(record::RESOLVED) {
            0 => None,
            1 => Some(Start::Root),
            length => Some(Start::Directory {
                length: usize::try_from(length - 1).ok()?,
                identity: Some((word(record::DIRECTORY_DEV), word(record::DIRECTORY_INO)))
                    .filter(|(_, ino)| *ino != 0),
            }),
        },
        path: map.bytes(at + record::PATH, path).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(rings: &Rings, at: u64, words: &[u64]) {
        let start = ring::RINGS_AT;
        for (index, word) in words.iter().enumerate() {
            let at = (at as usize + 8 * index) % ring::RING_SIZE;
            rings.map.store(start + at, *word);
        }
    }

    fn set_head(rings: &Rings, head: u64) {
        rings.map.store(ring::CONTROL_AT + ring::HEAD, head);
    }

    fn a_record() -> Vec<u64> {
        let path = u64::from_le_bytes(*b"/a/b\0\0\0\0");
        vec![104 | 4 << 32, 7, 1, 2, 3, 4, 5, 1, 9, 1, 0, 0, path]
    }

    #[test]
    fn records_are_read_once_and_over_the_end_of_a_ring() {
        let (mut rings, _file) = Rings::new(1).unwrap();
        let length = 8 * a_record().len() as u64;
        let last = ring::RING_SIZE as u64 / length * length;
        for at in (0..last).step_by(length as usize) {
            write(&rings, at, &a_record());
        }
        set_head(&rings, last);
        let records = rings.take();
        assert_eq!(records.len() as u64, last / length);
        assert_eq!(records[0].resolved, Some(Start::Root));
        assert_eq!(records[0].path, "/a/b");
        assert_eq!((records[0].task, records[0].version.size), (9, 3));
        let left = ring::RING_SIZE as u64 - last;
        write(&rings, last, &[left | u64::from(ring::SKIP) << 32]);
        write(&rings, 0, &a_record());
        set_head(&rings, last + left + length);
        assert_eq!(rings.take().len(), 1);
        assert_eq!(rings.take(), []);
        assert_eq!(rings.damaged(), 0);
    }

    #[test]
    fn what_does_not_hold_together_is_lost_and_does_no_harm() {
        for words in [
            [0, 0],
            [4, 0],
            [u64::MAX, 0],
            [1 << 20, 0],
            [16 | 4 << 32, 0],
            [104 | 20 << 32, 0],
        ] {
            let (mut rings, _file) = Rings::new(1).unwrap();
            write(&rings, 0, &words);
            set_head(&rings, 16);
            assert_eq!(rings.take(), []);
            assert_eq!(rings.damaged(), 1, "{words:?}");
            assert_eq!(rings.damaged(), 0);
        }
        let (mut rings, _file) = Rings::new(1).unwrap();
        set_head(&rings, u64::MAX - 3);
        assert_eq!(rings.take(), []);
        assert_eq!(rings.damaged(), 1);
    }
}
