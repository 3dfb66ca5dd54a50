//! `roar.lineage/1`: what one artifact was made from, or what was made from it. Only what is
//! reached is loaded; the edges are those of [`Graph`](super::Graph).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use bstr::BString;
use serde::Serialize;

use super::dag::EdgeObject;
use super::edges::{Edge, Writers, of_reads};
use super::ray;
use super::subject::{NotFound, absolute, hexadecimal};
use crate::digest::Digest;
use crate::document::{File, Given, Text, iso_time};
use crate::model::{Status, Task, TaskKind};
use crate::store::{Excerpt, Neighbours, Role, Store, StoreError, Usage, Users};

/// What to begin with.
#[derive(Clone, Debug)]
pub enum Artifact {
    /// Whatever was at a path or URL.
    At(BString),
    /// All that was in a directory, or begins with a URL and a slash.
    Below(BString),
    /// The content, wherever it was.
    Content(Digest),
}

/// Which way to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To ancestors: the tasks that wrote it, and all that they follow.
    Up,
    /// To descendants: the tasks that read it, and all that follow them.
    Down,
}

impl Artifact {
    /// What `reference` stands for: a path (relative to `cwd`) or URL that was used, or below
    /// which any was, a digest or its beginning.
    pub fn find(
        store: &Store,
        reference: &[u8],
        cwd: &[u8],
    ) -> Result<Result<Self, NotFound>, StoreError> {
        if reference.is_empty() {
            return Ok(Err(NotFound::Nothing));
        }
        let path = absolute(reference, cwd);
        if store.knows(&path)? {
            return Ok(Ok(Self::At(path.into())));
        }
        if store.knows_below(&path)? {
            return Ok(Ok(Self::Below(path.into())));
        }
        let digests = match hexadecimal(reference) {
            Some(hex) => store.digests_beginning(&hex)?,
            None => Vec::new(),
        };
        Ok(match digests[..] {
            [] => Err(NotFound::Nothing),
            [digest] => Ok(Self::Content(digest)),
            [..] => Err(NotFound::Ambiguous(digests.len())),
        })
    }
}

impl Direction {
    /// Where an edge leads.
    fn end(self, edge: &Edge) -> usize {
        match self {
            Self::Up => edge.from,
            Self::Down => edge.to,
        }
    }
}

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Lineage {
    /// `roar.lineage/1`.
    pub schema: &'static str,
    /// Id of the session.
    pub session: String,
    /// Which way.
    pub direction: Direction,
    /// By start.
    pub tasks: Vec<Relative>,
    /// Between them; by ids of producer and consumer, and path.
    pub edges: Vec<EdgeObject>,
    /// What ancestors read or descendants left, each version once, by path.
    pub files: Vec<File>,
}

/// A task in short.
#[derive(Clone, Debug, Serialize)]
pub struct Relative {
    /// Stable id.
    pub id: String,
    /// `name`.
    #[serde(flatten)]
    pub name: Text,
    /// `command` and `git`, of a command and of a driver.
    #[serde(flatten)]
    pub given: Option<Given>,
    /// How it ended.
    pub status: Status,
    /// ISO 8601.
    pub started_at: String,
    /// Host name.
    pub host: String,
}

/// The lineage of `artifact` in the current session, over files of every category if `all`,
/// else over those that a graph's edges are made of.
pub fn lineage(
    store: &Store,
    artifact: &Artifact,
    direction: Direction,
    all: bool,
) -> Result<Lineage, StoreError> {
    let mut walk = Walk {
        excerpt: store.excerpt(all)?,
        all,
        direction,
        writers: HashMap::new(),
        wholes: HashMap::new(),
    };
    let reached = walk.reached(artifact);
    let (tasks, edges) = reached.map_err(|error| store.explained(error))?;
    Ok(walk.document(&tasks, &edges))
}

struct Walk<'a> {
    excerpt: Excerpt<'a>,
    all: bool,
    direction: Direction,
    /// By path: who wrote it.
    writers: HashMap<BString, Writers>,
    /// By path or URL: all uses of it.
    wholes: HashMap<BString, Whole>,
}

/// All of a path.
struct Whole {
    uses: Range<usize>,
    /// Its edges, by consumer and by producer.
    by_consumer: HashMap<usize, Vec<Edge>>,
    by_producer: HashMap<usize, Vec<Edge>>,
}

impl Walk<'_> {
    fn reached(
        &mut self,
        artifact: &Artifact,
    ) -> Result<(BTreeSet<usize>, Vec<Edge>), rusqlite::Error> {
        let mut waiting = self.start(artifact)?;
        let (mut seen, mut reached) = (BTreeSet::new(), BTreeSet::new());
        let mut edges = Vec::new();
        while let Some(task) = waiting.pop() {
            if !seen.insert(task) || self.is_hidden(task)? {
                continue;
            }
            reached.insert(task);
            let mut found = self.of_contents(task, self.direction)?;
            let around = self.excerpt.actor(task)?;
            let calls = ray::of_actors(&around.recorded);
            found.extend(own(calls, &around, task, self.direction));
            waiting.extend(found.iter().map(|edge| self.direction.end(edge)));
            edges.append(&mut found);
        }
        edges.retain(|edge| reached.contains(&edge.from) && reached.contains(&edge.to));
        Ok((reached, edges))
    }

    /// The tasks that wrote the artifact, or that read it.
    fn start(&mut self, artifact: &Artifact) -> Result<Vec<usize>, rusqlite::Error> {
        let digest = match artifact {
            Artifact::At(path) if path.starts_with(b"/") && self.direction == Direction::Up => {
                let written = self.excerpt.load_path(path, Users::Writers)?;
                return Ok(self.users(written, None).into_iter().collect());
            }
            Artifact::At(_) | Artifact::Below(_) => None,
            Artifact::Content(digest) => Some(*digest),
        };
        let paths = match artifact {
            Artifact::At(path) => vec![path.clone()],
            Artifact::Below(path) => self.excerpt.paths_below(path)?,
            Artifact::Content(digest) => self.excerpt.paths_with(*digest)?,
        };
        let mut tasks = BTreeSet::new();
        for path in paths {
            self.load_whole(&path)?;
            let whole = &self.wholes[&path];
            tasks.extend(self.users(whole.uses.clone(), digest));
            // The other end of an edge may not know the digest.
            for edge in whole.by_producer.values().flatten() {
                let near = edge.uses().map(|[write, read]| match self.direction {
                    Direction::Up => read,
                    Direction::Down => write,
                });
                if near.is_some_and(|index| self.is_meant(index, digest)) {
                    tasks.insert(self.direction.end(edge));
                }
            }
        }
        Ok(tasks.into_iter().collect())
    }

    fn is_meant(&self, index: usize, digest: Option<Digest>) -> bool {
        digest.is_none() || self.excerpt.recorded.uses[index].file.digest == digest
    }

    /// Who wrote the artifact, or who read it.
    fn users(&self, uses: Range<usize>, digest: Option<Digest>) -> BTreeSet<usize> {
        let meant = uses.filter(|&index| self.is_meant(index, digest));
        let used = meant.map(|index| &self.excerpt.recorded.uses[index]);
        let counts = |role| match self.direction {
            Direction::Up => matches!(role, Role::Write | Role::Ephemeral),
            Direction::Down => role == Role::Read,
        };
        used.filter(|used| counts(used.role))
            .map(|used| used.task)
            .collect()
    }

    /// Whether a task is no node: as in a graph.
    fn is_hidden(&mut self, task: usize) -> Result<bool, rusqlite::Error> {
        let own: &Task = &self.excerpt.recorded.tasks[task].task;
        if own.kind == TaskKind::Worker {
            return Ok(true);
        }
        Ok(!self.all
            && ray::may_be_idle(own)
            && !self.excerpt.used_data(task)?
            && self.of_contents(task, Direction::Up)?.is_empty()
            && self.of_contents(task, Direction::Down)?.is_empty())
    }

    /// The edges of files and objects to a task, or from it.
    fn of_contents(
        &mut self,
        task: usize,
        direction: Direction,
    ) -> Result<Vec<Edge>, rusqlite::Error> {
        let (mut edges, role) = match direction {
            Direction::Up => (self.of_its_reads(task)?, Role::Read),
            Direction::Down => (self.of_its_writes(task)?, Role::Write),
        };
        let around = self.excerpt.neighbours(task, role)?;
        let objects = ray::of_objects(&around.recorded);
        edges.extend(own(objects, &around, task, direction));
        Ok(edges)
    }

    fn of_its_reads(&mut self, task: usize) -> Result<Vec<Edge>, rusqlite::Error> {
        let mut edges = Vec::new();
        let (reads, urls) = self.excerpt.load_reads(task)?;
        let mut next = reads.start;
        while next < reads.end {
            let uses = &self.excerpt.recorded.uses[next..reads.end];
            let path = uses[0].file.path.clone();
            let count = uses
                .iter()
                .take_while(|used| used.file.path == path)
                .count();
            if !self.writers.contains_key(&path) {
                let written = self.excerpt.load_path(&path, Users::Writers)?;
                let writers = Writers::new(&self.excerpt.recorded, written);
                self.writers.insert(path.clone(), writers);
            }
            let writers = &self.writers[&path];
            edges.extend(of_reads(
                &self.excerpt.recorded,
                writers,
                next..next + count,
            ));
            next += count;
        }
        for url in urls {
            self.load_whole(&url)?;
            let own = self.wholes[&url].by_consumer.get(&task);
            edges.extend(own.into_iter().flatten().cloned());
        }
        Ok(edges)
    }

    fn of_its_writes(&mut self, task: usize) -> Result<Vec<Edge>, rusqlite::Error> {
        let mut edges = Vec::new();
        for path in self.excerpt.paths_written(task)? {
            self.load_whole(&path)?;
            let own = self.wholes[&path].by_producer.get(&task);
            edges.extend(own.into_iter().flatten().cloned());
        }
        Ok(edges)
    }

    fn load_whole(&mut self, path: &BString) -> Result<(), rusqlite::Error> {
        if self.wholes.contains_key(path) {
            return Ok(());
        }
        let uses = self.excerpt.load_path(path, Users::All)?;
        let recorded = &self.excerpt.recorded;
        let writers = Writers::new(recorded, uses.clone());
        let mut whole = Whole {
            uses: uses.clone(),
            by_consumer: HashMap::new(),
            by_producer: HashMap::new(),
        };
        for edge in of_reads(recorded, &writers, uses) {
            let to = whole.by_consumer.entry(edge.to).or_default();
            to.push(edge.clone());
            whole.by_producer.entry(edge.from).or_default().push(edge);
        }
        self.wholes.insert(path.clone(), whole);
        Ok(())
    }

    fn document(&self, reached: &BTreeSet<usize>, edges: &[Edge]) -> Lineage {
        let recorded = &self.excerpt.recorded;
        let tasks = reached.iter().map(|&task| &recorded.tasks[task]);
        let mut tasks: Vec<&Usage> = tasks.collect();
        tasks.sort_by_key(|Usage { task, .. }| (task.started_at, &task.id));
        let relative = |Usage { task, job }: &Usage| Relative {
            id: task.id.clone(),
            name: Text::new("name", &task.name),
            given: Given::new(&recorded.jobs[*job], task),
            status: task.status,
            started_at: iso_time(task.started_at),
            host: task.host.clone(),
        };
        let mut edges: Vec<&Edge> = edges.iter().collect();
        let id = |task: usize| &recorded.tasks[task].task.id;
        edges.sort_by_key(|edge| (id(edge.from), id(edge.to), &edge.path));
        let role = match self.direction {
            Direction::Up => Role::Read,
            Direction::Down => Role::Write,
        };
        let mut files = BTreeMap::new();
        for used in &recorded.uses {
            let is_shown = self.all || used.file.category.is_shown();
            if used.role == role && is_shown && reached.contains(&used.task) {
                let host = recorded.locations[used.location].host.as_str();
                let file = files.entry((&used.file.path, host, used.file.digest));
                file.or_insert(&used.file);
            }
        }
        let file = |((_, host, _), file): ((_, &str, _), _)| File {
            node: Some(host.to_owned()).filter(|host| !host.is_empty()),
            ..File::new(file)
        };
        Lineage {
            schema: "roar.lineage/1",
            session: recorded.session.clone(),
            direction: self.direction,
            tasks: tasks.into_iter().map(relative).collect(),
            edges: edges
                .into_iter()
                .map(|edge| EdgeObject::new(recorded, edge))
                .collect(),
            files: files.into_iter().map(file).collect(),
        }
    }
}

/// Those of `edges` that lead to `task`, or from it, by the excerpt's indices.
fn own(
    edges: Vec<Edge>,
    around: &Neighbours,
    task: usize,
    direction: Direction,
) -> impl Iterator<Item = Edge> {
    let edges = edges.into_iter().map(|edge| Edge {
        from: around.indices[edge.from],
        to: around.indices[edge.to],
        ..edge
    });
    edges.filter(move |edge| match direction {
        Direction::Up => edge.to == task,
        Direction::Down => edge.from == task,
    })
}
