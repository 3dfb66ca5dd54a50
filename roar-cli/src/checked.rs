//! Files read again: whether each is what it was.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use owo_colors::OwoColorize;
use roar_lineage::document::File;
use roar_lineage::query::Standing;
use roar_worker::sys::file::stat_path;
use roar_worker::{file_digest, host};
use serde::Serialize;

use crate::output;
use crate::progress::Progress;

/// What there is to say of no files.
pub const NONE: &str = "by the record no file should be there";

/// A file, and what it is now.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// As it was.
    #[serde(flatten)]
    pub file: File,
    /// Whether it is that now.
    pub verdict: Verdict,
    /// What is there now.
    pub found: Option<Content>,
}

/// What is in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// Of the content, where it was read.
    pub digest: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// Whether a file is what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is what it was.
    Same,
    /// It is not.
    Changed,
    /// Nothing is there.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// What it was is not known.
    Unknown,
    /// It is on another node, or in an object store.
    Elsewhere,
}

impl Verdict {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Same, "same"),
        (Self::Changed, "changed"),
        (Self::Missing, "missing"),
        (Self::Unreadable, "unreadable"),
        (Self::Unknown, "unknown"),
        (Self::Elsewhere, "elsewhere"),
    ];

    /// Whether it is surely not.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Changed | Self::Missing | Self::Unreadable)
    }
}

/// Checks them all, and shows how far it is.
pub fn all(standing: Vec<Standing>) -> Vec<Checked> {
    let own = host::name();
    let count = standing.len();
    let progress = Mutex::new(Progress::begin());
    let bytes = AtomicU64::new(0);
    let files = standing.into_iter().enumerate().map(|(done, standing)| {
        check(standing, &own, |read| {
            let bytes = bytes.fetch_add(read, Ordering::Relaxed) + read;
            if let Ok(mut progress) = progress.lock() {
                let mebibytes = bytes >> 20;
                progress.at(|| format!("verified {done} of {count} files, {mebibytes} MiB read"));
            }
        })
    });
    let files: Vec<Checked> = files.collect();
    if let Ok(progress) = progress.lock() {
        progress.end();
    }
    files
}

fn check(standing: Standing, own: &str, progress: impl Fn(u64) + Sync) -> Checked {
    let Standing { file, version } = standing;
    let path = file.path.bytes().to_owned();
    let checked = |verdict, found| Checked {
        file: file.clone(),
        verdict,
        found,
    };
    let is_here = file.other_node(own).is_none();
    if !path.starts_with(b"/") || !is_here {
        return checked(Verdict::Elsewhere, None);
    }
    let Some(digest) = &file.digest else {
        let now = match stat_path(&path) {
            Ok(now) => now,
            Err(error) => return checked(failure(&error), None),
        };
        let verdict = match version {
            Some(version) if version == now.version() => Verdict::Same,
            Some(version) if version.size != now.size => Verdict::Changed,
            _ => Verdict::Unknown,
        };
        let found = Content {
            digest: None,
            size: now.size,
        };
        return checked(verdict, Some(found));
    };
    match file_digest::of_path(&path, progress) {
        Ok((now, size)) => {
            let now = now.to_string();
            let verdict = match now == *digest {
                true => Verdict::Same,
                false => Verdict::Changed,
            };
            checked(
                verdict,
                Some(Content {
                    digest: Some(now),
                    size,
                }),
            )
        }
        Err(error) => checked(failure(&error), None),
    }
}

fn failure(error: &std::io::Error) -> Verdict {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Verdict::Missing,
        _ => Verdict::Unreadable,
    }
}

/// For people: those that are not the same, and how many are what.
pub fn text(files: &[Checked], root: &Path) -> String {
    if files.is_empty() {
        return format!("{NONE}\n");
    }
    let mut text = String::new();
    let mut counts = Vec::new();
    for (verdict, word) in Verdict::ALL {
        let files = files.iter().filter(|file| file.verdict == verdict);
        let count = files.clone().count();
        if count > 0 {
            counts.push(format!("{count} {word}"));
        }
        for file in files.filter(|_| verdict != Verdict::Same) {
            let path = output::shown_path(file.file.path.bytes(), Some(root));
            let path = output::cut(&path, 68);
            let word = format!("{word:<10}");
            let _ = match verdict.is_bad() {
                true => writeln!(text, "{} {path}", word.red()),
                false => writeln!(text, "{} {path}", word.yellow()),
            };
        }
    }
    let files = output::count(files.len(), "file");
    let _ = writeln!(text, "{files}: {}", counts.join(", "));
    text
}
