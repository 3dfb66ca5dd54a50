//! What a script must have read, written and deleted: a file system in memory, on which
//! the calls that succeeded are done once more, and the rules of what is an input, an
//! output and a delete in their plainest form.
//!
//! A file is the task's own at a path when the task put it there (made, renamed or
//! linked it) or changed its content. Inputs are the files that were used while they
//! were not its own; outputs, those that are its own at the end (a file that came back
//! with its directory, as it was, is not); deletes, the paths
//! where a file was at the beginning and none is at the end.

mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::generate::{DIRECTORIES, FILES, LINKS};

/// A path below the program's directory.
pub(crate) type Path = Vec<u8>;

const ROOT: usize = 0;
const SLOTS: usize = 6;

enum Node {
    File {
        content: Vec<u8>,
        is_changed: bool,
    },
    Directory {
        entries: BTreeMap<Vec<u8>, usize>,
        parent: usize,
    },
    Link(Vec<u8>),
}

/// An open file description.
struct Description {
    node: usize,
    offset: usize,
    appends: bool,
}

#[derive(Clone)]
struct Context {
    cwd: usize,
    slots: Vec<Option<Rc<RefCell<Description>>>>,
}

/// Where a path leads: a directory, a name in it, and what is there.
struct Place {
    directory: usize,
    name: Vec<u8>,
    node: Option<usize>,
}

/// The file system and what was done to it.
pub(crate) struct Model {
    nodes: Vec<Node>,
    /// Where the task put what is there.
    placed: BTreeSet<Path>,
    original: BTreeMap<Path, usize>,
    /// Inputs.
    pub(crate) reads: BTreeSet<Path>,
    /// Every content that was ever at a path.
    pub(crate) history: BTreeMap<Path, BTreeSet<Vec<u8>>>,
    /// Files whose names came or went: their ctime is another, so that a version from
    /// before cannot be told from one that was changed.
    renamed: BTreeSet<usize>,
    /// Opened for reading; opened for writing.
    pub(crate) opened: [BTreeSet<Path>; 2],
}

/// A word of a script as bytes; a leading `@` stays.
pub(crate) fn decoded(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    bytes
}

impl Model {
    /// What is there at the beginning.
    pub(crate) fn new() -> Self {
        let root = Node::Directory {
            entries: BTreeMap::new(),
            parent: ROOT,
        };
        let mut model = Self {
            nodes: vec![root],
            placed: BTreeSet::new(),
            original: BTreeMap::new(),
            reads: BTreeSet::new(),
            history: BTreeMap::new(),
            renamed: BTreeSet::new(),
            opened: Default::default(),
        };
        let start = Context {
            cwd: ROOT,
            slots: vec![None; SLOTS],
        };
        let mut add = |name: &str, node: Node| {
            let place = model.resolve(&start, "-", name, false).unwrap();
            model.add(&place, node);
        };
        for name in DIRECTORIES {
            add(
                name,
                Node::Directory {
                    entries: BTreeMap::new(),
                    parent: ROOT,
                },
            );
        }
        for (name, content) in FILES {
            let content = content.as_bytes().to_vec();
            add(
                name,
                Node::File {
                    content,
                    is_changed: false,
                },
            );
        }
        for (name, target) in LINKS {
            add(name, Node::Link(decoded(target)));
        }
        model.renamed.clear();
        model.original = model.files();
        model.remember();
        model
    }

    /// Does a script's calls that succeeded: `results` by line.
    pub(crate) fn play(&mut self, lines: &[String], results: &HashMap<usize, i32>) {
        let mut context = Context {
            cwd: ROOT,
            slots: vec![None; SLOTS],
        };
        self.block(&mut context, lines, 0..lines.len(), results);
    }

    fn block(
        &mut self,
        context: &mut Context,
        lines: &[String],
        range: std::ops::Range<usize>,
        results: &HashMap<usize, i32>,
    ) {
        let mut at = range.start;
        while at < range.end {
            if let Some(kind) = lines[at].strip_prefix("{ ") {
                let end = block_end(lines, at + 1);
                let inner = at + 1..end;
                match kind {
                    "thread" => self.block(context, lines, inner, results),
                    "fork" => self.block(&mut context.clone(), lines, inner, results),
                    _ => {
                        let cwd = context.cwd;
                        let mut new = Context {
                            cwd,
                            slots: vec![None; SLOTS],
                        };
                        self.block(&mut new, lines, inner, results);
                    }
                }
                at = end + 1;
                continue;
            }
            let words: Vec<&str> = lines[at].split(' ').collect();
            match results.get(&at) {
                Some(0) => {
                    let done = self.call(context, &words);
                    assert!(done.is_some(), "line {at}, `{}`, cannot be", lines[at]);
                    self.remember();
                }
                Some(_) if words[0] == "tmpfile" => context.slots[number(words[1])] = None,
                Some(_) => {}
                None => panic!("line {at}, `{}`, was not done", lines[at]),
            }
            at += 1;
        }
    }

    fn call(&mut self, context: &mut Context, words: &[&str]) -> Option<()> {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let slot = || number(word(1));
        match words[0] {
            "open" | "openat" | "openat2" => {
                self.open(context, slot(), (word(2), word(3)), word(4).parse().ok()?)?;
            }
            "creat" => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                self.open(context, slot(), ("-", word(2)), flags)?;
            }
            "tmpfile" => {
                self.nodes.push(Node::File {
                    content: Vec::new(),
                    is_changed: true,
                });
                context.slots[slot()] = Some(description(self.nodes.len() - 1, 0));
            }
            "linkfd" => {
                let node = context.slots[slot()].as_ref()?.borrow().node;
                let to = self.resolve(context, "-", word(2), false)?;
                self.enter(&to, node);
                self.placed.insert(self.path(&to));
            }
            "close" => context.slots[slot()] = None,
            "dup" | "dup2" => context.slots[number(word(2))] = context.slots[slot()].clone(),
            "read" => {
                let open = context.slots[slot()].clone()?;
                let length = self.content(open.borrow().node)?.len();
                let mut open = open.borrow_mut();
                open.offset = length.min(open.offset + 4).max(open.offset);
            }
            "write" => self.write(&context.slots[slot()].clone()?, word(2).as_bytes()),
            "ftruncate" => {
                let node = context.slots[slot()].as_ref()?.borrow().node;
                self.change(node, |content| content.resize(number(word(2)), 0));
            }
            "map" => {
                let node = context.slots[slot()].as_ref()?.borrow().node;
                self.change(node, |content| content[0] = b'#');
            }
            "copy" => {
                let from = context.slots[slot()].clone()?;
                let to = context.slots[number(word(2))].clone()?;
                let (node, offset) = (from.borrow().node, from.borrow().offset);
                let bytes: Vec<u8> = self
                    .content(node)?
                    .iter()
                    .skip(offset)
                    .take(8)
                    .copied()
                    .collect();
                from.borrow_mut().offset += bytes.len();
                self.write(&to, &bytes);
            }
            "truncate" => {
                let place = self.resolve(context, "-", word(2), true)?;
                let length = number(word(1));
                if length > 0 {
                    self.uses(&place);
                }
                self.change(place.node?, |content| content.resize(length, 0));
            }
            "rename" => {
                let from = self.resolve(context, word(1), word(2), false)?;
                let to = self.resolve(context, word(3), word(4), false)?;
                self.rename(&from, &to, word(5).parse().ok()?)?;
            }
            "link" => {
                let from = self.resolve(context, word(1), word(2), false)?;
                let to = self.resolve(context, word(3), word(4), false)?;
                if self.content(from.node?).is_some() {
                    self.uses(&from);
                    self.placed.insert(self.path(&to));
                }
                self.enter(&to, from.node?);
            }
            "symlink" => {
                let place = self.resolve(context, "-", word(2), false)?;
                self.add(&place, Node::Link(decoded(word(1))));
            }
            "unlink" => {
                let place = self.resolve(context, word(1), word(2), false)?;
                self.take_out(&place);
            }
            "mkdir" => {
                let place = self.resolve(context, "-", word(1), false)?;
                self.add(
                    &place,
                    Node::Directory {
                        entries: BTreeMap::new(),
                        parent: ROOT,
                    },
                );
            }
            "rmdir" => {
                let place = self.resolve(context, "-", word(1), false)?;
                self.take_out(&place);
            }
            "chdir" => context.cwd = self.resolve(context, "-", word(1), true)?.node?,
            "fchdir" => context.cwd = context.slots[slot()].as_ref()?.borrow().node,
            "run" => {
                let place = self.resolve(context, "-", word(1), true)?;
                self.uses(&place);
            }
            _ => return None,
        }
        Some(())
    }

    fn open(
        &mut self,
        context: &mut Context,
        slot: usize,
        path: (&str, &str),
        flags: i32,
    ) -> Option<()> {
        let has = |flag: i32| flags & flag == flag;
        // With O_PATH the flags that create mean nothing (open(2)).
        let is_exclusive = has(libc::O_CREAT | libc::O_EXCL) && !has(libc::O_PATH);
        let follow = !has(libc::O_NOFOLLOW) && !is_exclusive;
        let mut place = self.resolve(context, path.0, path.1, follow)?;
        if place.node.is_none() && has(libc::O_CREAT) {
            self.add(
                &place,
                Node::File {
                    content: Vec::new(),
                    is_changed: true,
                },
            );
            place.node = Some(self.nodes.len() - 1);
            self.placed.insert(self.path(&place));
            self.opens(&place, flags);
        } else if !has(libc::O_PATH) {
            self.opens(&place, flags);
            let is_empty = self.content(place.node?).map(Vec::is_empty);
            let is_only_written = flags & libc::O_ACCMODE == libc::O_WRONLY;
            if has(libc::O_TRUNC) {
                self.change(place.node?, Vec::clear);
            } else if is_empty.is_some_and(|is_empty| !is_only_written || !is_empty) {
                self.uses(&place);
            }
        }
        context.slots[slot] = Some(description(place.node?, flags));
        Some(())
    }

    /// As strace will show it.
    fn opens(&mut self, place: &Place, flags: i32) {
        let path = self.path(place);
        let mode = flags & libc::O_ACCMODE;
        if flags & libc::O_DIRECTORY != 0 {
            return;
        }
        if mode != libc::O_WRONLY {
            self.opened[0].insert(path.clone());
        }
        if mode != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            self.opened[1].insert(path);
        }
    }

    fn write(&mut self, open: &Rc<RefCell<Description>>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut open = open.borrow_mut();
        let (appends, offset) = (open.appends, open.offset);
        let mut end = 0;
        self.change(open.node, |content| {
            let at = if appends { content.len() } else { offset };
            end = at + bytes.len();
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(bytes);
        });
        open.offset = end;
    }

    fn change(&mut self, node: usize, how: impl FnOnce(&mut Vec<u8>)) {
        if let Node::File {
            content,
            is_changed,
        } = &mut self.nodes[node]
        {
            how(content);
            *is_changed = true;
        }
    }

    fn rename(&mut self, from: &Place, to: &Place, flags: i32) -> Option<()> {
        let node = from.node?;
        if to.node == Some(node) {
            return Some(());
        }
        let moves = self.below(node, &self.path(from));
        let back = match to.node {
            Some(other) if flags == libc::RENAME_EXCHANGE as i32 => {
                self.below(other, &self.path(to))
            }
            _ => Vec::new(),
        };
        for (path, node) in moves.iter().chain(&back) {
            self.uses_at(path, *node);
        }
        let (from_path, to_path) = (self.path(from), self.path(to));
        self.take_out(from);
        self.take_out(to);
        self.enter(to, node);
        if flags == libc::RENAME_EXCHANGE as i32 {
            self.enter(from, to.node?);
        }
        for (path, _) in moves.iter().chain(&back) {
            self.placed.remove(path);
        }
        let moved = |path: &Path, from: &Path, to: &Path| [to, &path[from.len()..]].concat();
        self.placed.extend(
            moves
                .iter()
                .map(|(path, _)| moved(path, &from_path, &to_path)),
        );
        self.placed.extend(
            back.iter()
                .map(|(path, _)| moved(path, &to_path, &from_path)),
        );
        Some(())
    }

    /// A file is used: an input, unless it is the task's own.
    fn uses(&mut self, place: &Place) {
        if let Some(node) = place.node {
            self.uses_at(&self.path(place), node);
        }
    }

    fn uses_at(&mut self, path: &Path, node: usize) {
        if !self.is_own(path, node) {
            self.reads.insert(path.clone());
        }
    }

    fn is_own(&self, path: &Path, node: usize) -> bool {
        let is_changed = matches!(
            self.nodes[node],
            Node::File {
                is_changed: true,
                ..
            }
        );
        is_changed || self.placed.contains(path)
    }

    /// Outputs.
    pub(crate) fn writes(&self) -> BTreeSet<Path> {
        let is_output = |(path, node): &(Path, usize)| {
            let is_changed = matches!(
                self.nodes[*node],
                Node::File {
                    is_changed: true,
                    ..
                }
            );
            let is_back = self.original.get(path) == Some(node) && !self.renamed.contains(node);
            is_changed || (self.placed.contains(path) && !is_back)
        };
        let files = self.files().into_iter().filter(is_output);
        files.map(|(path, _)| path).collect()
    }

    /// Whether what is at a path is what was there at the beginning, and was left alone.
    pub(crate) fn is_left_alone(&self, path: &Path) -> bool {
        let node = self.files().get(path).copied();
        node.is_some_and(|node| !self.is_own(path, node) && !self.renamed.contains(&node))
    }

    /// Deletes.
    pub(crate) fn deletes(&self) -> BTreeSet<Path> {
        let files = self.files();
        let gone = self
            .original
            .keys()
            .filter(|path| !files.contains_key(*path));
        gone.cloned().collect()
    }

    /// The files at the end, with their content.
    pub(crate) fn contents(&self) -> BTreeMap<Path, Vec<u8>> {
        let files = self.files().into_iter();
        files
            .map(|(path, node)| (path, self.content(node).unwrap().clone()))
            .collect()
    }

    fn remember(&mut self) {
        for (path, node) in self.files() {
            let content = self.content(node).unwrap().clone();
            self.history.entry(path).or_default().insert(content);
        }
    }
}

fn description(node: usize, flags: i32) -> Rc<RefCell<Description>> {
    let appends = flags & libc::O_APPEND != 0;
    Rc::new(RefCell::new(Description {
        node,
        offset: 0,
        appends,
    }))
}

fn number(word: &str) -> usize {
    word.parse().unwrap()
}

fn block_end(lines: &[String], from: usize) -> usize {
    let mut depth = 1;
    for (at, line) in lines.iter().enumerate().skip(from) {
        depth += i32::from(line.starts_with('{')) - i32::from(line.starts_with('}'));
        if depth == 0 {
            return at;
        }
    }
    lines.len()
}
