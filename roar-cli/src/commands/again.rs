//! `roar run @5`: the command of a step once more, where it was run.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bstr::ByteSlice;
use roar_lineage::mask;
use roar_lineage::model::Job;

use crate::error::UserError;
use crate::{output, project};

/// A command as it was given.
pub struct Again {
    /// The command line.
    pub command: Vec<OsString>,
    /// Where it is run.
    pub cwd: PathBuf,
}

impl Again {
    /// The command of a job; else why it cannot be run again.
    pub fn of(job: &Job) -> Result<Self, String> {
        if job.command.iter().any(|word| mask::is_masked(word)) {
            return Err("its command had credentials, which are not kept".to_owned());
        }
        if job.command.is_empty() {
            return Err("its command is not known".to_owned());
        }
        let cwd = PathBuf::from(OsString::from_vec(job.cwd.to_vec()));
        match cwd.metadata() {
            Ok(found) if found.is_dir() => Ok(Self {
                command: Self::words(job),
                cwd,
            }),
            _ => Err(format!(
                "its directory {} is not there",
                output::one_line(job.cwd.as_bytes())
            )),
        }
    }

    /// The command line of a job.
    pub fn words(job: &Job) -> Vec<OsString> {
        let words = job.command.iter();
        words
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect()
    }

    /// What will be run.
    pub fn line(&self) -> String {
        let words = self.command.iter().map(|word| word.as_bytes().into());
        let command = output::command(&words.collect::<Vec<_>>());
        let cwd = output::one_line(self.cwd.as_os_str().as_encoded_bytes());
        format!("roar: once more in {cwd}: {}", output::cut(&command, 200))
    }
}

/// The command of a step. Its directory becomes the working directory.
pub fn command(step: usize) -> Result<Again, UserError> {
    let opened = project::open(false)?;
    let cannot = |why: String| UserError::new(format!("cannot run @{step} again"), why);
    let found = opened.graph.job_of(step);
    let (job, command) =
        found.map_err(|error| cannot(error.to_string()).hint("`roar dag` lists the steps"))?;
    if command != Some(step) {
        let error = cannot("it is a task of Ray's, which only its command starts".to_owned());
        return Err(match command {
            Some(command) => error.hint(format!("`roar run @{command}` runs that again")),
            None => error,
        });
    }
    let again =
        Again::of(job).map_err(|why| cannot(why).hint("`roar log` shows what is known of it"))?;
    std::env::set_current_dir(&again.cwd).map_err(|error| cannot(error.to_string()))?;
    Ok(again)
}
