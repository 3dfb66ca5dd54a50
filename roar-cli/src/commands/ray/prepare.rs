//! `roar ray prepare`: a KubeRay manifest with roar in it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::PrepareArgs;
use crate::config;
use crate::error::UserError;
use crate::manifest::{self, Options};
use crate::output;
use crate::project::Place;
use crate::tracing;

/// Does it.
pub(super) fn main(args: &PrepareArgs) -> Result<ExitCode, UserError> {
    let place = Place::find(None)?;
    let settings = config::load(place.directory.as_deref(), &place.root)?;
    let sink = config::ray(&settings, &place.root).sink;
    let sink = sink.map(|sink| sink.to_string());
    let name = args.file.display();
    let text =
        read(&args.file).map_err(|error| UserError::new(format!("cannot read {name}"), error))?;
    let options = Options {
        image: args.image.as_deref(),
        sink: sink.as_deref(),
    };
    let prepared = manifest::prepare(&text, options)
        .map_err(|why| UserError::new(format!("cannot prepare {name}"), why))?;
    for left in &prepared.left {
        tracing::warn(false, &format!("not traced: {left}"));
    }
    match &args.output {
        Some(path) => fs::write(path, &prepared.text)
            .map_err(|error| UserError::new(format!("cannot write {}", path.display()), error))?,
        None => output::write(&prepared.text)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}
