//! Composites: directories whose files one job's tasks wrote or read as one artifact.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::BString;
use serde::Serialize;

use super::Graph;
use crate::composite::{digest, directories};
use crate::digest::Digest;
use crate::document::{File, Text};
use crate::model::Category;
use crate::store::{Role, Use};

/// A directory or a prefix of a bucket as one artifact.
#[derive(Clone, Debug, Serialize)]
pub struct Composite {
    /// `path`: to its last `/`.
    #[serde(flatten)]
    pub path: Text,
    /// `blake3:<64 hex>`, when that of every component is known.
    pub digest: Option<String>,
    /// How many files.
    pub components: usize,
    /// Bytes of all of them, when known.
    pub size: Option<u64>,
    /// Ids of the tasks that wrote components.
    pub producers: Vec<String>,
    /// Ids of the tasks that read components.
    pub consumers: Vec<String>,
}

/// A composite with its files.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// The composite.
    #[serde(flatten)]
    pub composite: Composite,
    /// Its components, by path.
    pub files: Vec<File>,
}

/// What names a composite: where it is, and what is in it. Where contents are not known,
/// those of two jobs are two.
type Key = (BString, Vec<(BString, Option<Digest>)>, Option<usize>);

#[derive(Default)]
pub(super) struct Found {
    path: BString,
    /// Indices of uses, by path.
    components: Vec<usize>,
    digest: Option<Digest>,
    /// By node.
    producers: BTreeSet<usize>,
    consumers: BTreeSet<usize>,
}

/// One file as the tasks of one job used it last.
struct Last {
    index: usize,
    nodes: BTreeSet<usize>,
}

impl Graph {
    /// All composites by path.
    pub fn composites(&self) -> Vec<Composite> {
        let found = self.found_composites();
        found.iter().map(|one| self.composite(one)).collect()
    }

    /// The composites that `is_meant` chooses by path and digest, with their files.
    pub(super) fn contents(
        &self,
        is_meant: impl Fn(&BString, Option<Digest>) -> bool,
    ) -> Vec<Contents> {
        let found = self.found_composites().into_iter();
        let found = found.filter(|one| is_meant(&one.path, one.digest));
        let contents = |one: Found| Contents {
            composite: self.composite(&one),
            files: one
                .components
                .iter()
                .map(|&index| self.file(&self.recorded.uses[index]))
                .collect(),
        };
        found.map(contents).collect()
    }

    fn composite(&self, found: &Found) -> Composite {
        let uses = &self.recorded.uses;
        let ids = |nodes: &BTreeSet<usize>| {
            let ids: BTreeSet<&String> = nodes.iter().map(|&node| &self.task(node).id).collect();
            ids.into_iter().cloned().collect()
        };
        let sizes = found.components.iter().map(|&index| uses[index].file.size);
        Composite {
            path: Text::new("path", &found.path),
            digest: found.digest.map(|digest| digest.to_string()),
            components: found.components.len(),
            size: sizes.sum(),
            producers: ids(&found.producers),
            consumers: ids(&found.consumers),
        }
    }

    fn found_composites(&self) -> Vec<Found> {
        let uses = &self.recorded.uses;
        let code = uses
            .iter()
            .filter(|used| used.file.category == Category::Code);
        let code: BTreeSet<&[u8]> = code.map(|used| used.file.path.as_slice()).collect();
        let of_jobs = self.data_of_jobs();
        let mut by_key: BTreeMap<Key, Found> = BTreeMap::new();
        // By use that was written: the composite that it is a part of.
        let mut part_of: HashMap<usize, usize> = HashMap::new();
        let mut written = Vec::new();
        for (job, data) in of_jobs.iter().enumerate() {
            for found in self.grouped(job, &self.last_writes(data), &code) {
                part_of.extend(found.components.iter().map(|&index| (index, written.len())));
                written.push((job, found));
            }
        }
        let mut reads_of_parts: BTreeSet<usize> = BTreeSet::new();
        let mut writers: HashMap<usize, usize> = HashMap::new();
        for edge in &self.edges {
            let Some([write, read]) = edge.uses() else {
                continue;
            };
            writers.insert(read, edge.from);
            if let Some(&number) = part_of.get(&write) {
                reads_of_parts.insert(read);
                written[number].1.consumers.insert(edge.to);
            }
        }
        for (job, found) in written {
            self.take(&mut by_key, found, job);
        }
        for (job, data) in of_jobs.iter().enumerate() {
            let reads = self.last_reads(data, &reads_of_parts);
            for mut found in self.grouped(job, &reads, &code) {
                found.consumers = std::mem::take(&mut found.producers);
                let makers = found.components.iter();
                found.producers = makers
                    .filter_map(|read| writers.get(read).copied())
                    .collect();
                self.take(&mut by_key, found, job);
            }
        }
        by_key.into_values().collect()
    }

    /// Adds a composite to those that are known: equal content at one path is one.
    fn take(&self, by_key: &mut BTreeMap<Key, Found>, mut found: Found, job: usize) {
        let part = |&index: &usize| {
            let file = &self.recorded.uses[index].file;
            let inner = file.path.get(found.path.len()..).unwrap_or_default();
            (BString::from(inner), file.digest)
        };
        let parts: Vec<(BString, Option<Digest>)> = found.components.iter().map(part).collect();
        let known: Option<Vec<(&[u8], Digest)>> = parts
            .iter()
            .map(|(path, digest)| Some((path.as_slice(), (*digest)?)))
            .collect();
        found.digest = known.map(digest);
        let job = found.digest.is_none().then_some(job);
        let same = by_key
            .entry((found.path.clone(), parts, job))
            .or_insert_with(|| Found {
                path: found.path.clone(),
                components: found.components.clone(),
                digest: found.digest,
                ..Found::default()
            });
        same.producers.append(&mut found.producers);
        same.consumers.append(&mut found.consumers);
    }

    /// The directories of `files`, which tasks of `job` used.
    fn grouped(
        &self,
        job: usize,
        files: &BTreeMap<&[u8], Last>,
        code: &BTreeSet<&[u8]>,
    ) -> Vec<Found> {
        let paths: BTreeSet<&[u8]> = files.keys().copied().collect();
        let root = self.recorded.jobs[job].root.as_slice();
        let mut by_directory: BTreeMap<&[u8], Found> = BTreeMap::new();
        for (path, directory) in directories(&paths, code, root) {
            let found = by_directory.entry(directory).or_default();
            found.path = directory.into();
            if let Some(last) = files.get(path) {
                found.components.push(last.index);
                found.producers.extend(&last.nodes);
            }
        }
        by_directory.into_values().collect()
    }

    /// What tasks of a job left of the data that they used, by path.
    fn last_writes(&self, data: &[(usize, usize)]) -> BTreeMap<&[u8], Last> {
        let mut files: BTreeMap<&[u8], Last> = BTreeMap::new();
        for &(node, index) in data {
            let used = &self.recorded.uses[index];
            if used.role == Role::Write {
                self.note(&mut files, node, index);
            }
        }
        for &(_, index) in data {
            let used = &self.recorded.uses[index];
            let path = used.file.path.as_slice();
            let is_later = |last: &Last| self.time(last.index) < self.time(index);
            if used.role == Role::Delete && files.get(path).is_some_and(is_later) {
                files.remove(path);
            }
        }
        files
    }

    /// What tasks of a job read of the data that they used, but for `others`, by path.
    fn last_reads(
        &self,
        data: &[(usize, usize)],
        others: &BTreeSet<usize>,
    ) -> BTreeMap<&[u8], Last> {
        let mut files: BTreeMap<&[u8], Last> = BTreeMap::new();
        for &(node, index) in data {
            let used = &self.recorded.uses[index];
            if used.role == Role::Read && !others.contains(&index) {
                self.note(&mut files, node, index);
            }
        }
        files
    }

    fn note<'a>(&'a self, files: &mut BTreeMap<&'a [u8], Last>, node: usize, index: usize) {
        let path = self.recorded.uses[index].file.path.as_slice();
        let last = files.entry(path).or_insert_with(|| Last {
            index,
            nodes: BTreeSet::new(),
        });
        if self.time(last.index) < self.time(index) {
            last.index = index;
        }
        last.nodes.insert(node);
    }

    /// By job the data that its tasks used: node and index of the use.
    fn data_of_jobs(&self) -> Vec<Vec<(usize, usize)>> {
        let mut of_jobs = vec![Vec::new(); self.recorded.jobs.len()];
        for &node in &self.order {
            let uses = self.uses[node].iter().copied();
            let data = uses.filter(|&it| self.recorded.uses[it].file.category == Category::Data);
            of_jobs[self.recorded.tasks[node].job].extend(data.map(|index| (node, index)));
        }
        of_jobs
    }

    /// Orders uses of one path: by wall time, and of the same time by what they are.
    fn time(&self, index: usize) -> (i128, Option<Digest>, &str, usize) {
        let used: &Use = &self.recorded.uses[index];
        let task = &self.recorded.tasks[used.task].task;
        let at =
            i128::from(task.started_at) + i128::from(used.file.last) - i128::from(task.started);
        (at, used.file.digest, &task.id, index)
    }
}
