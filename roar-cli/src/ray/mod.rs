//! What the command line knows about Ray: how to have a job's workers started through
//! `roar-worker`, locally ([`local`]) or on a cluster ([`submit`], [`ship`]), how to bring
//! home what they recorded ([`connection`], [`jobs_api`], [`collect`], [`gather`]), and what
//! Ray itself says of the job ([`state`], [`compare`]).
//!
//! The invariant of all: a job that would run without roar runs with it. What
//! cannot be instrumented is left alone, with a reason to show.

pub mod client;
pub mod collect;
pub mod compare;
pub mod connection;
pub mod gather;
pub mod jobs_api;
pub mod local;
pub mod python;
pub mod ship;
pub mod state;
pub mod submit;
pub mod token;

/// A word as a POSIX shell reads it back.
fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use super::shell_quote;

    #[test]
    fn words_are_quoted_only_where_needed() {
        assert_eq!(shell_quote("/opt/roar-worker"), "/opt/roar-worker");
        assert_eq!(shell_quote("a b"), "'a b'");
        assert_eq!(shell_quote("it's"), r#"'it'"'"'s'"#);
        assert_eq!(shell_quote(""), "''");
    }
}
