//! A session in the formats of other programs. Each is one function of an [`Exported`].

mod dvc;
mod in_toto;
mod openlineage;
mod otlp;
mod prov;
mod ro_crate;

use std::collections::HashMap;

use bstr::{BStr, ByteSlice};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::digest::Digest;
use crate::document::File;
use crate::model::{Job, Task};
use crate::query::{Dag, Flow, Graph, Node, Version, Work};

pub use dvc::dvc;
pub use in_toto::in_toto;
pub use openlineage::openlineage;
pub use otlp::otlp;
pub use prov::prov;
pub use ro_crate::ro_crate;

/// All but what may stand in the path of a URI as it is (RFC 3986, section 3.3).
const ENCODED: &AsciiSet = &relative_path(NON_ALPHANUMERIC).remove(b':');
/// The same in a relative reference, of which nothing before a colon is a scheme (section 4.2).
const ENCODED_RELATIVE: &AsciiSet = &relative_path(NON_ALPHANUMERIC);

const fn relative_path(set: &AsciiSet) -> AsciiSet {
    let unreserved = set.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let delimiters = unreserved
        .remove(b'!')
        .remove(b'$')
        .remove(b'&')
        .remove(b'\'');
    let delimiters = delimiters
        .remove(b'(')
        .remove(b')')
        .remove(b'*')
        .remove(b'+');
    let delimiters = delimiters.remove(b',').remove(b';').remove(b'=');
    delimiters.remove(b'@').remove(b'/')
}

/// Begins names that roar defines itself.
const URN: &str = "urn:roar";

/// A session, and where it is exported.
pub struct Exported<'a> {
    /// Its graph.
    pub graph: &'a Graph,
    /// The graph's document.
    pub dag: &'a Dag,
    /// Versions of files.
    pub flow: Flow<'a>,
    /// What jobs did.
    pub work: Vec<Work>,
    /// The project's root.
    pub root: &'a [u8],
    /// Name of this host, whose files need none.
    pub host: &'a str,
}

impl<'a> Exported<'a> {
    /// Nodes with their tasks and jobs, by step.
    fn nodes(&self) -> impl Iterator<Item = (&'a Node, &'a Task, &'a Job)> {
        let graph = self.graph;
        let jobs: HashMap<&str, &Job> = graph
            .jobs()
            .iter()
            .map(|job| (job.id.as_str(), job))
            .collect();
        let tasks = graph.steps().map(|(_, task)| task);
        let nodes = self.dag.nodes.iter().zip(tasks);
        nodes.filter_map(move |(node, task)| Some((node, task, *jobs.get(node.job.as_str())?)))
    }

    /// The URI of a file (RFC 8089) or of an object.
    fn uri(&self, file: &File) -> String {
        let path: &[u8] = file.path.bytes();
        if let Some(object) = path.strip_prefix(b"s3://") {
            return format!("s3://{}", percent_encode(object, ENCODED));
        }
        let node = file.other_node(self.host);
        let node = percent_encode(node.unwrap_or_default().as_bytes(), ENCODED);
        format!("file://{node}{}", percent_encode(path, ENCODED))
    }

    /// The path from the root, of what is beneath it on this host.
    fn beneath_root(&self, file: &'a File) -> Option<&'a BStr> {
        let is_here = file.other_node(self.host).is_none();
        let rest = file.path.bytes().strip_prefix(self.root)?;
        rest.strip_prefix(b"/").filter(|_| is_here).map(BStr::new)
    }

    /// The path from the root as part of a URI, else the whole URI.
    fn relative_uri(&self, file: &'a File) -> String {
        match self.beneath_root(file) {
            Some(rest) => percent_encode(rest, ENCODED_RELATIVE).to_string(),
            None => self.uri(file),
        }
    }

    /// The same for the same version of the same file in every export.
    fn version_id(&self, version: &Version) -> String {
        let writer = version.writer.map_or("", |task| &self.dag.nodes[task].id);
        let file = version.file;
        let known = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
        let content = [&file.digest, &file.etag, &file.version_id].map(known);
        let parts: [&[u8]; 6] = [
            writer.as_bytes(),
            file_host(file).as_bytes(),
            file.path.bytes(),
            content[0].as_bytes(),
            content[1].as_bytes(),
            content[2].as_bytes(),
        ];
        hex_of(&bstr::join(b"\0", parts), 32)
    }
}

fn file_host(file: &File) -> &str {
    file.node.as_deref().unwrap_or_default()
}

/// The first `digits` hexadecimal digits of a digest: an id of what has no such id.
fn hex_of(bytes: &[u8], digits: usize) -> String {
    Digest::of(bytes).hex().chars().take(digits).collect()
}

/// A command or function as people call it: the words before the first option, without
/// directories.
fn title(node: &Node, job: &Job) -> String {
    if let Some(func) = node.ray.as_ref().and_then(|ray| ray.func.clone()) {
        return func;
    }
    let words = job
        .command
        .iter()
        .take_while(|word| !word.starts_with(b"-"));
    let base = |word: &[u8]| {
        let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
        name.to_str_lossy().into_owned()
    };
    let words: Vec<String> = words.take(2).map(|word| base(word)).collect();
    match words.is_empty() {
        true => node.name.bytes().to_str_lossy().into_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests;
