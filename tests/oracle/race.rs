//! Two processes that make, replace and delete the same names as fast as they can: what
//! is recorded may be less than happened, and is never what did not happen.

use std::collections::HashSet;
use std::process::Stdio;

use roar_tests::{Project, Report, path_bytes};
use serde_json::Value;

/// Calls of each process, or ten times as many when soaked.
fn rounds() -> usize {
    match std::env::var_os("ROAR_SOAK") {
        Some(_) => 60_000,
        None => 4000,
    }
}

/// The names of all contents that were ever at a path, the empty one too.
fn contents(rounds: usize) -> HashSet<String> {
    let digest = |content: &[u8]| format!("blake3:{}", blake3::hash(content).to_hex());
    let numbers = || 0..rounds * 2;
    let of = |who: char| numbers().map(move |n| digest(format!("{who}{n:014}\n").as_bytes()));
    of('a').chain(of('b')).chain([digest(b"")]).collect()
}

/// Nothing is recorded that never was. Gives how many digests of inputs there are.
fn check(report: &Report, contents: &HashSet<String>) -> usize {
    let mut digests = 0;
    for list in ["reads", "writes", "deletes"] {
        for file in report.files(list) {
            let path = path_bytes(file);
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
            let exists = matches!(name, [b'n' | b'a' | b'b', b'0'..=b'3'] | [_, b't', ..]);
            assert!(exists, "{list}: {file}");
            assert!(
                [0, 16].contains(&file["size"].as_u64().unwrap()),
                "{list}: {file}"
            );
            if let Some(digest) = file["digest"].as_str() {
                assert!(contents.contains(digest), "{list}: {file}");
                digests += usize::from(list == "reads");
            }
        }
    }
    digests
}

#[test]
fn two_processes_of_one_trace_race_for_the_same_names() {
    let project = Project::new();
    let race = project.compile("race", &[]);
    let line = format!("{race} a {0} & {race} b {0} & wait", rounds());
    let off = |backend| ["--backend", backend, "--accel", "off"];
    let accelerated = ["--backend", "notify", "--accel", "auto"];
    let ways = roar_tests::backends().into_iter().map(off);
    for options in ways.chain([accelerated]) {
        let traced = project.trace_with(&options, &["bash", "-c", &line]);
        assert!(traced.output.status.success());
        // What was opened is known, and not whose it was once its name is gone. Nor is, before
        // a call, which of two comes first.
        let gaps = traced.report.gaps();
        let is_after = options.contains(&"ptrace");
        let is_missed = |gap: &String| !is_after && gap == "lost_records";
        assert!(gaps.iter().all(is_missed), "{gaps:?}");
        check(&traced.report, &contents(rounds()));
        // Of names that only one of them writes, it is known what came last.
        let written = traced.report.files("writes");
        for name in (0..4).flat_map(|n| [format!("a{n}"), format!("b{n}")]) {
            let path = project.path(&name).canonicalize();
            let is_it = |file: &&Value| {
                path.as_ref()
                    .is_ok_and(|path| file["path"] == path.to_str().unwrap())
            };
            let is_there = project.path(&name).exists();
            assert_eq!(written.iter().any(|file| is_it(&file)), is_there, "{name}");
        }
    }
}

#[test]
fn two_traces_race_for_the_same_names() {
    let project = Project::new();
    let race = project.compile("race", &[]);
    let rounds = rounds().to_string();
    for backend in roar_tests::backends() {
        let running = ["a", "b"].map(|who| {
            let report = project.report_path().with_file_name(who);
            let mut roar = project.roar(["trace", "-q", "--backend", backend, "--json"]);
            roar.arg(&report).args(["--", &race, who, &rounds]);
            (roar.stdout(Stdio::null()).spawn().unwrap(), report)
        });
        let mut digests = 0;
        for (mut roar, report) in running {
            assert!(roar.wait().unwrap().success());
            let report = project.parse(&std::fs::read(report).unwrap());
            assert!(!report.files("reads").is_empty());
            digests += check(&report, &contents(self::rounds()));
        }
        assert!(digests > 0, "no version of a name was ever hashed");
    }
}
