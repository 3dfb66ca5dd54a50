//! What is looked up in programs and libraries: elf(5), the parts that the kernel and the
//! dynamic loader read.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bstr::{BString, ByteSlice};

/// Bytes of a file's beginning in which its headers are.
pub(crate) const HEAD: usize = 1024;
/// Most program headers that are looked at.
const MAX_HEADERS: u64 = 64;
/// Most of a dynamic section, and of its strings (bytes).
const MAX_DYNAMIC: u64 = 64 << 10;
const MAX_STRINGS: u64 = 16 << 20;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

/// A program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

/// A little-endian number in a file's bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let mut number = [0; 8];
    number
        .get_mut(..size)?
        .copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    Some(u64::from_le_bytes(number))
}

/// Whether a file's beginning is that of an ELF file of 64 bits.
fn is_64_bit(head: &[u8]) -> bool {
    head.get(4) == Some(&2)
}

/// The program headers that are whole within a file's beginning.
fn segments(head: &[u8]) -> Option<Vec<Segment>> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    // Offsets in the ELF header and in a program header, and the size of an address.
    let (phoff, phentsize, phnum) = if is_64_bit(head) {
        (number(head, 32, 8)?, 54, 56)
    } else {
        (number(head, 28, 4)?, 42, 44)
    };
    let (offset, address, size, word) = if is_64_bit(head) {
        (8, 16, 32, 8)
    } else {
        (4, 8, 16, 4)
    };
    let (entry, count) = (number(head, phentsize, 2)?, number(head, phnum, 2)?);
    let segment = |index: u64| {
        let at = usize::try_from(phoff.checked_add(index.checked_mul(entry)?)?).ok()?;
        let field = |after: usize| number(head, at.checked_add(after)?, word);
        Some(Segment {
            kind: number(head, at, 4)?,
            offset: field(offset)?,
            address: field(address)?,
            size: field(size)?,
        })
    };
    Some((0..count.min(MAX_HEADERS)).map_while(segment).collect())
}

/// The dynamic loader that a file names, by its beginning.
pub(crate) fn interpreter(head: &[u8]) -> Option<BString> {
    let segments = segments(head)?;
    let named = segments.iter().find(|segment| segment.kind == PT_INTERP)?;
    let from = usize::try_from(named.offset).ok()?;
    let to = from.checked_add(usize::try_from(named.size).ok()?)?;
    Some(head.get(from..to)?.trim_end_with(|c| c == '\0').into())
}

/// The strings of a file's dynamic section: names of the symbols and versions that it defines
/// or needs. Of files of 64 bits; empty where there is no such section.
pub(crate) fn dynamic_strings(file: &File, head: &[u8]) -> Option<Vec<u8>> {
    let segments = segments(head).filter(|_| is_64_bit(head))?;
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Some(Vec::new());
    };
    let entries = part(file, dynamic.offset, dynamic.size.min(MAX_DYNAMIC))?;
    let value = |tag: u64| {
        let mut entries = entries.chunks_exact(16);
        let entry = entries.find(|entry| number(entry, 0, 8) == Some(tag))?;
        number(entry, 8, 8)
    };
    let (address, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
    let loaded = segments.iter().find(|segment| {
        let within = address.checked_sub(segment.address);
        segment.kind == PT_LOAD && within.is_some_and(|within| within < segment.size)
    })?;
    let offset = loaded.offset.checked_add(address - loaded.address)?;
    part(
        file,
        offset,
        Some(size).filter(|size| *size <= MAX_STRINGS)?,
    )
}

fn part(file: &File, offset: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (File, Vec<u8>) {
        let file = File::open("/proc/self/exe").unwrap();
        let head = part(&file, 0, HEAD as u64).unwrap();
        (file, head)
    }

    #[test]
    fn a_program_names_its_loader_and_what_it_needs() {
        let (file, head) = own();
        let loader = interpreter(&head).unwrap();
        assert!(loader.contains_str("/ld-linux"), "{loader}");
        let strings = dynamic_strings(&file, &head).unwrap();
        assert!(strings.contains_str(b"\0libc.so.6\0"));
        assert!(!strings.contains_str(b"no_such_symbol"));
    }

    #[test]
    fn a_loader_tells_of_its_versions() {
        let (_, head) = own();
        let loader = interpreter(&head).unwrap();
        let file = File::open(loader.to_str().unwrap()).unwrap();
        let head = part(&file, 0, HEAD as u64).unwrap();
        assert_eq!(interpreter(&head), None);
        let strings = dynamic_strings(&file, &head).unwrap();
        assert!(
            strings.contains_str(b"\0GLIBC_2.2.5\0") || strings.contains_str(b"\0GLIBC_2.17\0")
        );
    }

    #[test]
    fn what_is_cut_or_wrong_is_nothing() {
        let (file, head) = own();
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
        for length in 0..head.len() {
            let _ = interpreter(head.get(..length).unwrap());
        }
        for at in 0..head.len() {
            let mut wrong = head.clone();
            wrong[at] ^= 0xff;
            let _ = (interpreter(&wrong), dynamic_strings(&file, &wrong));
        }
    }
}
