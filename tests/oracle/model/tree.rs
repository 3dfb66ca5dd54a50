//! The file system in memory: names, directories, links, and how paths are resolved.

use std::collections::BTreeMap;

use super::{Context, Model, Node, Path, Place, ROOT, decoded, number};

impl Model {
    pub(super) fn files(&self) -> BTreeMap<Path, usize> {
        self.below(ROOT, &Vec::new()).into_iter().collect()
    }

    /// The files that a node is, or that are below it.
    pub(super) fn below(&self, node: usize, path: &Path) -> Vec<(Path, usize)> {
        match &self.nodes[node] {
            Node::File { .. } => vec![(path.clone(), node)],
            Node::Link(_) => Vec::new(),
            Node::Directory { entries, .. } => {
                let inner = entries.iter();
                inner
                    .flat_map(|(name, node)| self.below(*node, &join(path, name)))
                    .collect()
            }
        }
    }

    pub(super) fn content(&self, node: usize) -> Option<&Vec<u8>> {
        match &self.nodes[node] {
            Node::File { content, .. } => Some(content),
            _ => None,
        }
    }

    pub(super) fn resolve(
        &self,
        context: &Context,
        base: &str,
        path: &str,
        follow: bool,
    ) -> Option<Place> {
        let path = decoded(path);
        let start = match (path.first(), base) {
            (Some(b'@'), _) => ROOT,
            (_, "-") => context.cwd,
            _ => context.slots[number(base)].as_ref()?.borrow().node,
        };
        self.walk(start, &path, follow, 0)
    }

    pub(super) fn walk(
        &self,
        start: usize,
        path: &[u8],
        follow: bool,
        depth: usize,
    ) -> Option<Place> {
        let (mut at, path) = match path.split_first() {
            Some((b'@', rest)) => (ROOT, rest),
            _ => (start, path),
        };
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let parts: Vec<&[u8]> = parts
            .into_iter()
            .filter(|p| !matches!(*p, b"" | b"."))
            .collect();
        let Some((last, directories)) = parts.split_last() else {
            return Some(Place {
                directory: at,
                name: Vec::new(),
                node: Some(at),
            });
        };
        for name in directories {
            at = self.step(at, name, true, depth)?.node?;
        }
        self.step(at, last, follow, depth)
    }

    pub(super) fn step(
        &self,
        directory: usize,
        name: &[u8],
        follow: bool,
        depth: usize,
    ) -> Option<Place> {
        let Node::Directory { entries, parent } = &self.nodes[directory] else {
            return None;
        };
        let (mut place, is_up) = match name {
            b".." => (
                Place {
                    directory,
                    name: Vec::new(),
                    node: Some(*parent),
                },
                true,
            ),
            _ => {
                let node = entries.get(name).copied();
                (
                    Place {
                        directory,
                        name: name.to_vec(),
                        node,
                    },
                    false,
                )
            }
        };
        if let (false, true, Some(Node::Link(target))) =
            (is_up, follow, place.node.map(|node| &self.nodes[node]))
        {
            place = self.walk(directory, target, true, (depth < 40).then_some(depth + 1)?)?;
        }
        Some(place)
    }

    pub(super) fn path(&self, place: &Place) -> Path {
        let mut path = place.name.clone();
        let mut at = place.directory;
        while at != ROOT {
            let Node::Directory { parent, .. } = &self.nodes[at] else {
                unreachable!()
            };
            let Node::Directory { entries, .. } = &self.nodes[*parent] else {
                unreachable!()
            };
            let Some((name, _)) = entries.iter().find(|(_, node)| **node == at) else {
                return b"(deleted)".to_vec();
            };
            path = join(name, &path);
            at = *parent;
        }
        path
    }

    pub(super) fn add(&mut self, place: &Place, node: Node) {
        self.nodes.push(node);
        self.enter(place, self.nodes.len() - 1);
    }

    pub(super) fn enter(&mut self, place: &Place, node: usize) {
        self.renamed.insert(node);
        if let Node::Directory { parent, .. } = &mut self.nodes[node] {
            *parent = place.directory;
        }
        if let Node::Directory { entries, .. } = &mut self.nodes[place.directory] {
            entries.insert(place.name.clone(), node);
        }
    }

    pub(super) fn take_out(&mut self, place: &Place) {
        self.placed.remove(&self.path(place));
        self.renamed.extend(place.node);
        if let Node::Directory { entries, .. } = &mut self.nodes[place.directory] {
            entries.remove(&place.name);
        }
    }
}

fn join(directory: &[u8], name: &[u8]) -> Path {
    match directory.is_empty() {
        true => name.to_vec(),
        false => [directory, b"/", name].concat(),
    }
}
