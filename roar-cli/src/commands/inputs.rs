//! `roar inputs`: the sources, which no recorded task made.

use std::collections::HashSet;
use std::fmt::Write;
use std::process::ExitCode;

use owo_colors::OwoColorize;
use roar_lineage::query::Inputs;

use super::show::{list_of_steps, short};
use crate::cli::InputsArgs;
use crate::error::UserError;
use crate::project::Opened;
use crate::{listing, output, project};

/// Does it.
pub fn main(args: &InputsArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let inputs = opened.graph.inputs();
    match args.json {
        true => output::json(&inputs)?,
        false => output::write(&text(&inputs, &opened, args.all))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(inputs: &Inputs, opened: &Opened, all: bool) -> String {
    if inputs.files.is_empty() {
        return "no recorded task read what none made\n".to_owned();
    }
    let steps = opened.steps();
    let composites = match all {
        true => Vec::new(),
        false => opened.graph.composites(),
    };
    let files = inputs.files.iter();
    let files = files.map(|source| (source.file.path.bytes().as_ref(), source));
    let paths = composites.iter().map(|one| one.path.bytes().as_ref());
    let directories: HashSet<&[u8]> = paths.collect();
    let lines = listing::lines(files, |path: &[u8]| {
        let ends = (1..path.len()).filter(|&at| path[at - 1] == b'/');
        let mut around = ends.map(|at| &path[..at]);
        around.find(|around| directories.contains(around))
    });
    let mut text = String::new();
    for line in &lines {
        let content = match (line.directory(), &line.files[..]) {
            (None, [(_, source)]) => {
                let file = &source.file;
                short(file.digest.as_deref(), file.etag.as_deref())
            }
            _ => String::new(),
        };
        let readers = line.files.iter().flat_map(|(_, source)| &source.consumers);
        let by = list_of_steps(readers, &steps, 16);
        let _ = writeln!(
            text,
            "{:<40}  {:<19}  {}",
            line.name(&opened.root, 40),
            content.cyan(),
            by.dimmed()
        );
    }
    text
}
