//! The command line of roar.
#![forbid(unsafe_code)]

pub mod accounted;
pub mod checked;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod git;
pub mod joined;
pub mod listing;
pub mod manifest;
pub mod output;
pub mod progress;
pub mod project;
pub mod ray;
pub mod remake;
pub mod sink;
pub mod submitted;
pub mod summary;
pub mod tracing;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::UserError;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => error::unknown_option(&cli.command).and_then(|()| dispatch(cli.command)),
        Err(error) => error::of_clap(&error),
    };
    outcome.unwrap_or_else(|error| error.report())
}

fn dispatch(command: Command) -> Result<ExitCode, UserError> {
    match command {
        Command::Trace(args) => commands::trace::main(args),
        Command::Run(args) => commands::run::main(args),
        Command::Init(args) => commands::init::main(&args),
        Command::Merge(args) => commands::merge::main(&args),
        Command::Dag(args) => commands::dag::main(&args),
        Command::Show(args) => commands::show::main(&args),
        Command::Lineage(args) => commands::lineage::main(&args),
        Command::Inputs(args) => commands::inputs::main(&args),
        Command::Diff(args) => commands::diff::main(&args),
        Command::Verify(args) => commands::verify::main(&args),
        Command::Reproduce(args) => commands::reproduce::main(&args),
        Command::Export(args) => commands::export::main(&args),
        Command::Status(args) => commands::status::main(&args),
        Command::Log(args) => commands::log::main(&args),
        Command::Doctor(args) => commands::doctor::main(&args),
        Command::Ray(command) => commands::ray::main(&command),
        Command::Config(command) => commands::config::main(&command),
        Command::Completions(args) => commands::manual::completions(&args),
        Command::Man(args) => commands::manual::page(&args),
    }
}
