//! What a person reads after a traced command: a few lines on stderr.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use bstr::BString;
use roar_lineage::composite;
use roar_lineage::digest::Digest;
use roar_lineage::document::joined_coverage;
use roar_lineage::fragment::Fragment;
use roar_lineage::model::{Category, FileState, FileUse, GapKind, TaskKind};

use crate::cli::TraceArgs;
use crate::listing::{self, Line};
use crate::output;

/// Files named in each list, unless more was asked for.
const NAMED: usize = 8;
/// Columns for a file's name.
const NAME_WIDTH: usize = 52;

/// The summary of one run.
pub fn of(fragments: &[Fragment], args: &TraceArgs, root: &Path, took: Duration) -> String {
    let files = |list: fn(&Fragment) -> &Vec<FileUse>| -> BTreeMap<&BString, &FileUse> {
        let all = fragments.iter().flat_map(list);
        all.filter(|file| args.all || file.category.is_shown())
            .map(|f| (&f.path, f))
            .collect()
    };
    let inputs = files(|fragment| &fragment.reads);
    let outputs = files(|fragment| &fragment.writes);
    let deleted = files(|fragment| &fragment.deletes);
    let tasks = fragments
        .iter()
        .filter(|f| f.task.kind != TaskKind::Worker)
        .count();
    let mut text = String::from("roar: ");
    if inputs.is_empty() && outputs.is_empty() && deleted.is_empty() {
        let _ = write!(
            text,
            "no input or output seen: {}",
            why_nothing(fragments, root)
        );
    } else {
        let _ = write!(
            text,
            "{}, {}",
            count(inputs.len(), "input"),
            count(outputs.len(), "output")
        );
        if !deleted.is_empty() {
            let _ = write!(text, ", {} deleted", deleted.len());
        }
    }
    if tasks > 1 {
        let _ = write!(text, ", {tasks} tasks");
    }
    let _ = writeln!(text, " · {}", time(fragments, took));
    let is_expanded = args.all || args.verbose > 0;
    let limit = if args.verbose > 0 { usize::MAX } else { NAMED };
    let code: BTreeSet<&[u8]> = fragments
        .iter()
        .flat_map(|fragment| fragment.reads.iter().chain(&fragment.writes))
        .filter(|file| file.category == Category::Code)
        .map(|file| file.path.as_slice())
        .collect();
    for (label, list) in [("in", inputs), ("out", outputs), ("del", deleted)] {
        let data = list
            .values()
            .filter(|file| file.category == Category::Data && !is_expanded && label != "del");
        let data: BTreeSet<&[u8]> = data.map(|file| file.path.as_slice()).collect();
        let around = composite::directories(&data, &code, root.as_os_str().as_bytes());
        let files = list.values().map(|file| (file.path.as_slice(), *file));
        let lines = listing::lines(files, |path| around.get(path).copied());
        for line in lines.iter().take(limit) {
            let name = line.name(root, NAME_WIDTH);
            let _ = writeln!(text, "  {label:<4} {name:<NAME_WIDTH$} {}", contents(line));
        }
        let more: usize = lines.iter().skip(limit).map(|line| line.files.len()).sum();
        if more > 0 {
            let _ = writeln!(text, "  {label:<4} … and {more} more (-v names all)");
        }
    }
    for gap in joined_coverage(fragments.iter().map(|fragment| &fragment.coverage)).gaps {
        let _ = match gap.kind {
            GapKind::Privilege => writeln!(text, "roar: {}", gap.detail),
            _ => writeln!(text, "  gap  {} ({})", gap.detail, gap.count),
        };
    }
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn contents(line: &Line<'_, &FileUse>) -> String {
    let Some(directory) = line.directory() else {
        return line
            .files
            .first()
            .map_or_else(String::new, |(_, file)| content(file));
    };
    let part = |&(path, file): &(&[u8], &FileUse)| {
        let inner = path.strip_prefix(directory)?.to_vec();
        Some((inner, file.digest?))
    };
    let parts: Option<Vec<(Vec<u8>, Digest)>> = line.files.iter().map(part).collect();
    let Some(parts) = parts else {
        return "not all hashed".to_owned();
    };
    let parts = parts
        .iter()
        .map(|(path, digest)| (path.as_slice(), *digest));
    hashed(composite::digest(parts))
}

fn hashed(digest: Digest) -> String {
    format!("blake3:{}", digest.hex().get(..12).unwrap_or_default())
}

fn content(file: &FileUse) -> String {
    let etag = file.object.as_ref().and_then(|object| object.etag.as_ref());
    match (file.digest, file.state, etag) {
        (Some(digest), ..) => hashed(digest),
        (None, FileState::Skipped, Some(etag)) => {
            format!(
                "etag {}",
                output::cut(&output::one_line(etag.as_bytes()), 14)
            )
        }
        (None, FileState::Skipped, None) => "not hashed".to_owned(),
        (None, state, _) => format!("{state:?}").to_lowercase(),
    }
}

/// How long the command took, and how much longer roar did.
fn time(fragments: &[Fragment], took: Duration) -> String {
    let run = fragments.iter().find_map(|fragment| {
        let nanoseconds = fragment
            .job
            .ended_at?
            .checked_sub(fragment.job.started_at)?;
        Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
    });
    let run = run.unwrap_or(took);
    format!(
        "{:.2} s (+{:.2} s)",
        run.as_secs_f64(),
        took.saturating_sub(run).as_secs_f64()
    )
}

/// Why nothing is shown: what was seen instead.
fn why_nothing(fragments: &[Fragment], root: &Path) -> String {
    let all = || {
        fragments
            .iter()
            .flat_map(|f| f.reads.iter().chain(&f.writes))
    };
    let other = |category| all().filter(|file| file.category == category).count();
    let kinds = [
        (Category::System, "system"),
        (Category::Package, "package"),
        (Category::Runtime, "runtime"),
        (Category::Temp, "temporary"),
    ];
    let seen: Vec<String> = kinds
        .into_iter()
        .map(|(category, name)| (other(category), name))
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    let events: u64 = fragments
        .iter()
        .map(|fragment| fragment.coverage.notified)
        .sum();
    if seen.is_empty() && events == 0 {
        return "no system call of the command could be seen".to_owned();
    }
    if seen.is_empty() {
        return format!("it opened no file ({events} calls seen)");
    }
    format!(
        "only {} files, none below {} (--all shows them)",
        seen.join(", "),
        root.display()
    )
}
