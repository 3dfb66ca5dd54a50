//! `roar init`: makes `.roar` and its store.

use std::path::PathBuf;
use std::process::ExitCode;

use roar_lineage::document::Text;
use roar_lineage::store::Store;
use serde::Serialize;

use crate::cli::InitArgs;
use crate::error::UserError;
use crate::{output, project};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    path: Text,
    created: bool,
}

/// Does it.
pub fn main(args: &InitArgs) -> Result<ExitCode, UserError> {
    use std::os::unix::ffi::OsStrExt;
    let cwd = project::working_directory()?;
    let root: PathBuf = match &args.root {
        Some(root) => cwd.join(root),
        None => project::root(&cwd),
    };
    let (directory, created) = project::create(&root)?;
    Store::open(&directory)?;
    if args.json {
        let path = Text::new("path", directory.as_os_str().as_bytes());
        output::json(&Document {
            schema: "roar.init/1",
            path,
            created,
        })?;
    } else {
        let word = if created { "made" } else { "already there:" };
        output::write(&format!("{word} {}\n", directory.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
