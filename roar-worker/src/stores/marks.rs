//! When what clients send passed the relay, told by it in shared memory to whoever reads the
//! copies, which may be later, when the task that had sent it has ended.
//!
//! A mark says that what comes from this offset on, in the order of the bytes that were
//! copied, passed at this time. The relay makes one where the client sends again after the
//! store has sent, so at every request; and before its bytes can be read. Before it closes the
//! copies it says in the same place whether the store has ended the connection in order.

use std::io;
use std::sync::Arc;

use crate::clock;
use crate::sys::mapping::Mapping;

/// Connections at once that have marks: more than there may be.
const SLOTS: u64 = 208;
/// Marks that are kept of each: as many as there are pieces in a pipe of 256 KiB, and more.
const KEPT: u64 = 80;
const SLOT: usize = 2048;
/// Of a slot: the connection's number and 1, how many marks were made, and 1 once it has ended
/// in order.
const OWNER: usize = 0;
const COUNT: usize = 8;
const ENDED: usize = 16;
const FIRST: usize = 24;
/// Of a mark: the offset, the time, and how much of the store's had been copied.
const MARK: usize = 24;
const TIME: usize = 8;
const ANSWERED: usize = 16;

/// The shared memory.
pub(super) struct Marks(Mapping);

impl Marks {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let length = SLOTS as usize * SLOT;
        Ok(Arc::new(Self(Mapping::anonymous(length)?)))
    }

    fn is_of(&self, connection: u64) -> bool {
        self.0.load(slot(connection) + OWNER) == connection + 1
    }

    fn count(&self, connection: u64) -> u64 {
        self.0.load(slot(connection) + COUNT)
    }
}

/// Whether two connections cannot have marks at once.
pub(super) fn share_a_slot(one: u64, other: u64) -> bool {
    one % SLOTS == other % SLOTS
}

fn slot(connection: u64) -> usize {
    (connection % SLOTS) as usize * SLOT
}

fn mark(connection: u64, index: u64) -> usize {
    slot(connection) + FIRST + (index % KEPT) as usize * MARK
}

/// Makes the marks of one connection.
pub(super) struct Marker {
    marks: Arc<Marks>,
    connection: u64,
    count: u64,
}

impl Marker {
    pub(super) fn new(marks: Arc<Marks>, connection: u64) -> Self {
        marks.0.store(slot(connection) + COUNT, 0);
        marks.0.store(slot(connection) + ENDED, 0);
        marks.0.store(slot(connection) + OWNER, connection + 1);
        Self {
            marks,
            connection,
            count: 0,
        }
    }

    /// What the client sends from this offset on passes now, when so much of what the store
    /// sends has been copied.
    pub(super) fn mark(&mut self, offset: u64, answered: u64) {
        if !self.marks.is_of(self.connection) {
            return;
        }
        let at = mark(self.connection, self.count);
        let memory = &self.marks.0;
        memory.store(at, offset);
        memory.store(at + TIME, clock::stamp());
        memory.store(at + ANSWERED, answered);
        self.count += 1;
        memory.store(slot(self.connection) + COUNT, self.count);
    }

    /// The store has ended the connection in order, and before its client did.
    pub(super) fn end(&self) {
        if self.marks.is_of(self.connection) {
            self.marks.0.store(slot(self.connection) + ENDED, 1);
        }
    }
}

/// Reads the marks of one connection, along with its copies.
pub(super) struct Timer {
    marks: Arc<Marks>,
    connection: u64,
    /// Marks that were read, and the time of the last.
    read: u64,
    time: Option<u64>,
    offset: u64,
}

/// The mark that comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Next {
    /// Bytes of the client's before it.
    pub(super) left: u64,
    /// Bytes of the store's, from the first on, that had been copied.
    pub(super) answered: u64,
}

impl Timer {
    pub(super) fn new(marks: Arc<Marks>, connection: u64) -> Self {
        Self {
            marks,
            connection,
            read: 0,
            time: None,
            offset: 0,
        }
    }

    /// So many bytes of the client's were read, all before the next mark. Gives when they
    /// passed; `None` when that is known no longer.
    pub(super) fn passed(&mut self, bytes: usize) -> Option<u64> {
        self.next();
        self.offset += bytes as u64;
        self.time
    }

    /// Whether the store has ended the connection in order, and before its client did.
    pub(super) fn has_ended(&self) -> bool {
        let (marks, connection) = (&self.marks, self.connection);
        marks.is_of(connection) && marks.0.load(slot(connection) + ENDED) == 1
    }

    /// When the last of what was read passed.
    pub(super) fn time(&self) -> Option<u64> {
        self.time
    }

    /// Reads the marks up to here.
    pub(super) fn next(&mut self) -> Option<Next> {
        let (connection, marks) = (self.connection, &self.marks);
        // They are another's yet, or again.
        if !marks.is_of(connection) {
            self.time = None;
            return None;
        }
        while self.read < marks.count(connection) {
            let at = mark(connection, self.read);
            let [offset, time, answered] = [0, TIME, ANSWERED].map(|of| marks.0.load(at + of));
            let is_kept =
                marks.count(connection).wrapping_sub(self.read) < KEPT && marks.is_of(connection);
            if is_kept && offset > self.offset {
                let left = offset - self.offset;
                return Some(Next { left, answered });
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

    fn pair(connection: u64) -> (Marker, Timer) {
        let marks = Marks::new().unwrap();
        let marker = Marker::new(marks.clone(), connection);
        (marker, Timer::new(marks, connection))
    }

    #[test]
    fn bytes_have_the_time_of_the_last_mark_before_them() {
        let (mut marker, mut timer) = pair(300);
        let before = clock::stamp();
        marker.mark(0, 0);
        let between = clock::stamp();
        marker.mark(10, 70);
        let next = |left| {
            let answered = 70;
            Some(Next { left, answered })
        };
        assert_eq!(timer.next(), next(10));
        let first = timer.passed(4).unwrap();
        assert!((before..=between).contains(&first));
        assert_eq!(timer.next(), next(6));
        assert_eq!(timer.passed(6), Some(first));
        assert_eq!(timer.next(), None);
        assert!(timer.passed(1).unwrap() >= between);
        // Made between the look and the read.
        assert_eq!(timer.next(), None);
        marker.mark(11, 80);
        let later = clock::stamp();
        marker.mark(20, 70);
        assert!(timer.passed(1).unwrap() <= later);
        assert_eq!(timer.next(), next(8));
    }

    #[test]
    fn what_nobody_kept_has_no_time() {
        let (mut marker, mut timer) = pair(1);
        for index in 0..KEPT + 3 {
            marker.mark(index * 10, 0);
        }
        let times: Vec<_> = (0..KEPT + 3).map(|_| timer.passed(10)).collect();
        let unknown = times.iter().take_while(|time| time.is_none()).count();
        assert!((3..=5).contains(&unknown), "{unknown}");
        assert!(times.iter().skip(unknown).all(Option::is_some));

        let (mut marker, mut timer) = pair(2);
        marker.mark(0, 0);
        let mut other = Marker::new(marker.marks.clone(), 2 + SLOTS);
        assert_eq!(timer.passed(1), None);
        let mut others = Timer::new(marker.marks.clone(), 2 + SLOTS);
        marker.mark(0, 0);
        assert_eq!(others.passed(1), None);
        other.mark(0, 0);
        assert!(others.passed(1).is_some());
        assert!(share_a_slot(2, 2 + SLOTS) && !share_a_slot(2, 3));
    }

    #[test]
    fn an_end_in_order_is_that_connections() {
        let (marker, timer) = pair(5);
        assert!(!timer.has_ended());
        marker.end();
        assert!(timer.has_ended());
        let other = Marker::new(marker.marks.clone(), 5 + SLOTS);
        marker.end();
        let others = Timer::new(marker.marks.clone(), 5 + SLOTS);
        assert!(!timer.has_ended() && !others.has_ended());
        other.end();
        assert!(others.has_ended());
    }
}
