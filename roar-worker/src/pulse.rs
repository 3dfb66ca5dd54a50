//! Whether a tracer gets on with the stop that it deals with, in memory that it shares with
//! the launcher. While it does not, its tracee stands still; and what it waits for may be
//! that very tracee, as where one decides on opens (fanotify(7)).

use std::io;

use crate::sys::mapping::Mapping;

/// A count that is odd while a stop is dealt with.
pub(crate) struct Pulse(Mapping);

impl Pulse {
    pub(crate) fn new() -> io::Result<Self> {
        Mapping::anonymous(4096).map(Self)
    }

    /// Does what there is to do at a stop.
    pub(crate) fn during<T>(&self, stop: impl FnOnce() -> T) -> T {
        let count = self.0.load(0);
        self.0.store(0, count.wrapping_add(1));
        let result = stop();
        self.0.store(0, count.wrapping_add(2));
        result
    }

    /// Which stop is being dealt with, if one is.
    pub(crate) fn stop(&self) -> Option<u64> {
        Some(self.0.load(0)).filter(|count| count % 2 == 1)
    }
}
