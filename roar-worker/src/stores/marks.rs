//! When what clients send passed the relay, told by it in shared memory to whoever reads the
//! copies, which may be later, when the task that had sent it has ended.
//!
//! A mark says that what comes from this offset on, in the order of the bytes that were
//! copied, passed at this time. The relay makes one where the client sends again after the
//! store has sent, so at every request; and before its bytes can be read.

use std::io;
use std::sync::Arc;

use crate::clock;
use crate::sys::mapping::Mapping;

/// Connections at once that have marks.
const SLOTS: u64 = 256;
/// Marks that are kept of each.
const KEPT: u64 = 31;
const SLOT: u64 = 512;
/// Of a slot: the connection's number and 1, and how many marks were made.
const OWNER: u64 = 0;
const COUNT: u64 = 8;
const FIRST: u64 = 16;
/// Of a mark: the offset, and the time.
const MARK: u64 = 16;
const TIME: u64 = 8;

/// The shared memory.
pub(super) struct Marks(Mapping);

impl Marks {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let length = usize::try_from(SLOTS * SLOT).map_err(io::Error::other)?;
        Ok(Arc::new(Self(Mapping::anonymous(length)?)))
    }

    fn load(&self, at: u64) -> u64 {
        self.0.load(usize::try_from(at).unwrap_or(usize::MAX))
    }

    fn store(&self, at: u64, value: u64) {
        self.0
            .store(usize::try_from(at).unwrap_or(usize::MAX), value);
    }
}

/// Whether two connections cannot have marks at once.
pub(super) fn share_a_slot(one: u64, other: u64) -> bool {
    one % SLOTS == other % SLOTS
}

fn slot(connection: u64) -> u64 {
    connection % SLOTS * SLOT
}

fn mark(connection: u64, index: u64) -> u64 {
    slot(connection) + FIRST + index % KEPT * MARK
}

/// Makes the marks of one connection.
pub(super) struct Marker {
    marks: Arc<Marks>,
    connection: u64,
    count: u64,
}

impl Marker {
    pub(super) fn new(marks: Arc<Marks>, connection: u64) -> Self {
        marks.store(slot(connection) + COUNT, 0);
        marks.store(slot(connection) + OWNER, connection + 1);
        Self {
            marks,
            connection,
            count: 0,
        }
    }

    /// What comes from this offset on passes now.
    pub(super) fn mark(&mut self, offset: u64) {
        let at = mark(self.connection, self.count);
        self.marks.store(at, offset);
        self.marks.store(at + TIME, clock::stamp());
        self.count += 1;
        self.marks.store(slot(self.connection) + COUNT, self.count);
    }
}

/// Reads the marks of one connection, along with its copies.
pub(super) struct Reader {
    marks: Arc<Marks>,
    connection: u64,
    /// Marks that were read, and the time of the last.
    read: u64,
    time: Option<u64>,
    offset: u64,
}

impl Reader {
    pub(super) fn new(marks: Arc<Marks>, connection: u64) -> Self {
        Self {
            marks,
            connection,
            read: 0,
            time: None,
            offset: 0,
        }
    }

    /// How many bytes there are up to the next mark.
    pub(super) fn until_next(&mut self) -> usize {
        let next = self.reach();
        let left = next.map_or(u64::MAX, |next| next.saturating_sub(self.offset));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// So many bytes were read, all before the next mark. Gives when they passed; `None` when
    /// that is known no longer.
    pub(super) fn passed(&mut self, bytes: usize) -> Option<u64> {
        self.reach();
        self.offset += bytes as u64;
        self.time
    }

    /// Reads the marks up to here; gives the offset of the next one.
    fn reach(&mut self) -> Option<u64> {
        let (connection, marks) = (self.connection, &self.marks);
        // They are another's yet, or again.
        if marks.load(slot(connection) + OWNER) != connection + 1 {
            self.time = None;
            return None;
        }
        while self.read < marks.load(slot(connection) + COUNT) {
            let at = mark(connection, self.read);
            let (offset, time) = (marks.load(at), marks.load(at + TIME));
            let is_kept = marks.load(slot(connection) + COUNT) - self.read < KEPT
                && marks.load(slot(connection) + OWNER) == connection + 1;
            if is_kept && offset > self.offset {
                return Some(offset);
            }
            self.time = is_kept.then_some(time);
            self.read += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(connection: u64) -> (Marker, Reader) {
        let marks = Marks::new().unwrap();
        let marker = Marker::new(marks.clone(), connection);
        (marker, Reader::new(marks, connection))
    }

    #[test]
    fn bytes_have_the_time_of_the_last_mark_before_them() {
        let (mut marker, mut reader) = pair(300);
        let before = clock::stamp();
        marker.mark(0);
        let between = clock::stamp();
        marker.mark(10);
        assert_eq!(reader.until_next(), 10);
        let first = reader.passed(4).unwrap();
        assert!((before..=between).contains(&first));
        assert_eq!(reader.until_next(), 6);
        assert_eq!(reader.passed(6), Some(first));
        assert_eq!(reader.until_next(), usize::MAX);
        assert!(reader.passed(1).unwrap() >= between);
        // Made between the look and the read.
        assert_eq!(reader.until_next(), usize::MAX);
        marker.mark(11);
        let later = clock::stamp();
        marker.mark(20);
        assert!(reader.passed(1).unwrap() <= later);
        assert_eq!(reader.until_next(), 8);
    }

    #[test]
    fn what_nobody_kept_has_no_time() {
        let (mut marker, mut reader) = pair(1);
        for index in 0..KEPT + 3 {
            marker.mark(index * 10);
        }
        let times: Vec<_> = (0..KEPT + 3).map(|_| reader.passed(10)).collect();
        let unknown = times.iter().take_while(|time| time.is_none()).count();
        assert!((3..=5).contains(&unknown), "{unknown}");
        assert!(times.iter().skip(unknown).all(Option::is_some));

        let (mut marker, mut reader) = pair(2);
        marker.mark(0);
        let _other = Marker::new(marker.marks.clone(), 2 + SLOTS);
        assert_eq!(reader.passed(1), None);
        assert!(share_a_slot(2, 2 + SLOTS) && !share_a_slot(2, 3));
    }
}
