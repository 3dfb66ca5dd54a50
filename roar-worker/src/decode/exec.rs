//! execve(2), execveat(2).

use bstr::{BString, ByteSlice};
use roar_lineage::event::Access;
use roar_lineage::model::How;

use super::{Decoded, look_up, named, regular};
use crate::elf;
use crate::memory::{self, Unreadable};
use crate::tracee::{Base, Found, Lookup, Tracee, Wish};

/// Arguments kept of one command line.
const MAX_ARGUMENTS: usize = 1024;
/// Interpreters of interpreters that the kernel follows (`exec.c`, BINPRM).
const MAX_INTERPRETERS: usize = 5;

/// A program about to be executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execution {
    /// The file named, canonical.
    pub path: BString,
    /// Arguments as given.
    pub argv: Vec<BString>,
    /// The file, its interpreters and the dynamic loader, as reads.
    pub reads: Vec<Access>,
    /// Whether the file changes the credentials (set-user-id, set-group-id).
    pub changes_credentials: bool,
}

pub(super) fn execve(
    tracee: &impl Tracee,
    file: (Base, u64),
    argv: u64,
    flags: i32,
    pointer: usize,
) -> Result<Decoded, Unreadable> {
    let none = Ok(Decoded::Files(Vec::new()));
    let lookup = match file.0 {
        Base::Descriptor(fd)
            if flags & libc::AT_EMPTY_PATH != 0
                && memory::path(tracee, file.1)?.is_some_and(|path| path.is_empty()) =>
        {
            tracee.descriptor(fd)
        }
        _ => match look_up(tracee, file, flags & libc::AT_SYMLINK_NOFOLLOW == 0)? {
            Some((lookup, _)) => lookup,
            None => return none,
        },
    };
    let Lookup::Found(found) = lookup else {
        return none;
    };
    let wish = Wish {
        execute: true,
        ..Wish::default()
    };
    if regular(&found).is_none() || !tracee.may(&found, wish) {
        return none;
    }
    let argv = memory::strings(tracee, argv, pointer, MAX_ARGUMENTS)?;
    let path = found.path.clone();
    let changes_credentials = found.mode & (libc::S_ISUID | libc::S_ISGID) != 0;
    let mut reads = Vec::new();
    let mut next = Some(found);
    while let Some(found) = next.take().filter(|_| reads.len() < MAX_INTERPRETERS) {
        let Some(version) = named(&found) else {
            break;
        };
        next = interpreter(tracee, &found)
            .and_then(|interpreter| tracee.lookup(Base::Cwd, &interpreter, true).found());
        let Found { path, via, .. } = found;
        reads.push(Access::Read {
            path,
            version,
            how: How::Exec,
            via,
            inferred: false,
        });
    }
    Ok(Decoded::Exec(Box::new(Execution {
        path,
        argv,
        reads,
        changes_credentials,
    })))
}

/// What the kernel opens to run this file: the program of a `#!` line, or the dynamic
/// loader of an ELF file (its PT_INTERP segment).
fn interpreter(tracee: &impl Tracee, found: &Found) -> Option<BString> {
    let mut buffer = [0; elf::HEAD];
    let length = tracee.head(found, &mut buffer);
    let head = buffer.get(..length)?;
    match head.strip_prefix(b"#!") {
        Some(line) => {
            let line = line
                .lines()
                .next()?
                .trim_start_with(|c| c == ' ' || c == '\t');
            let name = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
            (!name.is_empty()).then(|| name.into())
        }
        None => elf::interpreter(head),
    }
}
