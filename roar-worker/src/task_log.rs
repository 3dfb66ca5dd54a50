//! The log of one observer: checksummed, append-only, in the page cache before the call
//! that it tells of happens. Whoever survives the supervisor reads it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use roar_lineage::accumulate::Accumulator;
use roar_lineage::event::{Event, MAGIC};
use roar_lineage::frame::{self, BadHeader, Frames};

/// Bytes kept for a later try when the disk is full; beyond that records are lost.
const MAX_BACKLOG: usize = 8 << 20;
/// Bytes after which held records are written all the same.
const LARGEST_HELD: usize = 64 << 10;

/// A log being written.
pub struct TaskLog {
    file: File,
    backlog: Vec<u8>,
    holders: usize,
    lost: u64,
}

impl TaskLog {
    /// Begins a log in an empty file.
    pub fn begin(file: File) -> Self {
        let mut log = Self {
            file,
            backlog: Vec::new(),
            holders: 0,
            lost: 0,
        };
        log.backlog.extend_from_slice(&MAGIC);
        log.write_unless_held();
        log
    }

    fn append(&mut self, event: &Event) {
        let length = self.backlog.len();
        let is_encoded = frame::append(&mut self.backlog, event).is_ok();
        if !is_encoded || self.backlog.len() > MAX_BACKLOG {
            self.backlog.truncate(length);
            self.lost += 1;
            return;
        }
        self.write_unless_held();
    }

    fn write_unless_held(&mut self) {
        if self.holders == 0 || self.backlog.len() > LARGEST_HELD {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match self.file.write(&self.backlog) {
                Ok(0) => return,
                Ok(written) => {
                    self.backlog.drain(..written.min(self.backlog.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Records that could not be kept.
    pub fn lost(&self) -> u64 {
        self.lost + u64::from(!self.backlog.is_empty())
    }
}

/// What was observed, and where it is logged.
#[derive(Default)]
pub struct Recorder {
    /// The state so far.
    pub state: Accumulator,
    /// How many events have told something new: grows, and is the revision of what is
    /// sealed from here.
    pub revision: u64,
    log: Option<TaskLog>,
}

impl Recorder {
    /// A recorder that logs.
    pub fn with_log(log: TaskLog) -> Self {
        Self {
            state: Accumulator::default(),
            revision: 0,
            log: Some(log),
        }
    }

    /// Takes an event in, and logs it when it tells something new.
    pub fn record(&mut self, event: &Event) -> bool {
        let news = self.state.apply(event);
        self.revision += u64::from(news);
        if let (true, Some(log)) = (news, &mut self.log) {
            log.append(event);
        }
        news
    }

    /// While anybody holds it, what is recorded goes to the log in few large writes; when
    /// nobody does any longer, all of it is there.
    pub fn hold(&mut self, is_held: bool) {
        if let Some(log) = &mut self.log {
            log.holders = match is_held {
                true => log.holders + 1,
                false => log.holders.saturating_sub(1),
            };
            if log.holders == 0 {
                log.flush();
            }
        }
    }

    /// Whether there is a log.
    pub fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    /// What the log has, which is more than the state where that forgets.
    pub fn logged(&self) -> Option<Recorder> {
        read(&self.log.as_ref()?.file).ok()?
    }

    /// Log records that could not be kept.
    pub fn lost(&self) -> u64 {
        self.log.as_ref().map_or(0, TaskLog::lost)
    }
}

/// Reads back what a log has so far. `None` when it is none. Whoever writes on has the same file
/// offset: it is left alone.
pub fn read(log: &File) -> io::Result<Option<Recorder>> {
    let mut content = vec![0; log.metadata()?.len() as usize];
    log.read_exact_at(&mut content, 0)?;
    Ok(replay(&content).ok().map(|(recorder, _)| recorder))
}

/// Reads a log back. The flag says whether its end is torn.
pub fn replay(content: &[u8]) -> Result<(Recorder, bool), BadHeader> {
    let mut frames = Frames::new(frame::body_of(content, MAGIC)?);
    let mut recorder = Recorder::default();
    let mut is_damaged = false;
    for payload in frames.by_ref() {
        match postcard::from_bytes(payload) {
            Ok(event) => {
                recorder.record(&event);
            }
            Err(_) => is_damaged = true,
        }
    }
    Ok((recorder, is_damaged || frames.is_torn()))
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn a_log_is_read_while_somebody_writes_on() {
        let mut file = tempfile::tempfile().unwrap();
        let mut log = TaskLog::begin(file.try_clone().unwrap());
        log.backlog.extend_from_slice(b"more");
        log.flush();
        file.seek(io::SeekFrom::Start(3)).unwrap();
        assert!(read(&file).unwrap().is_some());
        assert_eq!(file.stream_position().unwrap(), 3);
    }
}
