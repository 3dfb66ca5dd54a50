//! The JSON that other programs read: the objects that several documents share, and the
//! trace report. Keys may be added here; none may change or go.

mod command;
mod text;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::model::{self, Category, Coverage, FileState, FileUse, Gap, GapKind, How, WallTime};

pub use command::command_line;
pub use text::Text;
pub use trace::{Process, Run, Task, TraceReport, Tracer, trace_report};

/// `2026-01-01T00:00:00.000000Z`.
pub fn iso_time(at: WallTime) -> String {
    let since_epoch = Duration::from_nanos(at.max(0).cast_unsigned());
    humantime::format_rfc3339_micros(UNIX_EPOCH + since_epoch).to_string()
}

/// One file as one task used it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct File {
    /// `path`: absolute, or an object URL.
    #[serde(flatten)]
    pub path: Text,
    /// `blake3:<64 hex>`, with state `exact` only.
    pub digest: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// What is known of the content.
    pub state: FileState,
    /// Where it belongs.
    pub category: Category,
    /// How it was used.
    pub how: BTreeSet<How>,
    /// `via`: the symbolic link it was reached through.
    #[serde(flatten)]
    pub via: Option<Text>,
    /// Written with the content it had.
    #[serde(skip_serializing_if = "is_false")]
    pub unchanged: bool,
    /// Concluded, not observed.
    #[serde(skip_serializing_if = "is_false")]
    pub inferred: bool,
    /// An object's ETag, which is no digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// An object's version id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// An object's checksums: the algorithm's name, and the value in base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
    /// First and last byte of what was read of an object, where it was not all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u64, u64)>,
    /// The host, where a document speaks of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What a command or a driver was, and the code that it found.
#[derive(Clone, Debug, Serialize)]
pub struct Given {
    /// `command`: its words, credentials masked.
    #[serde(flatten)]
    pub command: Text,
    /// The project's version control, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
}

/// The state of a project's version control.
#[derive(Clone, Debug, Serialize)]
pub struct Git {
    /// Commit id, none before the first commit.
    pub commit: Option<String>,
    /// Branch, none when detached.
    pub branch: Option<String>,
    /// `blake3:<64 hex>` of `git diff HEAD`, none when nothing was changed.
    pub diff: Option<String>,
}

impl Given {
    /// Of a job's command; none of the job's other tasks.
    pub fn new(job: &model::Job, task: &model::Task) -> Option<Self> {
        let is_given = task.kind.is_command() && !job.command.is_empty();
        let git = job.git.as_ref().map(|git| Git {
            commit: git.commit.clone(),
            branch: git.branch.clone(),
            diff: git.diff.map(|diff| diff.to_string()),
        });
        is_given.then(|| Self {
            command: Text::list("command", &job.command),
            git,
        })
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl File {
    /// The node that it is on, where that is another than `host`.
    pub fn other_node(&self, host: &str) -> Option<&str> {
        self.node.as_deref().filter(|node| *node != host)
    }

    /// The object for `file`. Content of unknown size is not called exact.
    pub fn new(file: &FileUse) -> Self {
        let size = file.size.or(file.version.map(|version| version.size));
        let state = match file.state {
            FileState::Exact if size.is_none() || file.digest.is_none() => FileState::Skipped,
            state => state,
        };
        let digest = file.digest.filter(|_| state == FileState::Exact);
        let object = file.object.as_deref().cloned().unwrap_or_default();
        Self {
            path: Text::new("path", &file.path),
            digest: digest.map(|digest| digest.to_string()),
            size,
            state,
            category: file.category,
            how: file.how.clone(),
            via: file.via.as_ref().map(|via| Text::new("via", via)),
            unchanged: file.unchanged,
            inferred: file.inferred,
            etag: object.etag,
            version_id: object.version_id,
            checksums: object.checksums,
            ranges: object.ranges,
            node: None,
        }
    }
}

/// The objects for the files that are shown, ordered by path.
pub fn files(uses: &[FileUse], all: bool) -> Vec<File> {
    let mut shown: Vec<&FileUse> = uses
        .iter()
        .filter(|file| all || file.category.is_shown())
        .collect();
    shown.sort_by(|a, b| (&a.path, a.first).cmp(&(&b.path, b.first)));
    shown.into_iter().map(File::new).collect()
}

/// Counters and gaps of several coverages together; gaps of one kind and detail are one.
pub fn joined_coverage<'a>(parts: impl IntoIterator<Item = &'a Coverage>) -> Coverage {
    let mut sum = Coverage::default();
    let mut gaps: BTreeMap<(GapKind, &str), u64> = BTreeMap::new();
    for part in parts {
        sum.events += part.events;
        sum.notified += part.notified;
        sum.accelerated += part.accelerated;
        sum.lost += part.lost;
        sum.unattributed += part.unattributed;
        for gap in &part.gaps {
            *gaps.entry((gap.kind, &gap.detail)).or_default() += gap.count;
        }
    }
    let gap = |((kind, detail), count): ((GapKind, &str), u64)| Gap {
        kind,
        detail: detail.to_owned(),
        count: count.max(1),
    };
    sum.gaps = gaps.into_iter().map(gap).collect();
    sum
}

/// The gaps that documents have: of what was seen. What a program had to do without is said
/// to people alone.
pub fn documented(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.retain(|gap| gap.kind != GapKind::Privilege);
    gaps
}

/// Detail of the gap for files that a Ray worker used outside of any task.
pub const WORKER_FILES: &str = "files used by Ray workers outside of any task";
