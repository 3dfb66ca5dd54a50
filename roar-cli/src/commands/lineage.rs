//! `roar lineage`: what a file was made from, or what was made from it.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::query::{Artifact, Direction, Lineage, NotFound, lineage};

use super::show::short;
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
        let name = output::cut(&output::one_line(task.name.bytes()), 40);
        let id = task.id.get(..12).unwrap_or(&task.id);
        let when = task.started_at.get(..19).unwrap_or(&task.started_at);
        let _ = writeln!(text, "{}  {id}  {}", name.bold(), when.dimmed());
    }
    for file in &lineage.files {
        let path = output::shown_path(file.path.bytes(), Some(root));
        let content = short(file.digest.as_deref(), file.etag.as_deref());
        let _ = writeln!(text, "   {word} {path}  {}", content.cyan());
    }
    text
}
