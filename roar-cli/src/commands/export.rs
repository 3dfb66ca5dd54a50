//! `roar export`: the session in another format.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use roar_lineage::export::{self, Exported};
use roar_worker::host;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{ExportArgs, Format};
use crate::error::UserError;
use crate::{output, project, tracing};

/// The document.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    session: String,
    format: String,
    document: Value,
}

/// Does it.
pub fn main(args: &ExportArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let dag = opened.graph.dag();
    let exported = Exported {
        graph: &opened.graph,
        dag: &dag,
        flow: dag.flow(),
        work: opened.graph.work(),
        root: opened.root.as_os_str().as_bytes(),
        host: &host::name(),
    };
    let (format, document) = match args.format {
        Format::Openlineage => ("openlineage", export::openlineage(&exported)),
        Format::Prov => ("prov", export::prov(&exported)),
        Format::RoCrate => ("ro-crate", export::ro_crate(&exported)),
        Format::InToto => ("in-toto", export::in_toto(&exported)),
        Format::Otlp => ("otlp", export::otlp(&exported)),
        Format::Dvc => {
            let (document, left_out) = export::dvc(&exported);
            if left_out > 0 {
                let words = match left_out {
                    1 => "has no stage (DVC could not run it)",
                    _ => "have no stage (DVC could not run them)",
                };
                let commands = output::count(left_out, "command");
                tracing::warn(false, &format!("{commands} {words}"));
            }
            ("dvc", document)
        }
    };
    match args.json {
        true => output::json(&Document {
            schema: "roar.export/1",
            session: dag.session.clone(),
            format: format.to_owned(),
            document,
        })?,
        false if args.format == Format::Dvc => output::write(&yaml(&document))?,
        false => output::json(&document)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// As YAML, whose quoted strings may be written as JSON's (YAML 1.2, section 1.3).
fn yaml(document: &Value) -> String {
    let mut text = String::new();
    block(&mut text, document, 0);
    text.trim_start_matches('\n').to_owned() + "\n"
}

fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let _ = write!(text, "\n{indent}{}:", plain_key(key));
                block(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(text, "\n{indent}- {item}");
            }
        }
        plain => {
            let _ = write!(text, " {plain}");
        }
    }
}

/// A key, in quotes where it is no name.
fn plain_key(key: &str) -> String {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    match key.starts_with(|letter: char| letter.is_ascii_alphabetic()) && key.chars().all(is_letter)
    {
        true => key.to_owned(),
        false => Value::from(key).to_string(),
    }
}
