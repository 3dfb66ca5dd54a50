//! Which installed distributions files belong to: by the metadata beside them
//! (`NAME-VERSION.dist-info`, the "Recording installed projects" specification of PyPA).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use roar_lineage::model::Package;

/// The distributions of these files.
pub fn of_files(files: &[BString]) -> BTreeSet<Package> {
    let mut tops: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_module(file)) {
        for marker in [&b"/site-packages/"[..], b"/dist-packages/"] {
            if let Some(at) = file.rfind(marker) {
                let (directory, rest) = file.split_at(at + marker.len());
                let top = rest.split_str(b"/").next().unwrap_or(rest);
                tops.entry(directory).or_default().insert(top);
            }
        }
    }
    let mut packages = BTreeSet::new();
    for (directory, mut tops) in tops {
        let installed = installed(Path::new(std::ffi::OsStr::from_bytes(directory)));
        // Most distributions are called as what they provide; only for the rest must the
        // lists of files be read.
        for (package, _) in &installed {
            if tops.remove(
                package
                    .name
                    .replace('-', "_")
                    .to_ascii_lowercase()
                    .as_bytes(),
            ) {
                packages.insert(package.clone());
            }
        }
        for (package, metadata) in installed {
            if tops.is_empty() {
                break;
            }
            let provided = provides(&metadata);
            if tops.iter().any(|top| provided.contains(*top)) {
                tops.retain(|top| !provided.contains(*top));
                packages.insert(package);
            }
        }
    }
    packages
}

/// Whether a file is part of what a program imports, not of how packages are found.
fn is_module(path: &[u8]) -> bool {
    let by_name = [&b".py"[..], b".pyc", b".pyd", b".so"]
        .iter()
        .any(|end| path.ends_with(end));
    by_name || path.find(b".so.").is_some()
}

/// What is installed in a directory, with the directory of each one's metadata.
fn installed(directory: &Path) -> Vec<(Package, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let describe = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (name, version) = name.strip_suffix(".dist-info")?.rsplit_once('-')?;
        let package = Package {
            name: name.replace('_', "-"),
            version: version.to_owned(),
        };
        Some((package, entry.path()))
    };
    let mut installed: Vec<_> = entries.flatten().filter_map(describe).collect();
    installed.sort();
    installed
}

/// The first components of the paths that RECORD lists.
fn provides(metadata: &Path) -> BTreeSet<BString> {
    let record = std::fs::read(metadata.join("RECORD")).unwrap_or_default();
    let tops = record
        .lines()
        .filter_map(|line| line.split_str(b"/").next());
    let tops = tops.map(|top| top.split_str(b",").next().unwrap_or(top));
    let foreign = |top: &&[u8]| !matches!(*top, b".." | b"" | b"__pycache__");
    tops.filter(foreign)
        .filter(|top| !top.ends_with(b".dist-info"))
        .map(Into::into)
        .collect()
}
