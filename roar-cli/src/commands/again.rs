//! `roar run @5`: the command of a step once more, where it was run.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bstr::ByteSlice;
use roar_lineage::mask;

use crate::error::UserError;
use crate::{output, project};

/// A command as it was given.
pub struct Again {
    /// The command line.
    pub command: Vec<OsString>,
    /// Where it is run, which is the working directory now.
    pub cwd: PathBuf,
}

impl Again {
    /// What will be run.
    pub fn line(&self) -> String {
        let words = self.command.iter().map(|word| word.as_encoded_bytes());
        let command = output::one_line(&bstr::join(" ", words));
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
    if job.command.iter().any(|word| mask::is_masked(word)) {
        let why = "its command had credentials, which are not kept";
        return Err(cannot(why.to_owned()).hint("`roar log` shows the rest of it"));
    }
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let cwd = PathBuf::from(owned(&job.cwd));
    std::env::set_current_dir(&cwd)
        .map_err(|error| cannot(format!("{}: {error}", output::one_line(job.cwd.as_bytes()))))?;
    Ok(Again {
        command: job.command.iter().map(|word| owned(word)).collect(),
        cwd,
    })
}
