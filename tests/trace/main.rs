//! `roar trace` of real programs: what it records is what SEMANTICS says.

mod files;
mod formats;
mod links;
mod mounts;
mod names;
mod processes;
mod shell;
mod versions;
