//! The project: the nearest `.roar` from the working directory up, and the git root.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use roar_lineage::query::Graph;
use roar_lineage::store::{FILE_NAME, Store};

use crate::error::UserError;

/// Name of the project's directory.
pub const DIRECTORY: &str = ".roar";

const CONFIG: &str = "\
# Settings of roar for this project. Every line is optional; these are the defaults.

# [trace]
# backend = \"auto\"      # notify, ptrace or preload
# accel = \"auto\"        # the in-process fast path: on or off
# hash = true           # digests of inputs and outputs
";

/// The working directory.
pub fn working_directory() -> Result<PathBuf, UserError> {
    env::current_dir().map_err(|error| UserError::new("cannot tell the working directory", error))
}

/// The nearest `.roar` from `from` up.
pub fn nearest(from: &Path) -> Option<PathBuf> {
    let candidates = from.ancestors().map(|directory| directory.join(DIRECTORY));
    candidates.into_iter().find(|directory| directory.is_dir())
}

/// The nearest directory from `from` up that has a `.git`, else `from`.
pub fn root(from: &Path) -> PathBuf {
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
    for (name, content) in [(".gitignore", "*\n"), ("config.toml", CONFIG)] {
        match fs::File::create_new(directory.join(name)) {
            Ok(mut file) => file.write_all(content.as_bytes()).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((directory, is_new))
}

/// A session to answer questions from, and the directory that its paths are shown from.
pub struct Opened {
    /// The session's graph.
    pub graph: Graph,
    /// The project's root.
    pub root: PathBuf,
}

/// Opens the nearest project's store for a question.
pub fn open(all: bool) -> Result<Opened, UserError> {
    let cwd = working_directory()?;
    let nothing = |why: &str| {
        UserError::new("nothing is recorded here", why)
            .hint("`roar run CMD…` records a command, `roar merge DIR` takes fragments in")
    };
    let Some(directory) = nearest(&cwd) else {
        return Err(nothing("no .roar in this directory or above"));
    };
    if !directory.join(FILE_NAME).exists() {
        return Err(nothing(&format!(
            "{} has no store yet",
            directory.display()
        )));
    }
    let store = Store::open_existing(&directory)?;
    let graph = Graph::load(&store, all)?;
    let root = directory.parent().unwrap_or(&directory).to_owned();
    Ok(Opened { graph, root })
}
