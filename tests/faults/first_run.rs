//! The first run works wherever it is.

use std::process::Command;

use roar_tests::{Project, Report, roar};
use serde_json::Value;

const STEP: [&str; 3] = ["bash", "-c", "cat in > out"];

fn run(project: &Project) -> Report {
    project.write("in", "x");
    let traced = project.trace_as("run", &[], &STEP, |_| ());
    let errors = String::from_utf8_lossy(&traced.output.stderr).into_owned();
    assert!(traced.output.status.success(), "{errors}");
    assert!(!errors.contains("warning"), "{errors}");
    let dag = project.document(&["dag", "--json"]);
    assert_eq!(dag["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(dag["coverage"]["complete"], true);
    traced.report
}

fn git(project: &Project, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@t"]);
    let output = git.args(arguments).current_dir(project.path("")).output();
    let output = output.expect("git");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_init_and_without_git_below_a_temporary_directory() {
    let project = Project::new();
    run(&project).assert(&["in open"], &["out open"], &[]);
    assert!(project.has(".roar/roar.db"));
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| project.path(name).metadata().unwrap().permissions().mode() & 0o77;
    assert_eq!((mode(".roar"), mode(".roar/roar.db")), (0, 0));
}

#[test]
fn a_dirty_tree_stays_as_it_was() {
    let project = Project::new();
    project.write("in", "old").write("other", "old");
    git(&project, &["init", "-q"]);
    git(&project, &["add", "."]);
    git(&project, &["commit", "-qm", "first"]);
    project.write("other", "changed").write("untracked", "");
    run(&project).assert(&["in open"], &["out open"], &[]);
    let status = git(&project, &["status", "--short"]);
    assert_eq!(status, " M in\n M other\n?? out\n?? untracked\n");
}

#[test]
fn a_repository_without_a_commit() {
    let project = Project::new();
    git(&project, &["init", "-q"]);
    run(&project);
}

#[test]
fn the_root_is_that_of_git_also_from_below() {
    let project = Project::new();
    git(&project, &["init", "-q"]);
    project.write("sub/in", "x");
    let traced = project.trace_as("run", &[], &["cat", "in"], |roar| {
        roar.current_dir(project.path("sub"));
    });
    assert_eq!(traced.report.reads(), ["sub/in open"]);
    assert!(project.has(".roar/roar.db"));
}

#[test]
fn a_named_root_may_have_links_in_it() {
    let project = Project::new();
    std::fs::create_dir(project.path("real")).unwrap();
    std::os::unix::fs::symlink("real", project.path("link")).unwrap();
    project.write("real/in", "x");
    let named = |arguments: &[&str]| {
        let mut roar = project.roar(arguments);
        roar.env("ROAR_PROJECT_DIR", "./link/../link");
        let output = roar.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    named(&["run", "-q", "cp", "real/in", "real/out"]);
    assert!(project.has("real/.roar/roar.db"));
    let shown = named(&["dag"]);
    assert!(shown.contains("reads  in\n"), "{shown}");
    assert!(shown.contains("writes out\n"), "{shown}");
}

#[test]
fn a_second_step_is_joined_to_the_first() {
    let project = Project::new();
    project.write("in", "x");
    for line in ["cat in > mid", "cat mid > out"] {
        project.trace_as("run", &[], &["bash", "-c", line], |_| ());
    }
    let dag = project.document(&["dag", "--json"]);
    let edges = dag["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 1, "{edges:#?}");
    assert_eq!(edges[0]["from"], dag["nodes"][0]["id"]);
    assert_eq!(edges[0]["to"], dag["nodes"][1]["id"]);
    assert!(edges[0]["path"].as_str().unwrap().ends_with("/mid"));
    let arrows = |option: &str, arrow: &str| {
        let output = project.roar(["dag", option]).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let label = |node: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(node));
            let (_, rest) = line.unwrap().split_once('"').unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let ends = |line: &str| {
            let (from, to) = line.trim().trim_end_matches(';').split_once(arrow)?;
            Some(label(from) + " " + &label(to))
        };
        let mut arrows: Vec<_> = text.lines().filter_map(ends).collect();
        arrows.sort();
        arrows
    };
    let expected = ["@1 bash mid", "@2 bash out", "in @1 bash", "mid @2 bash"];
    assert_eq!(arrows("--dot", " -> "), expected);
    assert_eq!(arrows("--mermaid", " --> "), expected);
    for document in ["status", "log"] {
        project.document(&[document, "--json"]);
    }
    project.document(&["show", "mid", "--json"]);
    let lineage = |way: &str, reference: &str| {
        let document = project.document(&["lineage", way, reference, "--json"]);
        let ids = |list: &str, key: &str| -> Vec<Value> {
            let list = document[list].as_array().unwrap();
            list.iter().map(|one| one[key].clone()).collect()
        };
        (ids("tasks", "id"), ids("files", "path").len())
    };
    let [first, second] = [0, 1].map(|index| dag["nodes"][index]["id"].clone());
    assert_eq!(
        lineage("--up", "out"),
        (vec![first.clone(), second.clone()], 2)
    );
    assert_eq!(lineage("--up", "mid"), (vec![first.clone()], 1));
    assert_eq!(lineage("--down", "in"), (vec![first, second.clone()], 2));
    let digest = roar_tests::digest(project.path("mid"));
    let prefix = &digest["blake3:".len()..][..12];
    assert_eq!(lineage("--down", prefix), lineage("--down", "in"));
    let unknown = project.roar(["lineage", "nothing"]).output().unwrap();
    let errors = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        errors.starts_with("roar: no lineage of nothing ("),
        "{errors}"
    );
}

#[test]
fn init_is_not_needed_and_does_no_harm() {
    let project = Project::new();
    for _ in 0..2 {
        project.document(&["init", "--json"]);
    }
    run(&project);
    assert_eq!(project.read(".roar/.gitignore"), "*\n");
}

#[test]
fn a_setting_that_cannot_be_makes_nothing() {
    let project = Project::new();
    for (key, value) in [("ray.ship", "bogus"), ("ray.bogus", "true")] {
        let output = project.roar(["config", "set", key, value]).output();
        assert_eq!(output.unwrap().status.code(), Some(1));
        assert!(!project.has(".roar"));
    }
}

#[test]
fn a_run_that_observed_nothing_says_so_and_why() {
    let project = Project::new();
    let output = project.roar(["trace", "--", "true"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("roar: no input or output seen: "),
        "{text}"
    );
    assert!(text.contains("--all"), "{text}");
}

#[test]
fn in_a_directory_that_was_deleted() {
    let project = Project::new();
    for (verb, warnings) in [("trace", 0), ("run", 1)] {
        let gone = project.path("gone");
        std::fs::create_dir(&gone).unwrap();
        let line = format!(
            "cd gone; rmdir ../gone; exec {} {verb} --json {} -- sh -c 'echo ran; exit 3'",
            roar().display(),
            project.report_path().display()
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &line]).current_dir(project.path(""));
        let output = bash.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert_eq!(output.stdout, b"ran\n");
        assert_eq!(errors.matches("warning").count(), warnings, "{errors}");
        let cwd = &project.report().document["run"]["cwd"];
        assert_eq!(cwd, gone.to_str().unwrap());
    }
}
