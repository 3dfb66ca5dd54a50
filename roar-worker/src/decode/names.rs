//! rename(2), link(2), unlink(2) and their relatives.

use bstr::{BString, ByteSlice};
use roar_lineage::event::Access;

use super::{is_recorded, look_up, regular};
use crate::memory::{self, Unreadable};
use crate::tracee::{Base, FileType, Found, Lookup, Tracee};

/// Files below a renamed directory that are followed one by one.
pub(crate) const MAX_MOVED: usize = 10_000;

pub(super) fn rename(
    tracee: &impl Tracee,
    from: (Base, u64),
    to: (Base, u64),
    flags: u32,
) -> Result<Vec<Access>, Unreadable> {
    let Some((from, _)) = look_up(tracee, from, false)? else {
        return Ok(Vec::new());
    };
    let Some((to, given)) = look_up(tracee, to, false)? else {
        return Ok(Vec::new());
    };
    let Some(from) = from.found() else {
        return Ok(Vec::new());
    };
    if !tracee.may_remove(&from) {
        return Ok(Vec::new());
    }
    let is_directory = |found: &Found| found.file_type == FileType::Directory;
    if flags & libc::RENAME_EXCHANGE != 0 {
        return Ok(match to {
            Lookup::Found(to) if tracee.may_remove(&to) => exchange(tracee, from, to),
            _ => Vec::new(),
        });
    }
    let (to_path, mount, replaced) = match to {
        Lookup::Missing { path, mount } => (path, mount, None),
        Lookup::Found(to) => (to.path.clone(), to.mount, Some(to)),
        Lookup::Fails => return Ok(Vec::new()),
    };
    if mount != from.mount || !tracee.may_change_directory_of(&to_path) {
        return Ok(Vec::new());
    }
    // EINVAL; ENOTDIR.
    if is_below(&to_path, &from.path) || (given.ends_with(b"/") && !is_directory(&from)) {
        return Ok(Vec::new());
    }
    if let Some(there) = &replaced {
        let same = (there.version.dev, there.version.ino) == (from.version.dev, from.version.ino);
        if flags & libc::RENAME_NOREPLACE != 0
            || same
            || !tracee.may_remove(there)
            || is_directory(there) != is_directory(&from)
            || (is_directory(there) && tracee.has_entries(&there.path))
        {
            return Ok(Vec::new());
        }
    }
    if from.file_type == FileType::Directory {
        return Ok(move_directory(tracee, &from.path, &to_path));
    }
    Ok(move_file(from, to_path, replaced))
}

fn is_below(path: &BString, directory: &BString) -> bool {
    let rest = path.strip_prefix(directory.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// A file of any type to a path where nothing or another file is.
fn move_file(from: Found, to: BString, replaced: Option<Found>) -> Vec<Access> {
    let replaced = replaced.as_ref().and_then(regular);
    match regular(&from) {
        Some(moved) if is_recorded(&to) => {
            vec![Access::Rename {
                from: from.path,
                to,
                moved,
                replaced,
            }]
        }
        // Something else, a symbolic link say, took the place of a file.
        _ => replaced
            .map(|version| Access::Unlink { path: to, version })
            .into_iter()
            .collect(),
    }
}

fn move_directory(tracee: &impl Tracee, from: &BString, to: &BString) -> Vec<Access> {
    let moved = tracee.files_below(from, MAX_MOVED);
    let accesses = moved.into_iter().filter_map(|file| {
        let below = file.path.strip_prefix(from.as_bytes())?.to_owned();
        let mut to = to.clone();
        to.extend_from_slice(&below);
        Some(Access::Rename {
            from: file.path,
            to,
            moved: file.version,
            replaced: None,
        })
    });
    accesses.collect()
}

fn exchange(tracee: &impl Tracee, a: Found, b: Found) -> Vec<Access> {
    let is_same = (a.version.dev, a.version.ino) == (b.version.dev, b.version.ino);
    let is_inside = is_below(&a.path, &b.path) || is_below(&b.path, &a.path);
    if a.mount != b.mount || is_same || is_inside {
        return Vec::new();
    }
    if let (Some(a_version), Some(b_version)) = (regular(&a), regular(&b)) {
        return vec![Access::Exchange {
            a: a.path,
            a_version,
            b: b.path,
            b_version,
        }];
    }
    // As three renames; the name between exists for nobody.
    let mut between = a.path.clone();
    between.extend_from_slice(b".roar-exchange");
    let aside = move_any(tracee, &a, &between);
    let back = aside.iter().filter_map(|access| match access {
        Access::Rename { to, moved, .. } => {
            let mut end = b.path.clone();
            end.extend_from_slice(to.strip_prefix(between.as_bytes())?);
            Some(Access::Rename {
                from: to.clone(),
                to: end,
                moved: *moved,
                replaced: None,
            })
        }
        _ => None,
    });
    let back: Vec<_> = back.collect();
    [aside, move_any(tracee, &b, &a.path), back].concat()
}

/// A file, or the files of a directory, to where nothing is.
fn move_any(tracee: &impl Tracee, from: &Found, to: &BString) -> Vec<Access> {
    match from.file_type {
        FileType::Directory => move_directory(tracee, &from.path, to),
        _ => move_file(from.clone(), to.clone(), None),
    }
}

pub(super) fn link(
    tracee: &impl Tracee,
    from: (Base, u64),
    to: (Base, u64),
    flags: i32,
) -> Result<Vec<Access>, Unreadable> {
    let source = match (flags & libc::AT_EMPTY_PATH != 0, from.0) {
        (true, Base::Descriptor(fd))
            if memory::path(tracee, from.1)?.is_some_and(|path| path.is_empty()) =>
        {
            tracee.descriptor(fd)
        }
        _ => match look_up(tracee, from, flags & libc::AT_SYMLINK_FOLLOW != 0)? {
            Some((lookup, _)) => lookup,
            None => return Ok(Vec::new()),
        },
    };
    let Some(source) = source.found() else {
        return Ok(Vec::new());
    };
    let Some(version) = regular(&source) else {
        return Ok(Vec::new());
    };
    let Some((Lookup::Missing { path: to, mount }, _)) = look_up(tracee, to, false)? else {
        return Ok(Vec::new());
    };
    let may = mount == source.mount && !source.is_fixed;
    if !may || !is_recorded(&to) || !tracee.may_change_directory_of(&to) {
        return Ok(Vec::new());
    }
    let from = (source.links > 0).then_some(source.path);
    Ok(vec![Access::Link { from, to, version }])
}

pub(super) fn unlink(
    tracee: &impl Tracee,
    base: Base,
    address: u64,
) -> Result<Vec<Access>, Unreadable> {
    let Some((lookup, _)) = look_up(tracee, (base, address), false)? else {
        return Ok(Vec::new());
    };
    let Some(found) = lookup.found() else {
        return Ok(Vec::new());
    };
    match regular(&found) {
        Some(version) if tracee.may_remove(&found) => Ok(vec![Access::Unlink {
            path: found.path,
            version,
        }]),
        _ => Ok(Vec::new()),
    }
}
