//! What somebody means who asks of a step, a task, a path or a digest.

use std::collections::BTreeSet;

use super::Graph;
use crate::digest::Digest;
use crate::model::FileUse;
use crate::store::Use;

/// What a reference stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// A task: its step, and its index.
    Task(usize, usize),
    /// What was at a path or URL.
    Path(Vec<u8>),
    /// What was in a directory or below a URL: to its last `/`.
    Below(Vec<u8>),
    /// The content, wherever it was.
    Content(Digest),
}

/// Why a reference stands for nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotFound {
    /// No such step.
    #[error("the session has {0} step{s}", s = if *.0 == 1 { "" } else { "s" })]
    NoSuchStep(usize),
    /// Several tasks or digests begin so.
    #[error("{0} begin so")]
    Ambiguous(usize),
    /// It was read, and by no task written.
    #[error("no recorded task made it")]
    Unmade,
    /// Of what was written in a directory nothing was left.
    #[error("recorded tasks took away what they made there")]
    Gone,
    /// Nothing of that name.
    #[error("no step, task, file or digest of this session")]
    Nothing,
}

impl Subject {
    /// Whether a file is what it stands for, which is none where it is a task.
    pub(super) fn is(&self, file: &FileUse) -> bool {
        match self {
            Self::Task(..) => false,
            Self::Path(path) => file.path == *path,
            Self::Below(directory) => file.path.starts_with(directory),
            Self::Content(digest) => file.digest == Some(*digest),
        }
    }
}

impl Graph {
    /// Index of the task that a step is.
    pub(super) fn at_step(&self, step: usize) -> Result<usize, NotFound> {
        let position = step.checked_sub(1);
        let index = position.and_then(|position| self.order.get(position));
        index.copied().ok_or(NotFound::NoSuchStep(self.order.len()))
    }

    /// What `reference` stands for: `@5`, a path (relative to `cwd`) or URL, a directory, a task
    /// id or a digest, or the unique beginning of one.
    pub(super) fn subject(&self, reference: &[u8], cwd: &[u8]) -> Result<Subject, NotFound> {
        let text = std::str::from_utf8(reference).unwrap_or_default();
        let step = text.strip_prefix('@').and_then(|step| step.parse().ok());
        if let Some(step) = step {
            return Ok(Subject::Task(step, self.at_step(step)?));
        }
        if reference.is_empty() {
            return Err(NotFound::Nothing);
        }
        let path = absolute(reference, cwd);
        let uses = &self.recorded.uses;
        if uses.iter().any(|used| used.file.path == path) {
            return Ok(Subject::Path(path));
        }
        let directory = [path.strip_suffix(b"/").unwrap_or(&path), b"/"].concat();
        if uses
            .iter()
            .any(|used| used.file.path.starts_with(&directory))
        {
            return Ok(Subject::Below(directory));
        }
        let hex = hexadecimal(reference).ok_or(NotFound::Nothing)?;
        let tasks = self.order.iter().enumerate();
        let is_it = |index: usize| hex == text && self.task(index).id.starts_with(&hex);
        let tasks: Vec<(usize, &usize)> = tasks.filter(|(_, index)| is_it(**index)).collect();
        let begins = |used: &Use| used.file.digest.filter(|one| one.hex().starts_with(&hex));
        let digests: BTreeSet<Digest> = uses.iter().filter_map(begins).collect();
        match (&tasks[..], digests.first(), tasks.len() + digests.len()) {
            ([(position, index)], None, _) => Ok(Subject::Task(position + 1, **index)),
            ([], Some(digest), 1) => Ok(Subject::Content(*digest)),
            (_, _, 0) => Err(NotFound::Nothing),
            (_, _, several) => Err(NotFound::Ambiguous(several)),
        }
    }
}

/// The hexadecimal digits of what may be a task id or a digest, or the beginning of one.
pub(super) fn hexadecimal(reference: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(reference).ok()?;
    let hex = text.strip_prefix("blake3:").unwrap_or(text);
    let is_hex = hex.len() >= 4 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| hex.to_ascii_lowercase())
}

/// `path` from `cwd`, without `.` and `..`. URLs stay as they are.
pub(super) fn absolute(path: &[u8], cwd: &[u8]) -> Vec<u8> {
    if path.starts_with(b"s3://") {
        return path.to_vec();
    }
    let start = if path.starts_with(b"/") { b"" } else { cwd };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [start, path]
        .into_iter()
        .flat_map(|half| half.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut absolute = Vec::new();
    for part in parts {
        absolute.push(b'/');
        absolute.extend_from_slice(part);
    }
    absolute
}
