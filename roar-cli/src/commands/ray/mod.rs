//! `roar ray`: what concerns clusters alone.

mod fetch;
mod prepare;

use std::process::ExitCode;

use crate::cli::RayCommand;
use crate::error::UserError;

/// Does it.
pub fn main(command: &RayCommand) -> Result<ExitCode, UserError> {
    match command {
        RayCommand::Fetch(args) => fetch::main(args),
        RayCommand::Prepare(args) => prepare::main(args),
    }
}
