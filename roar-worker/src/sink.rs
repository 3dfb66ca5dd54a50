//! Where fragments are mirrored as they are sealed, so that they outlive their node.
//!
//! A thread of its own copies what the fragment file has grown by: whatever the sink's
//! storage does, nobody who answers notifications waits for it, and what failed once is
//! tried again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Names the sink in a worker's environment: a directory that all nodes share.
pub const SINK_VARIABLE: &str = "ROAR_SINK";

/// How long a failed copy rests before the next try.
const RETRY: Duration = Duration::from_secs(2);
/// How long the end may take.
const LAST_COPY: Duration = Duration::from_secs(10);

/// A place that keeps files which grow.
pub trait Sink: Send {
    /// How much of a file it has (bytes).
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Adds to the end of a file, which is made when it is not there.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A directory, perhaps on a shared file system.
pub struct Directory(pub PathBuf);

impl Sink for Directory {
    fn length(&self, name: &str) -> io::Result<u64> {
        match std::fs::metadata(self.0.join(name)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(self.0.join(name))?.write_all(bytes)
    }
}

/// Mirrors one file.
pub struct Mirror {
    grown: Sender<()>,
    done: Receiver<()>,
}

impl Mirror {
    /// Mirrors `file`, which may not be there yet, under its own name.
    pub fn begin(file: &Path, sink: Box<dyn Sink>) -> Option<Self> {
        let (grown, news) = channel();
        let (finished, done) = channel();
        let file = file.to_owned();
        let work = move || {
            mirror(&file, &*sink, &news);
            let _ = finished.send(());
        };
        let thread = std::thread::Builder::new().name("roar-mirror".into());
        thread.stack_size(256 << 10).spawn(work).ok()?;
        Some(Self { grown, done })
    }

    /// The file has grown.
    pub fn grown(&self) {
        let _ = self.grown.send(());
    }

    /// Waits for the last copy, though not for ever.
    pub fn finish(self) {
        drop(self.grown);
        let _ = self.done.recv_timeout(LAST_COPY);
    }
}

fn mirror(file: &Path, sink: &dyn Sink, news: &Receiver<()>) {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let mut is_behind = false;
    loop {
        let heard = match is_behind {
            true => news.recv_timeout(RETRY),
            false => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        while news.try_recv().is_ok() {}
        is_behind = copy(file, name, sink).is_err();
        if heard == Err(RecvTimeoutError::Disconnected) {
            let last = Instant::now() + LAST_COPY;
            while is_behind && Instant::now() < last {
                std::thread::sleep(RETRY);
                is_behind = copy(file, name, sink).is_err();
            }
            return;
        }
    }
}

/// Copies what the sink has not got.
fn copy(file: &Path, name: &str, sink: &dyn Sink) -> io::Result<()> {
    let mut source = match File::open(file) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    source.seek(SeekFrom::Start(sink.length(name)?))?;
    let mut rest = Vec::new();
    source.read_to_end(&mut rest)?;
    if rest.is_empty() {
        return Ok(());
    }
    sink.append(name, &rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_mirrored_as_it_grows_and_when_the_sink_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        let place = directory.path().join("sink");
        std::fs::write(&place, "in the way").unwrap();
        let mirror = Mirror::begin(&file, Box::new(Directory(place.clone()))).unwrap();
        std::fs::write(&file, "one").unwrap();
        mirror.grown();
        std::thread::sleep(Duration::from_millis(200));
        std::fs::remove_file(&place).unwrap();
        std::fs::write(&file, "one two").unwrap();
        mirror.grown();
        mirror.finish();
        assert_eq!(std::fs::read(place.join("f")).unwrap(), b"one two");
    }
}
