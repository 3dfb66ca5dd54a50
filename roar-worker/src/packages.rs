//! Which installed distributions files belong to: by the metadata beside them
//! (`NAME-VERSION.dist-info`, the "Recording installed projects" specification of PyPA).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BString, ByteSlice};
use roar_lineage::model::Package;

/// The distributions of these files.
pub fn of_files(files: &[BString]) -> BTreeSet<Package> {
    let mut tops: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for file in files {
        for marker in [&b"/site-packages/"[..], b"/dist-packages/"] {
            if let Some(at) = file.rfind(marker) {
                let (directory, rest) = file.split_at(at + marker.len());
                let top = rest.split_str(b"/").next().unwrap_or(rest);
                tops.entry(directory).or_default().insert(top);
            }
        }
    }
    let mut packages = BTreeSet::new();
    for (directory, tops) in tops {
        let installed = installed(Path::new(std::ffi::OsStr::from_bytes(directory)));
        for (package, provides) in installed {
            if provides.iter().any(|name| tops.contains(name.as_slice())) {
                packages.insert(package);
            }
        }
    }
    packages
}

/// What is installed in a directory, with the top-level names that each provides.
fn installed(directory: &Path) -> Vec<(Package, BTreeSet<BString>)> {
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
        Some((package, provides(&entry.path())))
    };
    entries.flatten().filter_map(describe).collect()
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
