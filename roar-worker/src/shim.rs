//! The Python part: written to a directory that goes on `PYTHONPATH`, so that Ray's workers
//! find `roar_shim`, and scripts that use Ray find its `sitecustomize`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use roar_lineage::digest::Digest;

/// The files, by their path in the directory.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/shim.rs"));

/// The variable that brings the directory into every Python.
pub const PYTHONPATH: &str = "PYTHONPATH";

/// Writes the files into a directory of their own in `directory`, once, whole or not at
/// all; gives that directory.
pub fn install(directory: &Path) -> Option<PathBuf> {
    let contents: Vec<u8> = FILES
        .iter()
        .flat_map(|(_, content)| *content)
        .copied()
        .collect();
    let digest = Digest::of(&contents).hex();
    let path = directory.join(format!("roar-shim-{}", digest.get(..16)?));
    if path.exists() {
        return Some(path);
    }
    let draft = directory.join(format!(".roar-shim-{}", std::process::id()));
    let written = write(&draft).and_then(|()| std::fs::rename(&draft, &path));
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&draft);
    }
    // Another process may have been quicker.
    (written.is_ok() || path.exists()).then_some(path)
}

fn write(directory: &Path) -> io::Result<()> {
    for (name, content) in FILES {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// `PYTHONPATH` with the directory before what was there, unless the same files are on it
/// already. Its `sitecustomize` takes it off `sys.path` again and goes on to the one that
/// would have been found, so nothing of the user's is hidden.
pub fn python_path(current: Option<OsString>, shim: &Path) -> OsString {
    let current = current.filter(|path| !path.is_empty()).unwrap_or_default();
    let is_there = |entry: PathBuf| entry.file_name() == shim.file_name() && entry.exists();
    if std::env::split_paths(&current).any(is_there) {
        return current;
    }
    let mut path = shim.as_os_str().to_owned();
    if !current.is_empty() {
        path.push(":");
        path.push(current);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_written_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path()).unwrap();
        assert!(path.join("sitecustomize.py").is_file());
        assert!(path.join("roar_shim/worker.py").is_file());
        assert_eq!(install(directory.path()), Some(path));
        let entries = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(entries, 1);
    }

    #[test]
    fn the_path_keeps_what_was_there_and_gets_the_files_once() {
        let shim = Path::new("/s");
        assert_eq!(python_path(None, shim), "/s");
        assert_eq!(python_path(Some("".into()), shim), "/s");
        assert_eq!(python_path(Some("/a:/b".into()), shim), "/s:/a:/b");
        let directory = tempfile::tempdir().unwrap();
        let one = install(&directory.path().join("one")).unwrap();
        let other = install(&directory.path().join("other")).unwrap();
        let path = python_path(None, &one);
        assert_eq!(python_path(Some(path.clone()), &other), path);
    }
}
