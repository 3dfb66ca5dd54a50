//! What a user reads when something cannot be done: one line that says what and why,
//! and a hint when there is something to do.

use std::io::{self, Write};
use std::process::ExitCode;

use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ErrorKind};
use roar_lineage::store::StoreError;

use crate::cli::Command;

/// An error for people.
#[derive(Clone, Debug)]
pub struct UserError {
    /// What could not be done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit status.
    pub code: u8,
}

impl UserError {
    /// An error with exit status 1.
    pub fn new(what: impl Into<String>, why: impl ToString) -> Self {
        let (what, why) = (what.into(), why.to_string());
        Self {
            what,
            why,
            hint: None,
            code: 1,
        }
    }

    /// The same, for what went wrong before a traced command could start: exit status 125.
    pub fn before_the_start(self) -> Self {
        Self { code: 125, ..self }
    }

    /// With something to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it to stderr; the exit status.
    pub fn report(&self) -> ExitCode {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut text = format!("roar: {} ({})\n", line(&self.what), line(&self.why));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", line(hint)));
        }
        // With stderr gone there is nobody to tell.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

impl From<StoreError> for UserError {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Missing(_) => "`roar run CMD…` records the first job",
            StoreError::Older { .. } => "a roar that may write there renews it",
            StoreError::Newer { .. } => "a newer roar made it: upgrade this one",
            StoreError::Damaged(_) => "move it away and merge the fragments again",
            StoreError::Full(_) => "nothing was changed; free some space and try again",
            StoreError::Busy(_) => "try again when the other roar has ended",
            StoreError::Io { .. } | StoreError::Database { .. } => {
                return Self::new("cannot use the store", error);
            }
        };
        Self::new("cannot use the store", error).hint(hint)
    }
}

/// A traced command that begins with a dash, and no `--` before it, is a mistyped option.
pub fn unknown_option(command: &Command) -> Result<(), UserError> {
    let (Command::Trace(args) | Command::Run(args)) = command else {
        return Ok(());
    };
    let Some(first) = args
        .command
        .first()
        .filter(|word| word.as_bytes().starts_with(b"-"))
    else {
        return Ok(());
    };
    let mut words = std::env::args_os().skip_while(|word| word != "--" && word != first);
    if words.next().is_some_and(|word| word == "--") {
        return Ok(());
    }
    Err(UserError {
        what: "cannot understand the command line".to_owned(),
        why: format!("unknown option {}", first.display()),
        hint: Some("`--` before a command that begins with a dash".to_owned()),
        code: 2,
    })
}

/// Help and version go to stdout; anything else is an error of usage.
pub fn of_clap(error: &clap::Error) -> Result<ExitCode, UserError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            crate::output::write(&error.render().ansi().to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let plain = error.render().to_string();
    let first = plain.lines().next().unwrap_or_default();
    let why = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command was given".to_owned(),
        ErrorKind::MissingRequiredArgument => {
            let missing = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            format!("missing {}", missing.unwrap_or_default())
        }
        _ => {
            let why = first.trim_start_matches("error: ");
            let values = error.get(ContextKind::ValidValue).map(ToString::to_string);
            match values.filter(|values| !values.is_empty()) {
                Some(values) => format!("{why}; one of {values}"),
                None => why.to_owned(),
            }
        }
    };
    Err(UserError {
        what: "cannot understand the command line".to_owned(),
        why,
        hint: Some(
            "`roar --help` lists the commands, `roar COMMAND --help` the options".to_owned(),
        ),
        code: 2,
    })
}
