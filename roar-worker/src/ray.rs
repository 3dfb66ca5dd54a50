//! What `roar-worker` must know of Ray: which interpreter Ray would have started, where
//! a session's logs are, and how the shim gets into the worker.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use crate::{proc, shim};

/// A command line by which Ray starts a worker: `…/default_worker.py --option=value …`,
/// after the words of a `py_executable` that is the user's own.
pub struct Worker {
    command: Vec<OsString>,
    script: usize,
}

impl Worker {
    /// The worker that a command line starts, if it starts one.
    pub fn of(command: &[OsString]) -> Option<Self> {
        let is_script =
            |word: &OsString| Path::new(word).file_name() == Some(OsStr::new("default_worker.py"));
        let script = command.iter().position(is_script)?;
        let mut options = command.iter().skip(script);
        let is_rays = options.any(|word| word.as_bytes().starts_with(b"--node-ip-address="));
        (script == 0 || is_rays).then(|| Self {
            command: command.to_vec(),
            script,
        })
    }

    /// The command line with the interpreter that Ray would have chosen.
    pub fn command(&self) -> Vec<OsString> {
        let chosen = (self.script == 0).then(interpreter);
        chosen
            .into_iter()
            .chain(self.command.iter().cloned())
            .collect()
    }

    fn option(&self, name: &str) -> Option<OsString> {
        let prefix = format!("--{name}=");
        let mut values = self
            .command
            .iter()
            .filter_map(|word| word.as_bytes().strip_prefix(prefix.as_bytes()));
        values
            .next()
            .map(|value| OsString::from_vec(value.to_vec()))
    }

    /// Where the session's dashboard finds fragments: `<session>/logs/roar`.
    pub fn fragments(&self) -> PathBuf {
        let logs = self.option("logs-dir").map(PathBuf::from).or_else(|| {
            let temp = PathBuf::from(self.option("temp-dir")?);
            Some(temp.join(self.option("session-name")?).join("logs"))
        });
        logs.unwrap_or_else(std::env::temp_dir).join("roar")
    }

    /// The variable that brings the shim into the worker; none when it cannot be written.
    pub fn environment(&self, directory: &Path) -> Option<(OsString, OsString)> {
        let shim = shim::install(directory)?;
        let path = shim::python_path(std::env::var_os(shim::PYTHONPATH), &shim);
        Some((shim::PYTHONPATH.into(), path))
    }
}

/// The activated environment's Python, else the one that the raylet was told to use.
fn interpreter() -> OsString {
    for activated in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        let python = std::env::var_os(activated).map(|dir| PathBuf::from(dir).join("bin/python"));
        if let Some(python) = python.filter(|python| python.exists()) {
            return python.into();
        }
    }
    let parent = proc::command_line(std::os::unix::process::parent_id());
    let told = parent
        .iter()
        .find_map(|word| word.strip_prefix(b"--python_worker_command="));
    let python = told.and_then(|command| command.fields().next());
    OsString::from_vec(python.unwrap_or(b"python3").to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(line: &str) -> Option<Worker> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Worker::of(&words)
    }

    #[test]
    fn a_worker_is_known_by_rays_script() {
        let bare = worker("/r/default_worker.py --logs-dir=/l").unwrap();
        assert_eq!(bare.command().len(), 3);
        assert_eq!(bare.fragments(), Path::new("/l/roar"));
        let own = worker("python -X dev /r/default_worker.py --node-ip-address=1 --logs-dir=/l");
        let own = own.unwrap();
        assert_eq!(own.command().len(), 6);
        assert_eq!(own.fragments(), Path::new("/l/roar"));
        assert!(worker("python default_worker.py").is_none());
        assert!(worker("python x.py").is_none());
    }
}
