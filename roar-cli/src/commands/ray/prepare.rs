//! `roar ray prepare`: a KubeRay manifest with roar in it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use roar_lineage::document::Text;
use serde::Serialize;

use crate::cli::PrepareArgs;
use crate::config;
use crate::error::UserError;
use crate::manifest::{self, Options};
use crate::output;
use crate::project::Place;
use crate::tracing;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    input: Text,
    #[serde(flatten)]
    output: Text,
    /// The manifest, where it is not in a file.
    manifest: Option<&'a str>,
    untraced: &'a [String],
}

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
    let output = args.output.as_ref().filter(|path| !is_standard(path));
    match output {
        Some(path) => fs::write(path, &prepared.text)
            .map_err(|error| UserError::new(format!("cannot write {}", path.display()), error))?,
        None if args.json => {}
        None => output::write(&prepared.text)?,
    }
    if args.json {
        let path = output.map(|path| path.as_os_str().as_bytes().into());
        output::json(&Document {
            schema: "roar.ray.prepare/1",
            input: Text::new("input", args.file.as_os_str().as_bytes()),
            output: Text::or_null("output", path.as_ref()),
            manifest: output.is_none().then_some(&prepared.text),
            untraced: &prepared.left,
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a name means standard input or output.
fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn read(path: &Path) -> io::Result<String> {
    if is_standard(path) {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}
