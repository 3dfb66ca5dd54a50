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

/// Writes the files into a directory of their own in `directory`, once; gives that
/// directory when all of them are there: Ray ends a worker whose hook is missing.
pub fn install(directory: &Path) -> Option<PathBuf> {
    let contents: Vec<u8> = FILES
        .iter()
        .flat_map(|(_, content)| *content)
        .copied()
        .collect();
    let digest = Digest::of(&contents).hex();
    let path = directory.join(format!("roar-shim-{}", digest.get(..16)?));
    if !is_whole(&path) {
        let draft = directory.join(format!(".roar-shim-{}", std::process::id()));
        let _ = write(&draft).and_then(|()| put(&draft, &path));
        let _ = std::fs::remove_dir_all(&draft);
    }
    // Another process may have been quicker.
    is_whole(&path).then_some(path)
}

fn is_whole(directory: &Path) -> bool {
    FILES.iter().all(|(name, content)| {
        let there = std::fs::metadata(directory.join(name));
        there.is_ok_and(|there| there.is_file() && there.len() == content.len() as u64)
    })
}

/// Moves the files to their place; one by one where somebody has taken some away.
fn put(draft: &Path, directory: &Path) -> io::Result<()> {
    if std::fs::rename(draft, directory).is_ok() {
        return Ok(());
    }
    for (name, _) in FILES {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        std::fs::rename(draft.join(name), path)?;
    }
    Ok(())
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
    fn the_files_are_written_once_and_made_whole_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path()).unwrap();
        assert!(path.join("sitecustomize.py").is_file());
        assert!(path.join("roar_shim/worker.py").is_file());
        assert_eq!(install(directory.path()), Some(path.clone()));
        std::fs::remove_file(path.join("roar_shim/worker.py")).unwrap();
        std::fs::write(path.join("roar_shim/page.py"), "").unwrap();
        assert_eq!(install(directory.path()), Some(path.clone()));
        assert!(is_whole(&path));
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
