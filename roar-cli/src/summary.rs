//! What a person reads after a traced command: a few lines on stderr.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use bstr::BString;
use roar_lineage::document::joined_coverage;
use roar_lineage::fragment::Fragment;
use roar_lineage::model::{Category, FileState, FileUse, GapKind, TaskKind};

use crate::cli::TraceArgs;
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
    let limit = if args.verbose > 0 { usize::MAX } else { NAMED };
    for (label, list) in [("in", inputs), ("out", outputs), ("del", deleted)] {
        for file in list.values().take(limit) {
            let name = output::cut(&output::shown_path(&file.path, Some(root)), NAME_WIDTH);
            let _ = writeln!(text, "  {label:<4} {name:<NAME_WIDTH$} {}", content(file));
        }
        if list.len() > limit {
            let _ = writeln!(
                text,
                "  {label:<4} … and {} more (-v names all)",
                list.len() - limit
            );
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

fn content(file: &FileUse) -> String {
    let etag = file.object.as_ref().and_then(|object| object.etag.as_ref());
    match (file.digest, file.state, etag) {
        (Some(digest), ..) => format!("blake3:{}", digest.hex().get(..12).unwrap_or_default()),
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
