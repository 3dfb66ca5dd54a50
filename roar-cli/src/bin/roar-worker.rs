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
        Some("--help" | "-h") => {
            return written(USAGE);
        }
        Some("--version" | "-V") => {
            return written(concat!("roar-worker ", env!("CARGO_PKG_VERSION")));
        }
        _ => {}
    }
    let is_own = |word: &&OsString| {
        let word = word.as_encoded_bytes();
        word.starts_with(b"--job=") || word.starts_with(b"--root=")
    };
    let mut rest = arguments.iter().skip_while(is_own);
    let command = match rest.next() {
        Some(word) if word == "--" => rest.next(),
        Some(word) if word.as_encoded_bytes().starts_with(b"-") => {
            output::say(format_args!(
                "roar-worker: unknown option {}\nhint: `--` before a command that begins with a dash",
                word.display()
            ));
            return ExitCode::from(2);
        }
        other => other,
    };
    let Some(command) = command else {
        output::say("roar-worker: no command was given\nhint: roar-worker python script.py");
        return ExitCode::from(2);
    };
    let error = roar_worker::side::main(&arguments);
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
