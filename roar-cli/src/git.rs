//! The state of the project's version control.

use std::path::Path;
use std::process::{Command, Stdio};

use roar_lineage::digest::Digest;
use roar_lineage::model::Git;

/// The state of the working tree, where git knows one.
pub fn state(cwd: &Path) -> Option<Git> {
    cwd.ancestors()
        .find(|directory| directory.join(".git").exists())?;
    let ask = |arguments: &[&str]| {
        let asked = Command::new("git")
            .args(arguments)
            .current_dir(cwd)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(Stdio::null())
            .output();
        asked
            .ok()
            .filter(|output| output.status.success())
            .map(|output| output.stdout)
    };
    let line = |arguments: &[&str]| {
        let text = String::from_utf8(ask(arguments)?).ok()?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let commit = line(&["rev-parse", "--verify", "-q", "HEAD"]);
    let diff = ask(&["diff", "--no-ext-diff", "--no-textconv", "HEAD"]).unwrap_or_default();
    Some(Git {
        commit,
        branch: line(&["symbolic-ref", "-q", "--short", "HEAD"]),
        diff: (!diff.is_empty()).then(|| Digest::of(&diff)),
    })
}
