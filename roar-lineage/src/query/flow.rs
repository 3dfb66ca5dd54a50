//! The graph with files as nodes of their own: versions that tasks generated and used, in the
//! sense of W3C PROV.

use std::collections::{BTreeSet, HashMap};

use super::{Dag, EdgeObject};
use crate::document::File;

/// Versions of files, and the tasks around them by their indices in [`Dag::nodes`].
#[derive(Debug, Default)]
pub struct Flow<'a> {
    /// Each version once: what tasks left, by task, then sources.
    pub versions: Vec<Version<'a>>,
    /// Tasks, and the versions that they used.
    pub used: BTreeSet<(usize, usize)>,
    /// Pairs of tasks of which the second followed the first by what is no file.
    pub informed: BTreeSet<(usize, usize)>,
    known: HashMap<Content<'a>, usize>,
}

/// A version of a file.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    /// The file, as whoever left it or first read it knows it.
    pub file: &'a File,
    /// Of the content, where anybody knows it.
    pub digest: Option<&'a str>,
    /// The task that left it.
    pub writer: Option<usize>,
}

/// A writer, a path, a host, and what is known of the content.
type Content<'a> = (Option<usize>, &'a [u8], [Option<&'a str>; 4]);

impl Dag {
    /// Versions of files with the tasks around them.
    pub fn flow(&self) -> Flow<'_> {
        let ids = self.nodes.iter().enumerate();
        let tasks: HashMap<&str, usize> = ids.map(|(at, node)| (node.id.as_str(), at)).collect();
        let mut flow = Flow::default();
        let mut written: HashMap<(usize, &[u8]), Vec<usize>> = HashMap::new();
        for (task, node) in self.nodes.iter().enumerate() {
            for file in &node.writes {
                let version = flow.version(file, Some(task));
                let of_path = written.entry((task, file.path.bytes())).or_default();
                of_path.push(version);
            }
        }
        let mut explained: HashMap<(usize, &[u8]), Vec<Option<&str>>> = HashMap::new();
        for edge in &self.edges {
            let ends = [&edge.from, &edge.to].map(|id| tasks.get(id.as_str()).copied());
            let [Some(from), Some(to)] = ends else {
                continue;
            };
            let path: &[u8] = edge.path.bytes();
            let digest = edge.digest.as_deref();
            let versions = match edge.is_of_file() {
                true => written
                    .get(&(from, path))
                    .map_or(&[][..], |versions| versions),
                false => &[],
            };
            let is_it = |version: &&usize| is_one(flow.versions[**version].digest, digest);
            match versions.iter().rfind(is_it).or(versions.last()) {
                Some(&version) => {
                    flow.used.insert((to, version));
                    explained.entry((to, path)).or_default().push(digest);
                    let known = &mut flow.versions[version].digest;
                    *known = known.or(digest);
                }
                None => {
                    flow.informed.insert((from, to));
                }
            }
        }
        for (task, node) in self.nodes.iter().enumerate() {
            for file in &node.reads {
                let digests = explained.get(&(task, file.path.bytes()));
                let own = file.digest.as_deref();
                if !digests.is_some_and(|all| all.iter().any(|digest| is_one(*digest, own))) {
                    let version = flow.version(file, None);
                    flow.used.insert((task, version));
                }
            }
        }
        flow
    }
}

/// Whether two digests may be those of one content.
fn is_one(a: Option<&str>, b: Option<&str>) -> bool {
    a.is_none() || b.is_none() || a == b
}

impl EdgeObject {
    /// Whether it may be what joins a file's reader to its maker.
    pub fn leads_to(&self, file: &File) -> bool {
        let digests = [&self.digest, &file.digest].map(Option::as_deref);
        self.path.bytes() == file.path.bytes() && is_one(digests[0], digests[1])
    }

    /// Whether it goes over a file or an object of an object store.
    fn is_of_file(&self) -> bool {
        matches!(self.via, "file" | "s3")
    }
}

impl<'a> Flow<'a> {
    /// What tasks left: versions with their writers.
    pub fn generated(&self) -> impl Iterator<Item = (usize, usize)> {
        let versions = self.versions.iter().enumerate();
        versions.filter_map(|(at, version)| Some((at, version.writer?)))
    }

    /// The index of a version, which two observers may have seen.
    fn version(&mut self, file: &'a File, writer: Option<usize>) -> usize {
        let known = [&file.node, &file.digest, &file.etag, &file.version_id];
        let content = (
            writer,
            file.path.bytes().as_ref(),
            known.map(Option::as_deref),
        );
        *self.known.entry(content).or_insert_with(|| {
            self.versions.push(Version {
                file,
                digest: file.digest.as_deref(),
                writer,
            });
            self.versions.len() - 1
        })
    }
}
