//! Directories whose files are one artifact together: the shards of a dataset, the parts
//! of a checkpoint.
//!
//! A directory is chosen for the files that one job wrote, or read. It is the directory
//! that they are in, without what only lays a dataset out (`date=2026-01-01`, `_delta_log`).
//! One within another belongs to the outer one. It is never one that holds code, or the
//! project.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;

/// Files from which on a directory is one artifact.
pub const LEAST: usize = 2;

type Bytes<'a> = &'a [u8];

const SCHEME: &[u8] = b"s3://";

/// Endings of directories that are one dataset with all that is below them.
const DATASETS: &[&[u8]] = &[b".zarr", b".n5", b".lance", b".parquet", b".delta"];

/// The digest of a composite: of its components' paths, relative to its own, and digests.
/// See `docs/composites.md`.
pub fn digest<'a>(components: impl IntoIterator<Item = (&'a [u8], Digest)>) -> Digest {
    let sorted: BTreeMap<&[u8], Digest> = components.into_iter().collect();
    let mut encoded = b"roar.composite/1\n".to_vec();
    for (path, digest) in sorted {
        encoded.extend_from_slice(&(path.len() as u64).to_le_bytes());
        encoded.extend_from_slice(path);
        encoded.extend_from_slice(&digest.0);
    }
    Digest::of(&encoded)
}

/// The directories that are artifacts, by file: each path or URL that belongs to one, with
/// that directory (to its last `/`). `files` are the data that one job wrote or read,
/// `code` is all code that is known, `root` is the project's.
pub fn directories<'a>(
    files: &BTreeSet<&'a [u8]>,
    code: &BTreeSet<&[u8]>,
    root: &[u8],
) -> BTreeMap<&'a [u8], &'a [u8]> {
    let homes = homes(files);
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for home in homes.values() {
        *counts.entry(home).or_default() += 1;
    }
    let holds_code = |directory: &[u8]| {
        let after = code.range(directory..).next();
        after.is_some_and(|path| path.starts_with(directory))
    };
    let is_whole_bucket = |bucket: &[u8]| {
        let mut within = homes.iter().filter(|(file, _)| file.starts_with(bucket));
        within.all(|(_, home)| *home == bucket)
    };
    let is_artifact = |directory: &[u8], count: usize| {
        let is_around = root.starts_with(directory) || [root, b"/"].concat() == directory;
        count >= LEAST
            && !is_around
            && !holds_code(directory)
            && (!is_bucket(directory) || is_whole_bucket(directory))
    };
    let chosen: BTreeSet<&[u8]> = counts
        .into_iter()
        .filter(|&(directory, count)| is_artifact(directory, count))
        .map(|(directory, _)| directory)
        .collect();
    let outermost = |file: &'a [u8]| {
        let ends = (1..file.len()).filter(|&at| file[at - 1] == b'/');
        let mut around = ends.map(|at| &file[..at]);
        around.find(|directory| chosen.contains(directory))
    };
    files
        .iter()
        .filter_map(|&file| Some((file, outermost(file)?)))
        .collect()
}

/// By file the directory that it may be a part of.
fn homes<'a>(files: &BTreeSet<&'a [u8]>) -> BTreeMap<&'a [u8], &'a [u8]> {
    let mut homes: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut held: BTreeMap<&[u8], usize> = BTreeMap::new();
    for &file in files {
        let Some(home) = home(file) else { continue };
        homes.insert(file, home);
        *held.entry(home).or_default() += 1;
    }
    // Shards that have a directory each: `shard-0/data.bin`, `shard-1/data.bin`.
    let mut alone: BTreeMap<(Bytes<'_>, Bytes<'_>), Vec<Bytes<'a>>> = BTreeMap::new();
    for (&file, &home) in &homes {
        if held.get(home) == Some(&1)
            && let Some(above) = parent(home)
        {
            alone.entry((above, ending(file))).or_default().push(file);
        }
    }
    for ((above, _), files) in alone {
        if files.len() >= LEAST {
            homes.extend(files.into_iter().map(|file| (file, above)));
        }
    }
    homes
}

/// The directory that a file is in, without what only lays a dataset out.
fn home(file: &[u8]) -> Option<&[u8]> {
    let mut directory = parent(file)?;
    let mut home = directory;
    let mut is_inner = true;
    while let Some(above) = parent(directory) {
        let name = &directory[above.len()..directory.len() - 1];
        is_inner &= name.contains(&b'=') || name.starts_with(b"_");
        if is_inner {
            home = above;
        }
        if DATASETS.iter().any(|ending| name.ends_with(ending)) {
            home = directory;
        }
        directory = above;
    }
    Some(home)
}

/// The directory around a file or directory, to its last `/`. A bucket has none.
fn parent(path: &[u8]) -> Option<&[u8]> {
    if is_bucket(path) {
        return None;
    }
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    let end = inner.iter().rposition(|&byte| byte == b'/')?;
    Some(&path[..=end])
}

fn is_bucket(directory: &[u8]) -> bool {
    let name = directory.strip_prefix(SCHEME);
    let name = name.and_then(|name| name.strip_suffix(b"/"));
    name.is_some_and(|name| !name.contains(&b'/'))
}

/// What follows the last dot of a file's name.
fn ending(file: &[u8]) -> &[u8] {
    let after = file.rsplit(|&byte| byte == b'/').next();
    let name = after.unwrap_or(file);
    let dot = name.iter().rposition(|&byte| byte == b'.');
    dot.map_or(b"", |dot| &name[dot..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The directories chosen for files, with how many of them are in each.
    fn chosen(files: &[&str]) -> Vec<(String, usize)> {
        let code: BTreeSet<&[u8]> = BTreeSet::from([&b"/p/src/main.py"[..]]);
        let files: BTreeSet<&[u8]> = files.iter().map(|file| file.as_bytes()).collect();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (file, directory) in directories(&files, &code, b"/p") {
            assert!(file.starts_with(directory) && directory.ends_with(b"/"));
            let directory = String::from_utf8_lossy(directory).into_owned();
            *counts.entry(directory).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    fn is(directory: &str, count: usize) -> Vec<(String, usize)> {
        vec![(directory.to_owned(), count)]
    }

    #[test]
    fn shards_and_their_marker_are_one() {
        let shards = ["/p/d/part-0", "/p/d/part-1", "/p/d/_SUCCESS", "/p/report"];
        assert_eq!(chosen(&shards), is("/p/d/", 3));
        let partitions = ["/p/d/x=1/y=2/a", "/p/d/x=2/y=1/b", "/p/d/_delta_log/0.json"];
        assert_eq!(chosen(&partitions), is("/p/d/", 3));
        let nested = ["/p/c/a.bin", "/p/c/b.bin", "/p/c/tokenizer/t.json"];
        assert_eq!(chosen(&nested), is("/p/c/", 3));
        let one_each = ["/p/d/0/x.bin", "/p/d/1/x.bin", "/p/d/2/y.bin"];
        assert_eq!(chosen(&one_each), is("/p/d/", 3));
        let zarr = [
            "/p/x.zarr/zarr.json",
            "/p/x.zarr/a/c/0/0",
            "/p/x.zarr/a/c/0/1",
        ];
        assert_eq!(chosen(&zarr), is("/p/x.zarr/", 3));
    }

    #[test]
    fn datasets_beside_each_other_stay_apart() {
        let both = [
            "/p/o/train/a",
            "/p/o/train/b",
            "/p/o/test/a",
            "/p/o/test/b",
            "/p/o/m",
        ];
        let expected = [is("/p/o/test/", 2), is("/p/o/train/", 2)].concat();
        assert_eq!(chosen(&both), expected);
        assert_eq!(chosen(&["/p/o/model/m.pt", "/p/o/metrics/m.json"]), []);
    }

    #[test]
    fn the_project_what_holds_code_and_single_files_are_none() {
        assert_eq!(chosen(&["/p/a", "/p/b"]), []);
        assert_eq!(chosen(&["/p/src/a", "/p/src/b"]), []);
        assert_eq!(chosen(&["/a", "/b"]), []);
        assert_eq!(chosen(&["/p/d/a"]), []);
        assert_eq!(chosen(&["/q/a", "/q/b"]), is("/q/", 2));
    }

    #[test]
    fn a_bucket_is_one_only_when_all_is_directly_in_it() {
        assert_eq!(chosen(&["s3://b/a", "s3://b/c"]), is("s3://b/", 2));
        let prefix = ["s3://b/a", "s3://b/c", "s3://b/d/x", "s3://b/d/y"];
        assert_eq!(chosen(&prefix), is("s3://b/d/", 2));
    }

    proptest! {
        #[test]
        fn a_digest_depends_on_what_is_there_and_not_on_order(
            parts in prop::collection::btree_map("[ab/]{1,4}", any::<u8>(), 1..6),
        ) {
            let part = |(path, content): (&'_ String, &u8)| {
                (path.clone().into_bytes(), Digest::of(&[*content]))
            };
            let parts: Vec<(Vec<u8>, Digest)> = parts.iter().map(part).collect();
            let of = |parts: &[(Vec<u8>, Digest)]| {
                digest(parts.iter().map(|(path, digest)| (path.as_slice(), *digest)))
            };
            let mut other = parts.clone();
            other.reverse();
            prop_assert_eq!(of(&parts), of(&other));
            other.pop();
            prop_assert_ne!(of(&parts), of(&other));
        }
    }
}
