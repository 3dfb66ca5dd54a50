//! The table of cases: what a program does, and what of it is to be recorded.
//!
//! A line of shell, in a directory of its own that holds what `Place::new` puts there.
//! `$W` is `tests/programs/ways.c`, `$STATIC` the same linked statically, `$MUSL` `copy.c` with musl,
//! `$GO` `copy.go`, `$I386` `copy32.c`, `$PYTHON` a Python.

mod rows;
mod ways;

/// One case.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: &'static str,
    /// The line of shell.
    pub(crate) line: &'static str,
    /// Files to be recorded, below the case's directory: read, written, deleted.
    pub(crate) expected: [&'static [&'static str]; 3],
    /// The line in which the tracer is run, as `"$@"`.
    pub(crate) outside: &'static str,
    /// Whether it needs root.
    pub(crate) is_roots: bool,
}

const NONE: &[&str] = &[];

const fn case(
    name: &'static str,
    line: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    deletes: &'static [&'static str],
) -> Case {
    Case {
        name,
        line,
        expected: [reads, writes, deletes],
        outside: "exec \"$@\"",
        is_roots: false,
    }
}

/// Copies `in` to `out`.
const fn copy(name: &'static str, line: &'static str) -> Case {
    case(name, line, &["in"], &["out"], NONE)
}

impl Case {
    const fn inside(self, outside: &'static str) -> Self {
        Self { outside, ..self }
    }

    const fn roots(self) -> Self {
        Self {
            is_roots: true,
            ..self
        }
    }
}

/// All cases, by what they are about.
pub(crate) const CASES: &[(&str, &[Case])] = &[
    ("Inputs", rows::INPUTS),
    ("Outputs", rows::OUTPUTS),
    ("Calls", ways::CALLS),
    ("Programs and processes", ways::PROGRAMS),
    ("Places and names", ways::PLACES),
];
