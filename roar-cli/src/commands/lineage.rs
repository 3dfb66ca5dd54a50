//! `roar lineage`: what a file was made from, or what was made from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::query::{Artifact, Direction, Lineage, NotFound, lineage};

use super::show::{commit_of, short};
use crate::cli::LineageArgs;
use crate::error::UserError;
use crate::{output, project};

/// Does it.
pub fn main(args: &LineageArgs) -> Result<ExitCode, UserError> {
    let cwd = project::working_directory()?;
    let (store, root) = project::open_store()?;
    let reference = args.reference.as_bytes();
    let cwd = cwd.as_os_str().as_bytes();
    let mut found = Artifact::find(&store, reference, cwd)?;
    if let (Err(_), Some(target)) = (&found, project::target(&args.reference)) {
        found = Artifact::find(&store, target.as_os_str().as_bytes(), cwd)?;
    }
    let artifact = found.map_err(|error| {
        let what = format!("no lineage of {}", output::one_line(reference));
        let why = match error {
            NotFound::Nothing => "no file, directory or digest of this session".to_owned(),
            other => other.to_string(),
        };
        UserError::new(what, why).hint("`roar dag` lists files, `roar show` knows steps and tasks")
    })?;
    let direction = match args.down {
        true => Direction::Down,
        false => Direction::Up,
    };
    let lineage = lineage(&store, &artifact, direction, args.all)?;
    match args.json {
        true => output::json(&lineage)?,
        false => output::write(&text(&lineage, &root))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(lineage: &Lineage, root: &Path) -> String {
    let (nothing, word) = match lineage.direction {
        Direction::Up => ("no recorded task made it\n", "from"),
        Direction::Down => ("no recorded task used it\n", "made"),
    };
    if lineage.tasks.is_empty() {
        return nothing.to_owned();
    }
    let mut text = String::new();
    for task in &lineage.tasks {
        let words = task.given.as_ref().map(|given| given.command.items());
        let name = match words {
            Some(words) => output::command(words),
            None => output::one_line(task.name.bytes()),
        };
        let name = output::cut(&name, 34);
        let when = task.started_at.get(..19).unwrap_or(&task.started_at);
        let _ = write!(
            text,
            "{}  {}  {}",
            name.bold(),
            short_id(&task.id),
            when.dimmed()
        );
        if let Some((_, commit)) = commit_of(task.given.as_ref()) {
            let _ = write!(text, "  {commit}");
        }
        text.push('\n');
    }
    let mut makers: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for edge in &lineage.edges {
        let made = (edge.path.bytes(), edge.digest.as_deref());
        makers.entry(made).or_default().push(short_id(&edge.from));
    }
    for file in &lineage.files {
        let path = output::shown_path(file.path.bytes(), Some(root));
        let content = short(file.digest.as_deref(), file.etag.as_deref());
        let _ = write!(text, "   {word} {path}  {}", content.cyan());
        let made = (file.path.bytes(), file.digest.as_deref());
        if let (Direction::Up, Some(ids)) = (lineage.direction, makers.get_mut(&made)) {
            ids.sort_unstable();
            ids.dedup();
            let _ = write!(text, "  by {}", ids.join(", "));
        }
        text.push('\n');
    }
    text
}

fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
