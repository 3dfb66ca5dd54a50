//! `roar-worker`: starts a program with a supervisor beside it, and becomes it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use roar_cli::output;

const USAGE: &str = "\
usage: roar-worker [--job=ID] [--root=DIR] [--] COMMAND [ARG…]

Runs COMMAND in this very process, with a supervisor beside it that records which files
it and its children use. Ray starts its workers through it:

  ray.init(runtime_env={\"py_executable\": \"roar-worker --\"})

What was recorded lies in <session>/logs/roar for a Ray worker, else in $ROAR_FRAGMENTS,
the nearest .roar/fragments, or $TMPDIR/roar-<uid>/fragments; `roar merge DIR` takes it in.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        None => {
            output::say("roar-worker: no command was given\nhint: roar-worker python script.py");
            return ExitCode::from(2);
        }
        Some("--help" | "-h") => {
            return written(USAGE);
        }
        Some("--version" | "-V") => {
            return written(concat!("roar-worker ", env!("CARGO_PKG_VERSION")));
        }
        Some(_) => {}
    }
    let error = roar_worker::side::main(&arguments);
    let command = arguments
        .iter()
        .find(|word| !word.as_encoded_bytes().starts_with(b"--"))
        .cloned()
        .unwrap_or_default();
    output::say(format_args!(
        "roar-worker: cannot run {} ({error})",
        command.display()
    ));
    let found = error.kind() != std::io::ErrorKind::NotFound;
    ExitCode::from(if found { 126 } else { 127 })
}

fn written(text: &str) -> ExitCode {
    match output::write(&format!("{text}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
