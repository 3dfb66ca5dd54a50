//! How far something is that takes long: one line on a terminal, which goes again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes longer is shown to go on.
const LONG: Duration = Duration::from_secs(2);
/// Between two lines.
const PERIOD: Duration = Duration::from_millis(200);

/// One thing that may take long.
pub struct Progress {
    began: Instant,
    last: Option<Instant>,
    is_seen: bool,
}

impl Progress {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            last: None,
            is_seen: io::stderr().is_terminal(),
        }
    }

    /// It is this far.
    pub fn at(&mut self, line: impl FnOnce() -> String) {
        let is_new = self.last.is_none_or(|last| last.elapsed() >= PERIOD);
        if self.is_seen && is_new && self.began.elapsed() >= LONG {
            self.last = Some(Instant::now());
            show(&format!("roar: {}", line()));
        }
    }

    /// It has ended.
    pub fn end(&self) {
        if self.last.is_some() {
            show("");
        }
    }
}

/// Instead of what the line showed before.
fn show(line: &str) {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
}
