//! A second place for what is sealed, which outlives the node: each frame goes there as
//! well, as soon as it is sealed.
//!
//! A sink may hang for as long as it likes. It is fed from a thread of its own, and the
//! supervisor waits for it only at its own end, and not for long.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use roar_lineage::fragment;

/// Names a directory that all nodes share.
pub const VARIABLE: &str = "ROAR_SINK";
/// How long the last frames may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where frames go.
pub trait Sink: Send {
    /// Takes one more frame of an observer's fragments.
    fn append(&mut self, frame: &[u8]) -> io::Result<()>;
}

/// A directory that all nodes share: a file for each observer, as beside the worker.
pub struct SharedDirectory {
    file: PathBuf,
}

impl SharedDirectory {
    /// In `directory`, which is made with the first frame.
    pub fn new(directory: &Path, observer: &str) -> Self {
        let file = directory.join(format!("{observer}.{}", fragment::EXTENSION));
        Self { file }
    }
}

impl Sink for SharedDirectory {
    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if let Some(directory) = self.file.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        append(&self.file, frame)
    }
}

/// Appends a frame to a file of fragments, which is made if it is not there.
pub fn append(file: &Path, frame: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    if file.metadata()?.len() == 0 {
        file.write_all(&fragment::MAGIC)?;
    }
    file.write_all(frame)
}

/// Feeds a sink.
pub struct Feed {
    frames: Sender<Vec<u8>>,
    done: Receiver<()>,
}

impl Feed {
    /// Of the sink that the environment names, if it names one.
    pub fn of_environment(observer: &str) -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(VARIABLE)?);
        let sink = SharedDirectory::new(&directory, observer);
        directory.is_absolute().then(|| Self::new(sink)).flatten()
    }

    /// Of any sink. `None`: no thread could be started.
    pub fn new(mut sink: impl Sink + 'static) -> Option<Self> {
        let (frames, taken) = mpsc::channel::<Vec<u8>>();
        let (ended, done) = mpsc::channel();
        let feed = move || {
            for frame in taken {
                // What is lost here is still beside the worker.
                let _ = sink.append(&frame);
            }
            let _ = ended.send(());
        };
        std::thread::Builder::new().spawn(feed).ok()?;
        Some(Self { frames, done })
    }

    /// One more frame.
    pub fn append(&self, frame: &[u8]) {
        let _ = self.frames.send(frame.to_vec());
    }

    /// Waits a little until everything is there.
    pub fn close(self) {
        drop(self.frames);
        let _ = self.done.recv_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn frames_arrive_in_their_order() {
        let directory = std::env::temp_dir().join(format!("roar-sink-{}", std::process::id()));
        let feed = Feed::new(SharedDirectory::new(&directory.join("a"), "o")).unwrap();
        for frame in [b"one", b"two"] {
            feed.append(frame);
        }
        feed.close();
        let content = std::fs::read(directory.join("a/o.roarfrag")).unwrap();
        assert_eq!(content, [&fragment::MAGIC[..], b"one", b"two"].concat());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_sink_that_hangs_holds_nobody_up() {
        struct Hangs;
        impl Sink for Hangs {
            fn append(&mut self, _: &[u8]) -> io::Result<()> {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            }
        }
        let began = Instant::now();
        let feed = Feed::new(Hangs).unwrap();
        for _ in 0..1000 {
            feed.append(b"frame");
        }
        assert!(began.elapsed() < PATIENCE);
        feed.close();
        assert!(began.elapsed() < 3 * PATIENCE);
    }
}
