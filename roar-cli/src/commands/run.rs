//! `roar run`.

use std::process::ExitCode;

use crate::cli::TraceArgs;
use crate::error::UserError;

/// Does it.
pub fn main(_args: TraceArgs) -> Result<ExitCode, UserError> {
    Err(UserError::new("cannot run", "not in this build"))
}
