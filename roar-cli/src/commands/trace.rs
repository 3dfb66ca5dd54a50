//! `roar trace`.

use std::process::ExitCode;

use crate::cli::TraceArgs;
use crate::error::UserError;

/// Does it.
pub fn main(_args: TraceArgs) -> Result<ExitCode, UserError> {
    Err(UserError::new("cannot trace", "not in this build"))
}
