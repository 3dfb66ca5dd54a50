//! Mirrors a fragment file to a sink as it grows.
//!
//! A thread of its own sends what the file has grown by: whatever the sink does, nobody
//! who answers notifications waits for it. The file itself is the queue. Beside it, as
//! long as the sink has not got all of it, lies a note that says how much it has. Its
//! supervisor holds a lock on the note; one that was left behind, because the supervisor
//! was killed or the sink was away at its end, is taken up by the next that reaches the
//! sink.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use roar_lineage::fragment;

use crate::sink::Sink;

/// Extension of the note beside a file that the sink has not got all of.
pub const EXTENSION: &str = "unsent";

/// Between two slices of a file that the sink keeps up with.
const PERIOD: Duration = Duration::from_secs(1);
/// The largest slice (bytes).
const SLICE: usize = 1 << 20;
/// The first pause after a failure, which doubles with each further one.
const RETRY: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest when nothing is left but to send the rest.
const LONGEST_AT_END: Duration = Duration::from_secs(2);
/// How long the end may take.
const END: Duration = Duration::from_secs(10);
/// The thread's stack (bytes), of which only what is used takes memory.
const STACK: usize = 2 << 20;

/// Mirrors one file.
pub struct Mirror {
    length: Arc<AtomicU64>,
    grown: SyncSender<()>,
    done: Receiver<()>,
}

impl Mirror {
    /// Mirrors `file`, which may not be there yet, under its own name.
    pub fn begin(file: &Path, sink: Box<dyn Sink>) -> Option<Self> {
        let (grown, news) = sync_channel(1);
        let (finished, done) = channel();
        let length = Arc::new(AtomicU64::new(0));
        let (path, goal) = (file.to_owned(), Arc::clone(&length));
        let work = move || {
            mirror(&path, &*sink, &goal, &news);
            let _ = finished.send(());
        };
        let thread = std::thread::Builder::new().name("roar-mirror".into());
        thread.stack_size(STACK).spawn(work).ok()?;
        Some(Self {
            length,
            grown,
            done,
        })
    }

    /// The file has grown to `length` (bytes), and what is before stays as it is.
    pub fn grown(&self, length: u64) {
        self.length.store(length, Ordering::Release);
        // Where there is a message already it is enough.
        let _ = self.grown.try_send(());
    }

    /// Waits until the sink has all, though not for ever.
    pub fn finish(self) {
        drop(self.grown);
        let _ = self.done.recv_timeout(END);
    }
}

fn mirror(file: &Path, sink: &dyn Sink, goal: &AtomicU64, news: &Receiver<()>) {
    let mut upload = Upload::of(file);
    let (mut is_reached, mut failures) = (false, 0);
    let mut end = None;
    loop {
        let goal = goal.load(Ordering::Acquire);
        let is_over = if upload.sent >= goal {
            if end.is_some() {
                return upload.finish();
            }
            news.recv().is_err()
        } else {
            let pause = match upload.send(sink, goal) {
                Ok(()) if upload.sent < goal || end.is_some() => {
                    failures = 0;
                    Duration::ZERO
                }
                Ok(()) => {
                    // What others left waits for a sink that can be reached again.
                    is_reached = is_reached || take_up(file, sink);
                    failures = 0;
                    PERIOD
                }
                Err(error) => {
                    upload.note(&format!(" of {goal} bytes: {error}"));
                    (is_reached, failures) = (false, failures + 1);
                    pause_after(failures)
                }
            };
            match end {
                Some(end) if Instant::now() >= end => return,
                Some(_) => {
                    std::thread::sleep(pause.min(LONGEST_AT_END));
                    true
                }
                None => is_over_within(pause, news),
            }
        };
        if is_over && end.is_none() {
            end = Some(Instant::now() + END);
        }
    }
}

/// Rests; whether the file has grown for the last time.
fn is_over_within(pause: Duration, news: &Receiver<()>) -> bool {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if let Err(error) = news.recv_timeout(left) {
            return error == RecvTimeoutError::Disconnected;
        }
    }
}

/// Doubles with each failure, up to a limit; between a half of it and all, at random, so
/// that workers which failed together do not come back together.
fn pause_after(failures: u32) -> Duration {
    let longest = RETRY * (1 << (failures - 1).min(10));
    let random = RandomState::new().build_hasher().finish() % 1024;
    let half = longest.min(LONGEST) / 2;
    half + half * random as u32 / 1024
}

/// Sends what supervisors of the same directory left that are gone. False: the sink
/// cannot be reached any more.
fn take_up(own: &Path, sink: &dyn Sink) -> bool {
    let entries = own.parent().map(std::fs::read_dir);
    for entry in entries.and_then(Result::ok).into_iter().flatten().flatten() {
        let note = entry.path();
        let is_note = note.extension().is_some_and(|found| found == EXTENSION);
        if !is_note || note.file_stem() == own.file_stem() {
            continue;
        }
        let Some(mut upload) = Upload::left(&note) else {
            continue;
        };
        let length = std::fs::metadata(&upload.file).map_or(0, |data| data.len());
        match upload.send_all(sink, length) {
            Ok(()) => upload.finish(),
            Err(error) => {
                upload.note(&format!(" of {length} bytes: {error}"));
                // Somebody else's file in its place says nothing of the others.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return false;
                }
            }
        }
    }
    true
}

/// A file on its way.
struct Upload {
    file: PathBuf,
    /// How much the sink has (bytes).
    sent: u64,
    note: Option<File>,
}

impl Upload {
    fn of(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            sent: 0,
            note: None,
        }
    }

    /// What this note is about, if nobody else is at it.
    fn left(path: &Path) -> Option<Self> {
        let note = OpenOptions::new().read(true).write(true).open(path).ok()?;
        lock(&note)?;
        let text = io::read_to_string(&note).ok()?;
        Some(Self {
            file: path.with_extension(fragment::EXTENSION),
            sent: text
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            note: Some(note),
        })
    }

    /// Sends the next slice of the first `goal` bytes.
    fn send(&mut self, sink: &dyn Sink, goal: u64) -> io::Result<()> {
        if self.note.is_none() {
            self.note("");
        }
        let name = self.file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidFilename)?;
        let size = usize::try_from(goal - self.sent).map_or(SLICE, |rest| rest.min(SLICE));
        let mut slice = vec![0; size];
        File::open(&self.file)?.read_exact_at(&mut slice, self.sent)?;
        match sink.put(name, self.sent, &slice)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            taken => self.sent += taken as u64,
        }
        self.note("");
        Ok(())
    }

    fn send_all(&mut self, sink: &dyn Sink, length: u64) -> io::Result<()> {
        while self.sent < length {
            self.send(sink, length)?;
        }
        Ok(())
    }

    /// Notes how much the sink has, and what more is to be said.
    fn note(&mut self, more: &str) {
        if self.note.is_none() {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            self.note = options.open(self.path()).ok();
            self.note.as_ref().map(lock);
        }
        if let Some(note) = &self.note {
            let text = format!("{}{more}\n", self.sent);
            let _ = note.set_len(text.len() as u64);
            let _ = note.write_all_at(text.as_bytes(), 0);
        }
    }

    fn path(&self) -> PathBuf {
        self.file.with_extension(EXTENSION)
    }

    /// The sink has all of it.
    fn finish(self) {
        if self.note.is_some() {
            let _ = std::fs::remove_file(self.path());
        }
    }
}

/// Locks a file for this process. `None`: another has it.
fn lock(file: &File) -> Option<()> {
    let all = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_SETLK(&all)).ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Directory;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_mirrored_as_it_grows_and_when_the_sink_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.roarfrag");
        let place = directory.path().join("sink");
        std::fs::write(&place, "in the way").unwrap();
        let mirror = Mirror::begin(&file, Box::new(Directory(place.clone()))).unwrap();
        std::fs::write(&file, "one").unwrap();
        mirror.grown(3);
        std::thread::sleep(Duration::from_millis(200));
        let note = directory.path().join("f.unsent");
        assert!(text(&note).starts_with("0 of 3 bytes: "));
        std::fs::remove_file(&place).unwrap();
        std::fs::write(&file, "one two, and what is not complete").unwrap();
        mirror.grown(7);
        mirror.finish();
        assert_eq!(text(&place.join("f.roarfrag")), "one two");
        assert!(!note.exists());
    }

    #[test]
    fn what_a_supervisor_left_is_taken_up_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, content) in [
            ("left.roarfrag", "of one that is gone"),
            ("left.unsent", "3 of 19 bytes: the sink was away\n"),
            ("lost.unsent", "0\n"),
            ("own.roarfrag", "own"),
        ] {
            std::fs::write(path(name), content).unwrap();
        }
        std::fs::create_dir(path("sink")).unwrap();
        std::fs::write(path("sink/left.roarfrag"), "of ").unwrap();
        let sink = Box::new(Directory(path("sink")));
        let mirror = Mirror::begin(&path("own.roarfrag"), sink).unwrap();
        mirror.grown(3);
        let is_taken = || !path("left.unsent").exists() && !path("lost.unsent").exists();
        let end = Instant::now() + Duration::from_secs(5);
        while !is_taken() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        mirror.finish();
        assert!(is_taken());
        assert_eq!(text(&path("sink/left.roarfrag")), "of one that is gone");
        assert_eq!(text(&path("sink/own.roarfrag")), "own");
    }

    #[test]
    fn a_name_that_is_taken_holds_up_nobody_else() {
        struct Taken(Directory);
        impl Sink for Taken {
            fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<usize> {
                match name {
                    "a.roarfrag" | "d.roarfrag" => Err(io::ErrorKind::AlreadyExists.into()),
                    _ => self.0.put(name, offset, bytes),
                }
            }

            fn fetch(
                &self,
                _: &str,
                _: &mut dyn FnMut(usize, usize),
            ) -> io::Result<Vec<crate::sink::Kept>> {
                Ok(Vec::new())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for stem in ["a", "b", "c", "d"] {
            std::fs::write(path(&format!("{stem}.roarfrag")), "content").unwrap();
            std::fs::write(path(&format!("{stem}.unsent")), "0\n").unwrap();
        }
        let sink = Taken(Directory(path("sink")));
        assert!(take_up(&path("own.roarfrag"), &sink));
        let has_note = |stem: &&str| path(&format!("{stem}.unsent")).exists();
        let left: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(has_note).collect();
        assert_eq!(left, ["a", "d"]);
        assert!(text(&path("a.unsent")).starts_with("0 of 7 bytes: "));
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        for (failures, least, most) in [(1, 250, 500), (3, 1000, 2000), (60, 15_000, 30_000)] {
            let pause = pause_after(failures).as_millis();
            assert!((least..=most).contains(&pause), "{failures}: {pause}");
        }
    }
}
