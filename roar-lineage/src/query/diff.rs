//! `roar.diff/1`: what differs between two tasks.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BString, ByteSlice};
use serde::Serialize;

use super::Graph;
use super::subject::{NotFound, Subject};
use crate::document::{File, Text, command_line};
use crate::model::{Job, Package, Task};
use crate::store::{Role, Use};

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// `roar.diff/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Whether nothing below differs.
    pub same: bool,
    /// What they were: those that differ.
    pub settings: Vec<Setting>,
    /// Distributions that they loaded: those that differ, by name.
    pub packages: Vec<PackageChange>,
    /// Files that differ, by role and path.
    pub files: Vec<Change>,
}

/// One of the two tasks.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Its step.
    pub step: usize,
    /// Its id.
    pub task: String,
    /// `name`.
    #[serde(flatten)]
    pub name: Text,
}

/// One thing that a task was or had.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// `command`, `cwd`, `commit`, `diff`, `function`, `host`, `status`, `exit_code`.
    pub key: &'static str,
    /// Of the first.
    pub a: Option<String>,
    /// Of the second.
    pub b: Option<String>,
}

/// Versions of one distribution.
#[derive(Clone, Debug, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// The first's.
    pub a: Option<String>,
    /// The second's.
    pub b: Option<String>,
}

/// One file.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// `read`, `write` or `delete`.
    pub role: Role,
    /// `path`.
    #[serde(flatten)]
    pub path: Text,
    /// How it differs.
    pub verdict: Verdict,
    /// As the first saw or left it.
    pub a: Option<File>,
    /// As the second did.
    pub b: Option<File>,
}

/// How a file differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It had another content.
    Changed,
    /// Only the first used it so.
    OnlyA,
    /// Only the second did.
    OnlyB,
    /// What one of them had is not known.
    Unknown,
}

impl Graph {
    /// The task that `reference` stands for, by its index and id: itself, or the last that made
    /// what was there.
    pub fn task_of(&self, reference: &[u8], cwd: &[u8]) -> Result<(usize, &str), NotFound> {
        let subject = self.subject(reference, cwd)?;
        let index = match subject {
            Subject::Task(_, index) => index,
            _ => {
                let uses = self.recorded.uses.iter();
                let writes = uses.filter(|used| used.role == Role::Write && subject.is(&used.file));
                let last = writes.max_by_key(|used| self.order_of(used));
                last.ok_or(NotFound::Unmade)?.task
            }
        };
        Ok((index, &self.task(index).id))
    }

    /// What differs between two tasks, by their indices. `packages` are theirs.
    pub fn diff(&self, [a, b]: [usize; 2], packages: [BTreeSet<Package>; 2]) -> Diff {
        let side = |index: usize| {
            let task = self.task(index);
            let position = self.order.iter().position(|&other| other == index);
            Side {
                step: position.map_or(0, |position| position + 1),
                task: task.id.clone(),
                name: Text::new("name", &task.name),
            }
        };
        let settings = self.settings(a, b);
        let packages = changed_packages(packages);
        let files = self.changes(a, b);
        Diff {
            schema: "roar.diff/1",
            session: self.recorded.session.clone(),
            a: side(a),
            b: side(b),
            same: settings.is_empty() && packages.is_empty() && files.is_empty(),
            settings,
            packages,
            files,
        }
    }

    fn settings(&self, a: usize, b: usize) -> Vec<Setting> {
        let [of_a, of_b] = [a, b].map(|index| {
            let job = &self.recorded.jobs[self.recorded.tasks[index].job];
            settings_of(self.task(index), job)
        });
        let pairs = of_a.into_iter().zip(of_b);
        let setting = |((key, a), (_, b))| Setting { key, a, b };
        pairs.map(setting).filter(|one| one.a != one.b).collect()
    }

    fn changes(&self, a: usize, b: usize) -> Vec<Change> {
        let mut pairs: BTreeMap<(Role, &BString), [Option<&Use>; 2]> = BTreeMap::new();
        for (side, task) in [a, b].into_iter().enumerate() {
            for &index in &self.uses[task] {
                let used = &self.recorded.uses[index];
                if self.is_shown(used) && used.role != Role::Ephemeral {
                    let pair = pairs.entry((used.role, &used.file.path)).or_default();
                    let is_later = |known: &Use| known.file.last <= used.file.last;
                    if pair[side].is_none_or(is_later) {
                        pair[side] = Some(used);
                    }
                }
            }
        }
        let change = |((role, path), pair): ((Role, &BString), [Option<&Use>; 2])| {
            let [a, b] = pair.map(|side| side.map(|used| self.file(used)));
            Some(Change {
                role,
                path: Text::new("path", path),
                verdict: verdict(pair)?,
                a,
                b,
            })
        };
        pairs.into_iter().filter_map(change).collect()
    }
}

/// How a file differs, if it may.
fn verdict(pair: [Option<&Use>; 2]) -> Option<Verdict> {
    let (a, b) = match pair {
        [Some(a), Some(b)] => (&a.file, &b.file),
        [Some(_), None] => return Some(Verdict::OnlyA),
        [None, _] => return Some(Verdict::OnlyB),
    };
    match (a.digest, b.digest) {
        (Some(one), Some(other)) if one == other => None,
        (Some(_), Some(_)) => Some(Verdict::Changed),
        _ if a.version.is_some() && a.version == b.version => None,
        _ => Some(Verdict::Unknown),
    }
}

fn settings_of(task: &Task, job: &Job) -> Vec<(&'static str, Option<String>)> {
    let text = |bytes: &BString| Some(bytes.to_str_lossy().into_owned());
    let git = job.git.as_ref();
    let status = serde_json::to_value(task.status).ok();
    let ray = task.ray.as_ref();
    vec![
        ("command", Some(command_line(&job.command))),
        ("cwd", text(&job.cwd)),
        ("commit", git.and_then(|git| git.commit.clone())),
        (
            "diff",
            git.and_then(|git| git.diff).map(|diff| diff.to_string()),
        ),
        ("function", ray.and_then(|ray| ray.func.clone())),
        ("host", Some(task.host.clone())),
        (
            "status",
            status.and_then(|it| it.as_str().map(str::to_owned)),
        ),
        ("exit_code", task.exit_code.map(|code| code.to_string())),
    ]
}

fn changed_packages(packages: [BTreeSet<Package>; 2]) -> Vec<PackageChange> {
    let mut versions: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for (side, packages) in packages.into_iter().enumerate() {
        for package in packages {
            versions.entry(package.name).or_default()[side] = Some(package.version);
        }
    }
    let changed = versions.into_iter().filter(|(_, [a, b])| a != b);
    changed
        .map(|(name, [a, b])| PackageChange { name, a, b })
        .collect()
}
