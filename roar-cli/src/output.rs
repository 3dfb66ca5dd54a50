//! Writing to stdout and stderr. A reader that went away (`roar dag | head`) is no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anstream::{AutoStream, ColorChoice};
use bstr::{BString, ByteSlice};
use roar_lineage::document::command_line;
use serde::Serialize;

use crate::error::UserError;

/// Writes `text`, without its colours when stdout is no terminal or `NO_COLOR` is set.
pub fn write(text: &str) -> Result<(), UserError> {
    let out = io::stdout().lock();
    let choice = match out.is_terminal() {
        true => AutoStream::choice(&out),
        false => ColorChoice::Never,
    };
    finish(AutoStream::new(out, choice).write_all(text.as_bytes()))
}

/// Writes one JSON document.
pub fn json<T: Serialize>(document: &T) -> Result<(), UserError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from);
    finish(
        written
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush()),
    )
}

/// Writes a file that the user has named, or stdout for `-`.
pub fn file(path: &Path, content: &[u8]) -> Result<(), UserError> {
    if path == Path::new("-") {
        return finish(io::stdout().lock().write_all(content));
    }
    let cannot = |error| UserError::new(format!("cannot write {}", path.display()), error);
    std::fs::write(path, content).map_err(cannot)
}

/// Writes a line to stderr. Where that cannot be there is nobody to tell.
pub fn say(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn finish(written: io::Result<()>) -> Result<(), UserError> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(UserError::new("cannot write to stdout", error))
        }
        _ => Ok(()),
    }
}

/// A path for people: relative to `root` when beneath it, without control characters.
pub fn shown_path(path: &[u8], root: Option<&Path>) -> String {
    let beneath = root.and_then(|root| {
        let rest = path.strip_prefix(root.as_os_str().as_bytes())?;
        rest.strip_prefix(b"/")
    });
    one_line(beneath.unwrap_or(path))
}

/// A URL without credentials.
pub fn masked(url: &str) -> String {
    let masked = roar_lineage::mask::arguments(&[url]);
    masked
        .first()
        .map(|url| url.to_string())
        .unwrap_or_default()
}

/// Bytes as text of one line, without control characters, those of direction among them
/// (Unicode's Bidi_Control).
pub fn one_line(bytes: &[u8]) -> String {
    let printable = |letter: char| match letter {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    bytes.to_str_lossy().chars().map(printable).collect()
}

/// A command as a shell reads it, without control characters.
pub fn command(words: &[BString]) -> String {
    one_line(command_line(words).as_bytes())
}

/// `1 file`, `2 files`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `text` in at most `width` characters.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}
