//! The project: the nearest `.roar` from the working directory up, and the git root.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use roar_lineage::query::{Graph, NotFound};
use roar_lineage::store::{FILE_NAME, Store};

use crate::config;
use crate::error::UserError;

/// Name of the project's directory.
pub const DIRECTORY: &str = ".roar";

/// The project's root, where the working directory does not tell.
pub const VARIABLE: &str = "ROAR_PROJECT_DIR";

/// The working directory; of one that was deleted the path that it had.
pub fn working_directory() -> Result<PathBuf, UserError> {
    let former = || {
        let path = fs::read_link("/proc/self/cwd").ok()?;
        let path = path.as_os_str().as_bytes().strip_suffix(b" (deleted)")?;
        Some(OsStr::from_bytes(path).into())
    };
    env::current_dir()
        .or_else(|error| former().ok_or(error))
        .map_err(|error| UserError::new("cannot tell the working directory", error))
}

/// The file that a path leads to through symbolic links, where files are recorded. It, or
/// its directory, is there.
pub fn target(path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    if let Ok(target) = path.canonicalize() {
        return Some(target);
    }
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?))
}

/// Where the project is.
#[derive(Debug)]
pub struct Place {
    /// Its root.
    pub root: PathBuf,
    /// Its `.roar`, if it has one.
    pub directory: Option<PathBuf>,
    /// The working directory.
    pub cwd: PathBuf,
}

impl Place {
    /// The project of the working directory; `root` is its root if given.
    pub fn find(root: Option<&Path>) -> Result<Self, UserError> {
        let cwd = working_directory()?;
        let directory = nearest(&cwd);
        let root = match (root, &directory) {
            (Some(root), _) => root.to_owned(),
            (None, Some(directory)) => directory.parent().unwrap_or(directory).to_owned(),
            (None, None) => self::root(&cwd),
        };
        Ok(Self {
            root,
            directory,
            cwd,
        })
    }
}

/// The root that `ROAR_PROJECT_DIR` names.
fn named() -> Option<PathBuf> {
    let root = env::var_os(VARIABLE).filter(|root| !root.is_empty())?;
    let there = target(&root).or_else(|| std::path::absolute(&root).ok());
    Some(there.unwrap_or_else(|| root.into()))
}

/// The `.roar` of the project that `ROAR_PROJECT_DIR` names, else the nearest one from
/// `from` up.
pub fn nearest(from: &Path) -> Option<PathBuf> {
    if let Some(root) = named() {
        return Some(root.join(DIRECTORY)).filter(|directory| directory.is_dir());
    }
    let candidates = from.ancestors().map(|directory| directory.join(DIRECTORY));
    candidates.into_iter().find(|directory| directory.is_dir())
}

/// The root that `ROAR_PROJECT_DIR` names, else the nearest directory from `from` up
/// that has a `.git`, else `from`.
pub fn root(from: &Path) -> PathBuf {
    if let Some(root) = named() {
        return root;
    }
    let is_root = |directory: &&Path| directory.join(".git").exists();
    from.ancestors().find(is_root).unwrap_or(from).to_owned()
}

/// Makes `.roar` in `root` with its own `.gitignore` and a commented `config.toml`.
/// What is there stays as it is. True if the directory is new.
pub fn create(root: &Path) -> Result<(PathBuf, bool), UserError> {
    let directory = root.join(DIRECTORY);
    let failed =
        |error: io::Error| UserError::new(format!("cannot make {}", directory.display()), error);
    let is_new = match DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => false,
        Err(error) => return Err(failed(error)),
    };
    for (name, content) in [
        (".gitignore", "*\n".to_owned()),
        (config::PRIVATE, config::template()),
    ] {
        match fs::File::create_new(directory.join(name)) {
            Ok(mut file) => file.write_all(content.as_bytes()).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((directory, is_new))
}

/// Whether there is a store in a project's directory. Error: nobody can tell.
pub fn has_store(directory: &Path) -> Result<bool, UserError> {
    let there = directory.join(FILE_NAME).try_exists();
    there.map_err(|error| UserError::new(format!("cannot use {}", directory.display()), error))
}

/// A session to answer questions from, and the directory that its paths are shown from.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The session's graph.
    pub graph: Graph,
    /// The project's root.
    pub root: PathBuf,
    cwd: PathBuf,
}

impl Opened {
    /// Steps by the ids of their tasks.
    pub fn steps(&self) -> HashMap<&str, usize> {
        let steps = self.graph.steps();
        steps.map(|(step, task)| (task.id.as_str(), step)).collect()
    }

    /// What `find` finds by `reference` from the working directory, or by the file that it leads
    /// to through symbolic links.
    pub fn find<T>(
        &self,
        reference: &OsStr,
        find: impl Fn(&[u8], &[u8]) -> Result<T, NotFound>,
    ) -> Result<T, NotFound> {
        let find = |reference: &OsStr| find(reference.as_bytes(), self.cwd.as_os_str().as_bytes());
        find(reference).or_else(|error| find(target(reference).ok_or(error)?.as_os_str()))
    }
}

/// Opens the nearest project's store for a question, and loads its graph.
pub fn open(all: bool) -> Result<Opened, UserError> {
    let (store, root) = open_store()?;
    let mut graph = Graph::load(&store, all)?;
    let directory = root.join(DIRECTORY);
    if config::ray(&config::load(Some(&directory), &root)?, &root).per_actor {
        graph = graph.by_actor();
    }
    let cwd = working_directory()?;
    Ok(Opened {
        store,
        graph,
        root,
        cwd,
    })
}

/// Opens the nearest project's store; gives the project's root too.
pub fn open_store() -> Result<(Store, PathBuf), UserError> {
    let cwd = working_directory()?;
    let nothing = |why: &str| {
        UserError::new("nothing is recorded here", why)
            .hint("`roar run CMD…` records a command, `roar merge DIR` takes fragments in")
    };
    let Some(directory) = nearest(&cwd) else {
        return Err(match named() {
            Some(root) => nothing(&format!("no .roar in {}", root.display())),
            None => nothing("no .roar in this directory or above"),
        });
    };
    if !has_store(&directory)? {
        return Err(nothing(&format!(
            "{} has no store yet",
            directory.display()
        )));
    }
    let store = Store::open_existing(&directory)?;
    let root = directory.parent().unwrap_or(&directory).to_owned();
    Ok((store, root))
}
