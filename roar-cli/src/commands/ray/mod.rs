//! `roar ray`: what concerns clusters alone.

mod fetch;

use std::process::ExitCode;

use crate::cli::RayCommand;
use crate::error::UserError;

/// Does it.
pub fn main(command: &RayCommand) -> Result<ExitCode, UserError> {
    match command {
        RayCommand::Fetch(args) => fetch::main(args),
    }
}
