//! Fragment files: what a worker's supervisor leaves for whoever collects.
//!
//! One append-only file for each supervisor. A task is sealed once it has ended and its
//! files are hashed; what comes later (children, digests) is a further revision. The
//! task log beside it goes when everything in it is sealed.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use roar_lineage::event::{self, TaskNo};
use roar_lineage::fragment;
use roar_lineage::model::Status;

use crate::scope::Scope;
use crate::sink::{self, Feed};

/// Seals the tasks of one scope.
pub struct Sealer {
    file: PathBuf,
    log: PathBuf,
    sealed: HashMap<TaskNo, Vec<u8>>,
    feed: Option<Feed>,
}

impl Sealer {
    /// Makes the directory and an empty log for an observer.
    pub fn new(directory: &Path, observer: &str) -> io::Result<(Self, File)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let name = |extension: &str| directory.join(format!("{observer}.{extension}"));
        let log = name(event::EXTENSION);
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&log)?;
        Ok((
            Self {
                file: name(fragment::EXTENSION),
                log,
                sealed: HashMap::new(),
                feed: None,
            },
            opened,
        ))
    }

    /// Seals the tasks that have ended; `all`: also those that have not, or whose
    /// digests are missing.
    pub fn seal(&mut self, scope: &Scope, all: bool) -> io::Result<()> {
        let state = &scope.recorder.state;
        for no in state.tasks() {
            let has_ended = state
                .task(no)
                .is_some_and(|task| task.status != Status::Running);
            let is_ready = has_ended && !self.sealed.contains_key(&no) && !scope.awaits_digests(no);
            if !(all || is_ready) {
                continue;
            }
            // Sealed content is compared without its revision: nothing new, no frame.
            let Some(mut fragment) = state.fragment(no, 0) else {
                continue;
            };
            let content = fragment.encode().map_err(io::Error::other)?;
            if self.sealed.get(&no) == Some(&content) {
                continue;
            }
            fragment.revision = scope.recorder.revision;
            self.append(&fragment.encode().map_err(io::Error::other)?)?;
            self.sealed.insert(no, content);
        }
        Ok(())
    }

    fn append(&self, frame: &[u8]) -> io::Result<()> {
        if let Some(feed) = &self.feed {
            feed.append(frame);
        }
        sink::append(&self.file, frame)
    }

    /// Has all that is sealed go there too.
    pub fn mirror(&mut self, feed: Option<Feed>) {
        self.feed = feed;
    }

    /// Removes the log: all that is in it is sealed.
    pub fn close(self) -> io::Result<()> {
        if let Some(feed) = self.feed {
            feed.close();
        }
        std::fs::remove_file(self.log)
    }
}
