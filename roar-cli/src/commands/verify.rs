//! `roar verify`: reads files again, and says which are not what they were.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use serde::Serialize;

use crate::checked::{self, Checked};
use crate::cli::VerifyArgs;
use crate::error::UserError;
use crate::{output, project};

/// The document.
#[derive(Debug, Serialize)]
struct Verified {
    schema: &'static str,
    session: String,
    files: Vec<Checked>,
}

/// Does it.
pub fn main(args: &VerifyArgs) -> Result<ExitCode, UserError> {
    let opened = project::open(args.all)?;
    let reference = args.reference.as_deref();
    let standing = match reference {
        None => opened.graph.standing(None, b""),
        Some(reference) => opened.find(reference, |reference, cwd| {
            opened.graph.standing(Some(reference), cwd)
        }),
    };
    let cannot = |why: &dyn std::fmt::Display| {
        let what = match reference {
            Some(reference) => output::one_line(reference.as_bytes()),
            None => "this session".to_owned(),
        };
        UserError::new(format!("cannot verify {what}"), why)
            .hint("`roar dag` lists files; --all knows system files too")
    };
    let standing = standing.map_err(|error| cannot(&error))?;
    if standing.is_empty() && reference.is_some() {
        return Err(cannot(&checked::NONE));
    }
    let files = checked::all(standing);
    let is_bad = files.iter().any(|file| file.verdict.is_bad());
    match args.json {
        true => output::json(&Verified {
            schema: "roar.verify/1",
            session: opened.graph.session().to_owned(),
            files,
        })?,
        false => output::write(&checked::text(&files, &opened.root))?,
    }
    Ok(ExitCode::from(u8::from(is_bad)))
}
