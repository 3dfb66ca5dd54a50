//! What jobs needed and left: what making something again takes.

use std::collections::{BTreeSet, HashMap};

use bstr::BString;

use super::producers::Producers;
use super::subject::{NotFound, Subject};
use super::{Edge, Graph, Standing};
use crate::model::How;
use crate::store::{Role, Use};

/// A file as a task left or read it.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it was.
    pub standing: Standing,
    /// Index of the job that made it, among [`Graph::jobs`]. Sources have none.
    pub maker: Option<usize>,
    /// Its index among the session's locations.
    pub location: usize,
    /// Whoever started the command had opened it: a shell, for a redirection.
    pub is_handed_over: bool,
}

/// What a job did with files.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// The step that its command is, and the host that it ran on.
    pub command: Option<(usize, String)>,
    /// What it read and had not made itself, by path.
    pub needed: Vec<Part>,
    /// What it left, by path.
    pub left: Vec<Part>,
    /// Locations that it opened and changed.
    pub changed: BTreeSet<usize>,
}

impl Work {
    /// The step that its command is.
    pub fn step(&self) -> Option<usize> {
        self.command.as_ref().map(|(step, _)| *step)
    }
}

/// What some jobs changed.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// What they left at last, by path.
    pub written: Vec<Part>,
    /// What they took away.
    pub deleted: BTreeSet<BString>,
}

impl Graph {
    /// What each job did, as ordered as [`Graph::jobs`].
    pub fn work(&self) -> Vec<Work> {
        let uses = &self.recorded.uses;
        let job_of = |task: usize| self.recorded.tasks[task].job;
        let producers = Producers::new(&self.recorded, self.edges_of_tasks());
        let ends = self.edges_of_tasks().iter().filter_map(Edge::uses);
        let linked: BTreeSet<usize> = ends.flatten().collect();
        let mut work = vec![Work::default(); self.recorded.jobs.len()];
        let mut seen = BTreeSet::new();
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        for (index, used) in uses.iter().enumerate() {
            let job = job_of(used.task);
            let is_linked = linked.contains(&index);
            match used.role {
                Role::Read => {
                    let of_jobs: BTreeSet<usize> = producers.of(used).map(job_of).collect();
                    let counts = self.is_shown(used) || !of_jobs.is_empty();
                    let content = (job, used.location, used.file.digest, used.file.version);
                    if counts && !of_jobs.contains(&job) && seen.insert(content) {
                        let part = self.part(used, of_jobs.last().copied());
                        work[job].needed.push(part);
                    }
                }
                Role::Write | Role::Delete if is_linked || self.is_shown(used) => {
                    if !is_handed_over(used) {
                        work[job].changed.insert(used.location);
                    }
                    let known = last.entry((job, used.location)).or_insert(index);
                    if self.order_of(used) >= self.order_of(&uses[*known]) {
                        *known = index;
                    }
                }
                _ => {}
            }
        }
        let mut left: Vec<usize> = last.into_values().collect();
        // Uses are ordered by path.
        left.sort_unstable();
        for used in left.into_iter().map(|index| &uses[index]) {
            if used.role == Role::Write {
                let job = job_of(used.task);
                work[job].left.push(self.part(used, Some(job)));
            }
        }
        for of_job in &mut work {
            // What it was given to write to, and only wrote.
            let given = of_job.left.iter().filter(|part| part.is_handed_over);
            let given: BTreeSet<usize> = given.map(|part| part.location).collect();
            let is_input = |part: &Part| !part.is_handed_over || !given.contains(&part.location);
            of_job.needed.retain(is_input);
        }
        for (position, &task) in self.order.iter().enumerate() {
            let found = self.task(task);
            let of_job = &mut work[job_of(task)].command;
            if of_job.is_none() && found.kind.is_command() {
                *of_job = Some((position + 1, found.host.clone()));
            }
        }
        work
    }

    /// What `reference` stands for, as the last of the tasks that wrote it left it; of a step or
    /// a task, all that its job left. By path. `work` is this graph's.
    pub fn made(&self, reference: &[u8], cwd: &[u8], work: &[Work]) -> Result<Vec<Part>, NotFound> {
        let subject = self.subject(reference, cwd)?;
        let uses = self.recorded.uses.iter();
        let made = match &subject {
            Subject::Task(_, task) => return Ok(work[self.recorded.tasks[*task].job].left.clone()),
            Subject::Below(_) => self.last_left(uses.filter(|used| {
                let changed = matches!(used.role, Role::Write | Role::Delete);
                changed && subject.is(&used.file) && self.is_shown(used)
            })),
            Subject::Path(_) | Subject::Content(_) => self
                .last_left(uses.filter(|used| used.role == Role::Write && subject.is(&used.file))),
        };
        let is_written =
            |used: &Use| used.role == Role::Write && subject.is(&used.file) && self.is_shown(used);
        match made.is_empty() {
            true if self.recorded.uses.iter().any(is_written) => Err(NotFound::Gone),
            true => Err(NotFound::Unmade),
            false => Ok(made),
        }
    }

    /// What the last writers of locations left there, by path.
    pub fn left_at(&self, locations: &BTreeSet<usize>) -> Vec<Part> {
        let uses = self.recorded.uses.iter();
        self.last_left(
            uses.filter(|used| used.role == Role::Write && locations.contains(&used.location)),
        )
    }

    /// What jobs wrote and deleted, of every category, by path.
    pub fn changed_by(&self, is_meant: impl Fn(usize) -> bool) -> Changed {
        let uses = self.recorded.uses.iter();
        let meant = uses.filter(|used| is_meant(self.recorded.tasks[used.task].job));
        let (deletes, others): (Vec<&Use>, Vec<&Use>) =
            meant.partition(|used| used.role == Role::Delete);
        let writes = others.into_iter().filter(|used| used.role == Role::Write);
        Changed {
            written: self.last_left(writes),
            deleted: deletes.iter().map(|used| used.file.path.clone()).collect(),
        }
    }

    /// Of uses the last of each location, where that is a write.
    fn last_left<'a>(&'a self, uses: impl Iterator<Item = &'a Use>) -> Vec<Part> {
        let mut last = self.last_of_locations(uses);
        last.retain(|used| used.role == Role::Write);
        last.sort_by_key(|used| (&used.file.path, used.location));
        let job = |used: &Use| self.recorded.tasks[used.task].job;
        last.into_iter()
            .map(|used| self.part(used, Some(job(used))))
            .collect()
    }

    fn part(&self, used: &Use, maker: Option<usize>) -> Part {
        Part {
            standing: self.standing_of(used),
            maker,
            location: used.location,
            is_handed_over: is_handed_over(used),
        }
    }
}

fn is_handed_over(used: &Use) -> bool {
    used.file.how.iter().eq([&How::Inherited])
}
