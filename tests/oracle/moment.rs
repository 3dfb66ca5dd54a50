//! A name is used by one process at the very moment another changes it: the record is right, or
//! says that nobody knows.

use roar_tests::{Project, Report, Traced};

/// Uses of each trace.
const ROUNDS: usize = 10;

/// Runs the program on files that it made untraced.
fn flip(way: &str, how: &str) -> (Project, Traced) {
    let project = Project::new();
    let program = project.compile("flip", &["-static"]);
    let rounds = ROUNDS.to_string();
    let mut made = std::process::Command::new(&program);
    let made = made
        .args([way, &rounds])
        .current_dir(project.path(""))
        .status();
    assert!(made.unwrap().success());
    let options = ["--backend", "notify"];
    let traced = project.trace_with(&options, &[&program, way, &rounds, how]);
    assert!(traced.output.status.success());
    (project, traced)
}

/// The rounds of which another file is recorded than the one that was opened, but for those in
/// which a process waited long for a CPU (docs/limits.md).
fn wrong(traced: &Traced) -> Vec<String> {
    let said = String::from_utf8_lossy(&traced.output.stdout).into_owned();
    let is_wrong = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [round, content, took] = words[..] else {
            panic!("{line}")
        };
        let is_right = is_recorded(&traced.report, &format!("/r{round}/{content}/f"));
        took.parse::<u64>().unwrap() < 8000 && !is_right
    };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), ROUNDS);
    lines
        .into_iter()
        .filter(is_wrong)
        .map(str::to_owned)
        .collect()
}

fn is_recorded(report: &Report, end: &str) -> bool {
    let reads = report.files("reads");
    reads
        .iter()
        .any(|file| file["path"].as_str().unwrap().ends_with(end))
}

#[test]
fn a_link_that_is_replaced_at_that_moment_is_right_or_a_gap() {
    let traces = if std::env::var_os("ROAR_SOAK").is_some() {
        1000
    } else {
        20
    };
    let mut gaps = 0;
    for _ in 0..traces {
        let (_project, traced) = flip("link", "race");
        let is_gap = traced.report.gaps() == ["lost_records"];
        assert!(is_gap || traced.report.gaps().is_empty());
        assert!(is_gap || wrong(&traced).is_empty(), "{:?}", wrong(&traced));
        gaps += usize::from(is_gap);
    }
    assert!(gaps > 0, "no two calls ever met");
}

#[test]
fn directories_that_are_exchanged_at_that_moment_are_a_gap() {
    let is_gap = |_| flip("directory", "race").1.report.gaps() == ["lost_records"];
    assert!((0..100).any(is_gap), "no two calls ever met");
}

#[test]
fn one_after_the_other_is_none() {
    for (way, how) in [("link", "turns"), ("directory", "turns"), ("link", "hands")] {
        let (_project, traced) = flip(way, how);
        assert_eq!(traced.report.gaps(), Vec::<String>::new());
    }
}
