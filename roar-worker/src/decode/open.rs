//! open(2), openat(2), openat2(2), creat(2), truncate(2).

use bstr::BString;
use roar_lineage::event::Access;
use roar_lineage::model::How;
use roar_tracee::abi;

use super::{Decoded, is_recorded, look_up, magic, named, regular};
use crate::memory::{self, Unreadable};
use crate::tracee::{Base, Found, Lookup, Tracee, Wish};

/// An open by path.
pub(super) fn by_path(
    tracee: &impl Tracee,
    base: Base,
    address: u64,
    flags: i32,
    resolve: u64,
) -> Result<Decoded, Unreadable> {
    let has = |flag: i32| flags & flag == flag;
    let Some(path) = memory::path(tracee, address)? else {
        return Ok(none());
    };
    if let Some(request) = magic(&path) {
        return Ok(request);
    }
    if path == abi::KEYS_PATH && flags & libc::O_ACCMODE == libc::O_WRONLY {
        return Ok(Decoded::Keys);
    }
    // An unnamed file becomes a file by linkat(2); directories hold no content.
    if path.is_empty() || has(libc::O_PATH) || has(libc::O_DIRECTORY) || is_kernels(&path) {
        return Ok(none());
    }
    let creates = has(libc::O_CREAT);
    let exclusive = creates && has(libc::O_EXCL);
    let follow = !has(libc::O_NOFOLLOW) && !exclusive;
    let lookup = match resolve {
        0 if creates => tracee.lookup_new(base, &path, follow),
        0 => tracee.lookup(base, &path, follow),
        _ => tracee.lookup_under(base, &path, follow, resolve),
    };
    let accesses = match lookup {
        Lookup::Missing { path, .. } if creates => created(tracee, path),
        Lookup::Found(found) if !exclusive => existing(tracee, found, flags),
        _ => Vec::new(),
    };
    Ok(Decoded::Files(accesses))
}

/// An open by a handle (`struct file_handle`: its size, its type, its bytes).
pub(super) fn by_handle(
    tracee: &impl Tracee,
    mount: Base,
    address: u64,
    flags: i32,
) -> Result<Decoded, Unreadable> {
    const MAX_HANDLE_SZ: u64 = 128;
    let size = memory::word(tracee, address, 4)?;
    if size > MAX_HANDLE_SZ || flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 {
        return Ok(none());
    }
    let mut handle = vec![0; 8 + size as usize];
    if tracee.read_memory(address, &mut handle)? < handle.len() {
        return Err(Unreadable);
    }
    Ok(Decoded::Files(match tracee.handle(mount, &handle) {
        Lookup::Found(found) => existing(tracee, found, flags),
        _ => Vec::new(),
    }))
}

/// mknod(2): makes regular files too.
pub(super) fn node(
    tracee: &impl Tracee,
    base: Base,
    address: u64,
    mode: u32,
) -> Result<Decoded, Unreadable> {
    if !matches!(mode & libc::S_IFMT, 0 | libc::S_IFREG) {
        return Ok(none());
    }
    Ok(match look_up(tracee, (base, address), false)? {
        Some((Lookup::Missing { path, .. }, given)) if !given.ends_with(b"/") => {
            Decoded::Files(created(tracee, path))
        }
        _ => none(),
    })
}

/// A file that is made, if it may be.
fn created(tracee: &impl Tracee, path: BString) -> Vec<Access> {
    if !is_recorded(&path) || !tracee.may_change_directory_of(&path) {
        return Vec::new();
    }
    vec![Access::Write {
        path,
        before: None,
        how: How::Open,
        truncates: true,
        reads: false,
        via: None,
    }]
}

fn none() -> Decoded {
    Decoded::Files(Vec::new())
}

/// Paths that cannot lead to a recorded file, told without looking: those of `/proc` that go
/// through no link of a process's own.
fn is_kernels(path: &[u8]) -> bool {
    let is_link = |part: &[u8]| matches!(part, b"fd" | b"root" | b"cwd" | b"exe" | b"map_files");
    let has_link = || path.split(|byte| *byte == b'/').any(is_link);
    path.starts_with(b"/sys/")
        || (path.starts_with(b"/proc/") && !has_link())
        || matches!(path, b"/dev/null" | b"/dev/urandom" | b"/dev/tty")
}

fn existing(tracee: &impl Tracee, found: Found, flags: i32) -> Vec<Access> {
    let Some(version) = named(&found) else {
        return Vec::new();
    };
    let mode = flags & libc::O_ACCMODE;
    let truncates = flags & libc::O_TRUNC != 0;
    let reads = mode != libc::O_WRONLY;
    let writes = mode != libc::O_RDONLY || truncates;
    if !tracee.may(
        &found,
        Wish {
            read: reads,
            write: writes,
            execute: false,
        },
    ) {
        return Vec::new();
    }
    let Found { path, via, .. } = found;
    if !writes {
        return vec![Access::Read {
            path,
            version,
            how: How::Open,
            via,
            inferred: false,
        }];
    }
    if truncates {
        let before = Some(version);
        let how = How::Open;
        return vec![Access::Write {
            path,
            before,
            how,
            truncates,
            reads: false,
            via,
        }];
    }
    let how = if flags & libc::O_APPEND != 0 {
        How::Append
    } else {
        How::Modify
    };
    let write = |reads, path, via| Access::Write {
        path,
        before: Some(version),
        how,
        truncates: false,
        reads,
        via,
    };
    if reads {
        let read = Access::Read {
            path: path.clone(),
            version,
            how: How::Open,
            via: via.clone(),
            inferred: false,
        };
        return vec![read, write(false, path, via)];
    }
    vec![write(version.size > 0, path, via)]
}

/// truncate(2).
pub(super) fn truncate(
    tracee: &impl Tracee,
    address: u64,
    length: u64,
) -> Result<Vec<Access>, Unreadable> {
    let Some((lookup, _)) = look_up(tracee, (Base::Cwd, address), true)? else {
        return Ok(Vec::new());
    };
    let Some(found) = lookup.found() else {
        return Ok(Vec::new());
    };
    let wish = Wish {
        write: true,
        ..Wish::default()
    };
    let Some(version) = regular(&found).filter(|_| tracee.may(&found, wish)) else {
        return Ok(Vec::new());
    };
    Ok(vec![Access::Write {
        path: found.path,
        before: Some(version),
        how: How::Truncate,
        truncates: length == 0,
        reads: length > 0,
        via: found.via,
    }])
}
