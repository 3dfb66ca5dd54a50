//! `roar show`: what is known of a step, a task, a path or a digest.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use roar_lineage::document::{Git, Given};
use roar_lineage::query::{Contents, Found, Sighting};
use roar_lineage::store::Role;

use super::dag::{Directories, step_text};
use crate::cli::ShowArgs;
use crate::error::UserError;
use crate::{output, project};

/// Does it.
pub fn main(args: &ShowArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let find = |reference: &[u8], cwd: &[u8]| opened.graph.show(reference, cwd);
    let show = opened.find(&args.reference, find).map_err(|error| {
        let reference = output::one_line(args.reference.as_bytes());
        UserError::new(format!("cannot show {reference}"), error)
            .hint("`roar dag` lists the steps and their files; --all knows system files too")
    })?;
    if args.json {
        output::json(&show)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match &show.found {
        Found::Task { task, inputs, .. } => {
            let steps = opened.steps();
            let composites = match args.all {
                true => Vec::new(),
                false => opened.graph.composites(),
            };
            let directories = Directories::new(&composites);
            let mut text = step_text(task, &opened.root, &directories, |file| {
                let edge = inputs.iter().find(|edge| edge.leads_to(file))?;
                steps.get(edge.from.as_str()).copied()
            });
            let _ = writeln!(text, "   task {}  job {}", task.id, task.job);
            let _ = writeln!(text, "   started {} on {}", task.started_at, task.host);
            if let Some((git, commit)) = commit_of(task.given.as_ref()) {
                let branch = git.branch.as_deref().unwrap_or("no branch");
                let _ = writeln!(
                    text,
                    "   commit {commit} on {}",
                    output::one_line(branch.as_bytes())
                );
            }
            text
        }
        Found::File { uses } => uses.iter().map(|seen| line(seen, &opened.root)).collect(),
        Found::Composite { composites } => {
            let steps = opened.steps();
            let texts = composites
                .iter()
                .map(|contents| composite(contents, &steps, &opened.root));
            texts.collect()
        }
    };
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn composite(contents: &Contents, steps: &HashMap<&str, usize>, root: &std::path::Path) -> String {
    let composite = &contents.composite;
    let mut text = format!(
        "{}  {} files  {}\n",
        output::shown_path(composite.path.bytes(), Some(root)),
        composite.components,
        short(composite.digest.as_deref(), None),
    );
    for (word, tasks) in [
        ("written by", &composite.producers),
        ("read by", &composite.consumers),
    ] {
        if !tasks.is_empty() {
            let _ = writeln!(text, "   {word} {}", list_of_steps(tasks, steps, 60));
        }
    }
    for file in &contents.files {
        let path = output::shown_path(file.path.bytes(), Some(root));
        let content = short(file.digest.as_deref(), file.etag.as_deref());
        let _ = writeln!(text, "   {path}  {content}");
    }
    text
}

/// `@1, @3` in at most `width` characters.
pub(super) fn list_of_steps<'a>(
    tasks: impl IntoIterator<Item = &'a String>,
    steps: &HashMap<&str, usize>,
    width: usize,
) -> String {
    let tasks = tasks.into_iter();
    let numbers: BTreeSet<usize> = tasks
        .filter_map(|task| steps.get(task.as_str()).copied())
        .collect();
    let numbers: Vec<String> = numbers.iter().map(|step| format!("@{step}")).collect();
    output::cut(&numbers.join(", "), width)
}

/// The content in a few characters.
pub(super) fn short(digest: Option<&str>, etag: Option<&str>) -> String {
    match (digest, etag) {
        (Some(digest), _) => digest.get(..19).unwrap_or(digest).to_owned(),
        (None, Some(etag)) => format!(
            "etag {}",
            output::cut(&output::one_line(etag.as_bytes()), 34)
        ),
        (None, None) => "no digest".to_owned(),
    }
}

/// The project's version control as a command found it, and its commit in a few characters, `+`
/// behind them where files were changed.
pub(super) fn commit_of(given: Option<&Given>) -> Option<(&Git, String)> {
    let git = given?.git.as_ref()?;
    let commit = git.commit.as_ref()?.get(..10)?;
    let changed = if git.diff.is_some() { "+" } else { "" };
    Some((git, format!("{commit}{changed}")))
}

fn line(seen: &Sighting, root: &std::path::Path) -> String {
    let word = match seen.role {
        Role::Read => "read",
        Role::Write => "written",
        Role::Delete => "deleted",
        Role::Ephemeral => "made and deleted",
    };
    let path = output::shown_path(seen.file.path.bytes(), Some(root));
    let content = short(seen.file.digest.as_deref(), seen.file.etag.as_deref());
    let name = output::one_line(seen.by.name.bytes());
    format!(
        "{path}  {word} by @{} {}  {content}\n",
        seen.by.step,
        output::cut(&name, 30)
    )
}
