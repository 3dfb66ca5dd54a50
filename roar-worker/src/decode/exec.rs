//! execve(2), execveat(2).

use bstr::{BString, ByteSlice};
use roar_lineage::event::Access;
use roar_lineage::model::How;

use super::{Decoded, look_up, named, regular};
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
    let mut buffer = [0; 1024];
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
        None => elf_interpreter(head),
    }
}

/// The dynamic loader that an ELF file names, in its first bytes.
pub(crate) fn elf_interpreter(head: &[u8]) -> Option<BString> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..size)?
            .copy_from_slice(head.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let is_64 = number(4, 1)? == 2;
    // Offsets in the ELF header and in a program header (elf(5)).
    let (phoff, phentsize, phnum, p_offset, p_filesz) = if is_64 {
        (number(32, 8)?, 54, 56, 8, 32)
    } else {
        (number(28, 4)?, 42, 44, 4, 16)
    };
    let size = if is_64 { 8 } else { 4 };
    let (entry_size, count) = (number(phentsize, 2)?, number(phnum, 2)?);
    for index in 0..count.min(64) {
        let at = usize::try_from(phoff.checked_add(index.checked_mul(entry_size)?)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            let from = usize::try_from(number(at + p_offset, size)?).ok()?;
            let length = usize::try_from(number(at + p_filesz, size)?).ok()?;
            let name = head.get(from..from.checked_add(length)?)?;
            return Some(name.trim_end_with(|c| c == '\0').into());
        }
    }
    None
}
