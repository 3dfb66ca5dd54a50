//! `roar diff`: what differs between two tasks, or between those that made two files.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::document::File;
use roar_lineage::query::{Change, Diff, Side, Verdict};
use roar_lineage::store::Role;

use super::show::short;
use crate::cli::DiffArgs;
use crate::error::UserError;
use crate::project::Opened;
use crate::{output, project};

/// Does it.
pub fn main(args: &DiffArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let (a, id_of_a) = task_of(&opened, &args.a)?;
    let (b, id_of_b) = task_of(&opened, &args.b)?;
    let store = &opened.store;
    let packages = [store.packages(id_of_a)?, store.packages(id_of_b)?];
    let diff = opened.graph.diff([a, b], packages);
    match args.json {
        true => output::json(&diff)?,
        false => output::write(&text(&diff, &opened.root))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn task_of<'a>(opened: &'a Opened, reference: &OsStr) -> Result<(usize, &'a str), UserError> {
    let find = |reference: &[u8], cwd: &[u8]| opened.graph.task_of(reference, cwd);
    opened.find(reference, find).map_err(|error| {
        let reference = output::one_line(reference.as_bytes());
        UserError::new(format!("cannot compare {reference}"), error)
            .hint("`roar dag` lists the steps and what they wrote")
    })
}

fn text(diff: &Diff, root: &Path) -> String {
    let mut text = String::new();
    let name = |side: &Side| {
        let name = output::cut(&output::one_line(side.name.bytes()), 28);
        format!("@{} {name}", side.step)
    };
    let _ = writeln!(
        text,
        "{}  →  {}",
        name(&diff.a).bold(),
        name(&diff.b).bold()
    );
    if diff.same {
        text.push_str("no difference\n");
    }
    let value = |value: &Option<String>| match value {
        Some(value) => output::cut(&output::one_line(value.as_bytes()), 66),
        None => "none".to_owned(),
    };
    for setting in &diff.settings {
        let key = setting.key.replace('_', " ");
        let _ = writeln!(text, "{key:<10} {} {}", "a".red(), value(&setting.a));
        let _ = writeln!(text, "{:<10} {} {}", "", "b".green(), value(&setting.b));
    }
    for package in &diff.packages {
        let name = output::cut(&output::one_line(package.name.as_bytes()), 30);
        let [a, b] = [&package.a, &package.b].map(|it| output::cut(&value(it), 16));
        let _ = writeln!(text, "{:<10} {name} {} → {}", "package", a.red(), b.green());
    }
    for change in &diff.files {
        let _ = writeln!(text, "{}", file(change, diff, root));
    }
    text
}

fn file(change: &Change, diff: &Diff, root: &Path) -> String {
    let role = match change.role {
        Role::Read => "read",
        Role::Write => "wrote",
        Role::Delete => "deleted",
        Role::Ephemeral => "made and deleted",
    };
    let path = output::shown_path(change.path.bytes(), Some(root));
    let path = output::cut(&path, 55);
    let content = |file: &Option<File>| {
        let file = file.as_ref();
        let etag = file.and_then(|file| file.etag.as_deref());
        short(file.and_then(|file| file.digest.as_deref()), etag)
    };
    let [a, b] = [content(&change.a), content(&change.b)];
    let how = match change.verdict {
        Verdict::OnlyA => format!("  only @{}", diff.a.step).red().to_string(),
        Verdict::OnlyB => format!("  only @{}", diff.b.step).green().to_string(),
        Verdict::Changed => format!("\n{:<10} {} → {}", "", a.red(), b.green()),
        Verdict::Unknown => format!("\n{:<10} may differ: {a} → {b}", ""),
    };
    format!("{role:<10} {path}{how}")
}
