//! Every way to reach a file, under every backend, next to strace: docs/coverage.md.
//!
//! `make coverage` writes the page; otherwise the test fails where it differs.

mod cases;
mod place;
mod strace;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{CASES, Case};
use place::{Place, Programs};

/// How a case came out: a hit, or the differences.
type Outcome = Result<(), Vec<String>>;

/// What was seen of one case.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Read, written, deleted.
    pub(crate) files: [std::collections::BTreeSet<String>; 3],
    /// What else is wrong with the record.
    pub(crate) faults: Vec<String>,
}

impl Seen {
    /// Hit, or what is missing (`-`) and what is too much (`+`).
    fn against(&self, case: &Case) -> Outcome {
        let mut differences = self.faults.clone();
        let lists = ["read", "written", "deleted"];
        for ((list, seen), expected) in lists.iter().zip(&self.files).zip(case.expected) {
            let is_missing = |name: &&&str| !seen.contains(**name);
            let missing = expected.iter().filter(is_missing);
            differences.extend(missing.map(|name| format!("-{list} {name}")));
            let is_false = |name: &&String| !expected.contains(&name.as_str());
            let too_much = seen.iter().filter(is_false);
            differences.extend(too_much.map(|name| format!("+{list} {name}")));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(differences),
        }
    }
}

/// How a case came out, as a word of the page.
fn word(outcome: &Outcome) -> &'static str {
    let Err(differences) = outcome else {
        return "hit";
    };
    let has = |sign| differences.iter().any(|line| line.starts_with(sign));
    match (has('-'), has('+')) {
        (true, true) => "miss, false",
        (true, false) => "miss",
        (false, true) => "false",
        (false, false) => "fault",
    }
}

/// One case under each observer, in order.
fn observe(programs: &Programs, backends: &[&str], case: &Case) -> Vec<Outcome> {
    let traced = backends
        .iter()
        .map(|backend| Place::new(programs).traced(case, backend).against(case));
    let by_strace = || strace::observed(&Place::new(programs), case).against(case);
    let mut outcomes: Vec<_> = traced.collect();
    outcomes.push(by_strace());
    outcomes
}

#[test]
fn every_way_to_reach_a_file_is_seen() {
    let programs = Programs::compile();
    let mut backends = roar_tests::backends();
    backends.push(place::PARTIAL);
    let only = std::env::var("ROAR_CASE").unwrap_or_default();
    let cases: Vec<&Case> = CASES.iter().flat_map(|(_, cases)| *cases).collect();
    let is_run = |case: &Case| {
        case.name.contains(&only) && (!case.is_roots || nix::unistd::geteuid().is_root())
    };
    let outcomes = Mutex::new(vec![None; cases.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::SeqCst)
                    && let Some(case) = cases.get(index)
                {
                    if !is_run(case) {
                        continue;
                    }
                    let outcome = observe(&programs, &backends, case);
                    outcomes.lock().unwrap()[index] = Some(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let mut wrong = String::new();
    for (case, outcomes) in cases.iter().zip(&outcomes) {
        let by_backend = backends.iter().zip(outcomes.iter().flatten());
        for (backend, outcome) in by_backend {
            if let Err(differences) = outcome
                && (*backend != place::PARTIAL || word(outcome) != "miss")
            {
                let _ = writeln!(wrong, "{backend}, {}: {differences:?}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    if outcomes.iter().all(Option::is_some) {
        compare(&page(&backends, &outcomes));
    }
}

/// Writes the page where that is asked for; else it must be the one that is there.
fn compare(page: &str) {
    let path = roar_tests::workspace().join("docs/coverage.md");
    if std::env::var_os("ROAR_WRITE_COVERAGE").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    // What strace shows depends on how calls of several processes fall together.
    let own = |line: &str| match line.rsplit_once(" | ") {
        Some((own, _)) => own.to_owned(),
        None => line.split(", strace").next().unwrap().to_owned(),
    };
    let lines = |text: &str| text.lines().map(own).collect::<Vec<_>>();
    let (there, page) = (lines(&there), lines(page));
    let news: Vec<_> = page.iter().filter(|line| !there.contains(line)).collect();
    assert!(
        there == page,
        "`make coverage` writes other lines: {news:#?}"
    );
}

fn page(backends: &[&str], outcomes: &[Option<Vec<Outcome>>]) -> String {
    let mut page = String::from(INTRODUCTION);
    let mut outcomes = outcomes.iter();
    let mut hits = vec![0; backends.len() + 1];
    let mut total = 0;
    for (title, cases) in CASES {
        let _ = write!(
            page,
            "\n## {title}\n\n| case | {} | strace |\n",
            backends.join(" | ")
        );
        let _ = writeln!(page, "|---|{}", "---|".repeat(hits.len()));
        for (case, outcomes) in cases.iter().zip(&mut outcomes) {
            let words: Vec<&str> = outcomes.iter().flatten().map(word).collect();
            let _ = writeln!(page, "| {} | {} |", case.name, words.join(" | "));
            total += 1;
            for (hits, word) in hits.iter_mut().zip(&words) {
                *hits += usize::from(*word == "hit");
            }
        }
    }
    let names = backends.iter().chain(&["strace"]);
    let counts = names
        .zip(&hits)
        .map(|(name, hits)| format!("{name} {hits}"));
    let counts: Vec<String> = counts.collect();
    let _ = write!(page, "\nOf {total} cases hit: {}.\n", counts.join(", "));
    page
}

const INTRODUCTION: &str = "# Coverage

Written by `make coverage`, and checked by every run of the tests: each case is a program
that is run under each backend, and what is recorded is compared with what the program is
known to have read, written and deleted (tests/coverage/cases.rs).

- *hit*: exactly that, with the digests of what is on disk, and `complete`.
- *miss*: a file is missing.
- *false*: a file too much.

strace, for comparison, is `strace -ff -y -e trace=file,desc` with every successful open
taken for what its flags say, and renames, links and deletes as they are named.
";
