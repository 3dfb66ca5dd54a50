//! What strace wrote (`-ff -y`), taken naively.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

/// strace with the options that this reads, and the calls that it follows; what it
/// writes goes into a directory, a file for each thread, so that no line is cut by
/// another thread's.
pub fn command(calls: &str, directory: &Path) -> Command {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir(directory).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-y", "-qq", "-s", "10000", "-e", calls, "-o"]);
    strace.arg(directory.join("log")).arg("--");
    strace
}

/// The paths read, written and deleted: those of successful opens, by their flags, and
/// those that other calls name. Relative ones start at `cwd`.
pub fn files(directory: &Path, cwd: &Path) -> [BTreeSet<Vec<u8>>; 3] {
    let mut seen: [BTreeSet<Vec<u8>>; 3] = Default::default();
    let cwd = cwd.canonicalize().unwrap();
    for log in fs::read_dir(directory).unwrap() {
        let log = fs::read(log.unwrap().path()).unwrap();
        for line in log.split(|byte| *byte == b'\n') {
            // One byte is one character in what strace writes.
            let line: String = line.iter().map(|byte| char::from(*byte)).collect();
            read_line(&line, cwd.as_os_str().as_bytes(), &mut seen);
        }
    }
    seen
}

fn read_line(line: &str, cwd: &[u8], seen: &mut [BTreeSet<Vec<u8>>; 3]) -> Option<()> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let [reads, writes, deletes] = seen;
    if name.starts_with("open") || name == "creat" {
        let path = unescaped(result.split_once('<')?.1.strip_suffix('>')?);
        let path = match path.strip_suffix(b"(deleted)") {
            Some(_) => return None,
            None => path,
        };
        let has = |flag: &str| arguments.contains(flag);
        if !path.starts_with(b"/") || has("O_DIRECTORY") || has("O_PATH") {
            return None;
        }
        if has("O_WRONLY") || has("O_RDWR") || has("O_TRUNC") || name == "creat" {
            writes.insert(path.clone());
        }
        if has("O_RDONLY") || has("O_RDWR") {
            reads.insert(path);
        }
        return None;
    }
    let mut paths = quoted(arguments).into_iter().map(|(base, path)| {
        let base = base.map_or(cwd, str::as_bytes);
        let path = match path.first() {
            Some(b'/') => path,
            _ => [base, b"/", &path].concat(),
        };
        let mut parts = path.split(|byte| *byte == b'/').collect::<Vec<_>>();
        parts.retain(|part| *part != b".");
        parts.join(&b'/')
    });
    match name {
        "execve" | "execveat" => {
            reads.insert(paths.next()?);
        }
        "unlink" | "unlinkat" if !arguments.contains("AT_REMOVEDIR") => {
            deletes.insert(paths.next()?);
        }
        "truncate" => {
            writes.insert(paths.next()?);
        }
        "rename" | "renameat" | "renameat2" => {
            deletes.insert(paths.next()?);
            writes.insert(paths.next()?);
        }
        "link" | "linkat" => {
            writes.insert(paths.nth(1)?);
        }
        _ => {}
    }
    None
}

/// The strings in quotes, each with the directory that its descriptor before it is.
fn quoted(text: &str) -> Vec<(Option<&str>, Vec<u8>)> {
    let mut strings = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        let base = before.strip_suffix(">, ").and_then(|b| b.rsplit_once('<'));
        let mut end = 0;
        let bytes = after.as_bytes();
        while end < bytes.len() && bytes[end] != b'"' {
            end += 1 + usize::from(bytes[end] == b'\\');
        }
        let path = unescaped(&after[..end.min(after.len())]);
        strings.push((base.map(|(_, base)| base), path));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    strings
}

/// Bytes from strace's escapes: octal numbers, and letters as in C.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars().map(|c| c as u8).peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let mut number = 0u32;
        let mut digits = 0;
        while let Some(digit @ b'0'..=b'7') = rest.peek().copied().filter(|_| digits < 3) {
            number = number * 8 + u32::from(digit - b'0');
            digits += 1;
            rest.next();
        }
        if digits > 0 {
            bytes.push(number as u8);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(other) => other,
            None => b'\\',
        });
    }
    bytes
}
