//! Fragment files: what a worker's supervisor leaves for whoever collects.
//!
//! One append-only file for each supervisor. A task is sealed once it has ended and its
//! files are hashed; what comes later (children, digests) is a further revision. The
//! task log beside it goes when everything in it is sealed.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use roar_lineage::digest::Digest;
use roar_lineage::event::{self, TaskNo};
use roar_lineage::fragment;
use roar_lineage::model::Status;

use crate::mirror::Mirror;
use crate::scope::Scope;
use crate::sink::Sink;

/// Seals the tasks of one scope.
pub struct Sealer {
    file: PathBuf,
    log: PathBuf,
    /// What was sealed last of each task.
    sealed: HashMap<TaskNo, Digest>,
    /// Tasks that are not sealed yet, and the first number not looked at.
    open: Vec<TaskNo>,
    next: TaskNo,
    mirror: Option<Mirror>,
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
                open: Vec::new(),
                next: 0,
                mirror: None,
            },
            opened,
        ))
    }

    /// Mirrors the fragments from now on.
    pub fn mirror(&mut self, sink: Box<dyn Sink>) {
        self.mirror = Mirror::begin(&self.file, sink);
    }

    /// Seals the tasks that have ended; `all`: also those that have not, or whose
    /// digests are missing.
    pub fn seal(&mut self, scope: &Scope, all: bool) -> io::Result<()> {
        let state = &scope.recorder.state;
        if all {
            for no in state.tasks() {
                self.seal_one(scope, no)?;
            }
            return Ok(());
        }
        let new = state.tasks().rev().take_while(|no| *no >= self.next);
        self.open.extend(new);
        self.next = state.tasks().next_back().map_or(0, |last| last + 1);
        for no in std::mem::take(&mut self.open) {
            let has_ended = state
                .task(no)
                .is_some_and(|task| task.status != Status::Running);
            if !has_ended || scope.awaits_digests(no) || self.seal_one(scope, no).is_err() {
                self.open.push(no);
            }
        }
        Ok(())
    }

    /// Sealed content is compared without its revision: nothing new, no frame.
    fn seal_one(&mut self, scope: &Scope, no: TaskNo) -> io::Result<()> {
        let Some(mut fragment) = scope.recorder.state.fragment(no, 0) else {
            return Ok(());
        };
        let content = Digest::of(&fragment.encode().map_err(io::Error::other)?);
        if self.sealed.get(&no) == Some(&content) {
            return Ok(());
        }
        fragment.revision = scope.recorder.revision;
        self.append(&fragment.encode().map_err(io::Error::other)?)?;
        self.sealed.insert(no, content);
        Ok(())
    }

    fn append(&self, frame: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.file)?;
        let before = file.metadata()?.len();
        let magic = if before == 0 {
            &fragment::MAGIC[..]
        } else {
            &[]
        };
        // A part of a frame would take all that follows along.
        let bytes = [magic, frame].concat();
        if let Err(error) = file.write_all(&bytes) {
            file.set_len(before)?;
            if before == 0 {
                std::fs::remove_file(&self.file)?;
            }
            return Err(error);
        }
        if let Some(mirror) = &self.mirror {
            mirror.grown(before + bytes.len() as u64);
        }
        Ok(())
    }

    /// Removes the log: all that is in it is sealed.
    pub fn close(self) -> io::Result<()> {
        let removed = std::fs::remove_file(self.log);
        if let Some(mirror) = self.mirror {
            mirror.finish();
        }
        removed
    }
}
