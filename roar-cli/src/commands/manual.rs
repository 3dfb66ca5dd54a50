//! `roar completions` and `roar man`: the command line, for shells and for man(1).

use std::io;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;

use crate::cli::{Cli, CompletionsArgs, QueryArgs};
use crate::error::UserError;
use crate::output;

#[derive(Serialize)]
struct Completions<'a> {
    schema: &'static str,
    shell: String,
    script: &'a str,
}

#[derive(Serialize)]
struct Page<'a> {
    schema: &'static str,
    page: &'a str,
}

/// Prints a shell's completions.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, UserError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "roar", &mut script);
    let script = String::from_utf8_lossy(&script);
    match args.json {
        true => output::json(&Completions {
            schema: "roar.completions/1",
            shell: args.shell.to_string(),
            script: &script,
        })?,
        false => output::write(&script)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page.
pub fn page(args: &QueryArgs) -> Result<ExitCode, UserError> {
    let page = whole_page().map_err(|error| UserError::new("cannot make the page", error))?;
    let page = String::from_utf8_lossy(&page);
    match args.json {
        true => output::json(&Page {
            schema: "roar.man/1",
            page: &page,
        })?,
        false => output::write(&page)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn whole_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut roar = Cli::command();
    roar.build();
    let man = Man::new(roar.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    add_examples(&man, &mut page)?;
    for command in roar.get_subcommands() {
        add_command(command, &mut page)?;
    }
    Ok(page)
}

/// A section for a command, or for each command that it has.
fn add_command(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    if command.has_subcommands() {
        return command
            .get_subcommands()
            .try_for_each(|command| add_command(command, page));
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut parts = Vec::new();
    let man = Man::new(command.clone());
    man.render_description_section(&mut parts)?;
    man.render_synopsis_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    if command.get_after_help().is_some() {
        add_examples(&man, &mut parts)?;
    }
    let parts = String::from_utf8_lossy(&parts).replace("\n.SH ", "\n.SS ");
    let parts = parts.replacen("\n.SS DESCRIPTION\n", "\n", 1);
    page.extend_from_slice(format!(".SH \"{name}\"\n{parts}").as_bytes());
    Ok(())
}

/// What stands below a command's help, line by line.
fn add_examples(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    let mut examples = Vec::new();
    man.render_extra_section(&mut examples)?;
    let examples = String::from_utf8_lossy(&examples);
    page.extend_from_slice(
        examples
            .replace(".SH EXTRA\n", ".SH EXAMPLES\n.nf\n")
            .as_bytes(),
    );
    Ok(())
}
