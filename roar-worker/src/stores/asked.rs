//! Requests that are under way on connections to stores: whose they are, and how they end.
//!
//! To find out whose a request is, what its program has told is read first, and with that
//! further requests and ends may be heard of, this request's own among them.

use roar_lineage::s3::ObjectAccess;

use crate::attribution::Work;

/// The requests that have not ended, or whose work nobody knows yet, in order.
#[derive(Default)]
pub(super) struct Asked {
    requests: Vec<Request>,
    next: u64,
}

struct Request {
    number: u64,
    connection: u64,
    stamp: u64,
    invocation: Option<String>,
    work: Option<Work>,
    accesses: Option<Vec<ObjectAccess>>,
}

/// A request that has ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    /// Whose it was.
    pub(super) work: Work,
    /// When it was made.
    pub(super) stamp: u64,
    /// The id of its operation.
    pub(super) invocation: Option<String>,
    /// What it came to.
    pub(super) accesses: Vec<ObjectAccess>,
}

impl Asked {
    /// A request was made on a connection; `work` where that is known. Gives its number.
    pub(super) fn begin(
        &mut self,
        connection: u64,
        stamp: u64,
        invocation: Option<String>,
        work: Option<Work>,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        self.requests.push(Request {
            number,
            connection,
            stamp,
            invocation,
            work,
            accesses: None,
        });
        number
    }

    /// Whose a request is. Gives that back if it has ended.
    pub(super) fn attribute(&mut self, number: u64, work: Work) -> Option<Ended> {
        let at = self.requests.iter().position(|it| it.number == number)?;
        self.requests.get_mut(at)?.work = Some(work);
        self.take(at)
    }

    /// The oldest request of a connection that has not ended did.
    pub(super) fn ended(&mut self, connection: u64, accesses: Vec<ObjectAccess>) -> Option<Ended> {
        let is_it = |it: &Request| it.connection == connection && it.accesses.is_none();
        let at = self.requests.iter().position(is_it)?;
        self.requests.get_mut(at)?.accesses = Some(accesses);
        self.take(at)
    }

    /// Whether a request of a connection has not ended.
    pub(super) fn is_waiting(&self, connection: u64) -> bool {
        let is_it = |it: &Request| it.connection == connection && it.accesses.is_none();
        self.requests.iter().any(is_it)
    }

    /// Of a connection nothing is heard any more.
    pub(super) fn forget(&mut self, connection: u64) {
        self.requests
            .retain(|it| it.connection != connection || it.accesses.is_some());
    }

    fn take(&mut self, at: usize) -> Option<Ended> {
        let request = self.requests.get(at)?;
        if request.work.is_none() || request.accesses.is_none() {
            return None;
        }
        let request = self.requests.remove(at);
        Some(Ended {
            work: request.work?,
            stamp: request.stamp,
            invocation: request.invocation,
            accesses: request.accesses?,
        })
    }
}

#[cfg(test)]
mod tests {
    use roar_lineage::s3::{ObjectAction, ObjectVersion};

    use super::*;

    fn put(key: &str) -> Vec<ObjectAccess> {
        vec![ObjectAccess {
            url: format!("s3://b/{key}").into(),
            action: ObjectAction::Put,
            version: ObjectVersion::default(),
        }]
    }

    fn work(task: u32) -> Work {
        Work::Task([(0, task)].into())
    }

    #[test]
    fn a_request_may_end_before_anybody_knows_whose_it_is() {
        let mut asked = Asked::default();
        let first = asked.begin(7, 10, None, None);
        let other = asked.begin(8, 11, None, None);
        let second = asked.begin(7, 12, None, Some(work(2)));
        assert_eq!(asked.ended(7, put("first")), None);
        let ended = asked.ended(7, put("second")).unwrap();
        assert_eq!((ended.stamp, ended.accesses), (12, put("second")));
        assert_eq!(asked.attribute(second, work(2)), None);
        asked.forget(7);
        asked.forget(8);
        let ended = asked.attribute(first, work(1)).unwrap();
        assert_eq!((ended.work, ended.stamp), (work(1), 10));
        assert_eq!(ended.accesses, put("first"));
        assert_eq!(asked.attribute(other, work(3)), None);
        assert!(asked.requests.is_empty());
    }
}
