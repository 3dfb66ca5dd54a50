//! `roar doctor`: what it says works is what works.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use roar_tests::{Project, is_root, roar, validate};
use serde_json::Value;

/// What it says in a command of one's making, and how it ended.
fn says(mut command: Command) -> (Value, Option<i32>) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    validate(&document);
    (document, output.status.code())
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn both_backends_work_here() {
    let project = Project::new();
    let (document, code) = says(project.roar(["doctor", "--json"]));
    assert_eq!(code, Some(0));
    assert_eq!(document["auto"], "notify");
    for name in ["notify", "ptrace", "accelerator", "store"] {
        assert_eq!(check(&document, name)["works"], true, "{name}");
    }
    let text = project.roar(["doctor"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("--backend auto takes notify"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn a_listener_that_is_refused_has_its_cause_and_remedy() {
    let project = Project::new();
    let mut command = Command::new(project.compile("listener", &[]));
    command.arg(roar()).args(["doctor", "--json"]);
    let (document, code) = says(command);
    assert_eq!((document["auto"].as_str(), code), (Some("ptrace"), Some(0)));
    let notify = check(&document, "notify");
    assert_eq!(notify["works"], false);
    assert!(
        notify["cause"].as_str().unwrap().contains("busy"),
        "{notify}"
    );
    assert!(
        notify["remedy"].as_str().unwrap().contains("supervisor"),
        "{notify}"
    );
}

#[test]
fn inside_a_roar_notifications_are_those_of_the_outer_one() {
    let project = Project::new();
    let mut command = project.roar(["trace", "-q", "--"]);
    command.arg(roar()).args(["doctor", "--json"]);
    let (document, _) = says(command);
    assert_eq!(document["auto"], "notify");
}

#[test]
fn an_ordinary_user_is_told_of_set_uid_programs() {
    if !is_root("an_ordinary_user_is_told_of_set_uid_programs") {
        return;
    }
    let project = Project::new();
    let copy = project.path("roar");
    std::fs::copy(roar(), &copy).unwrap();
    let mut command = Command::new(copy);
    command
        .args(["doctor", "--json"])
        .uid(65534)
        .gid(65534)
        .current_dir("/");
    let (document, code) = says(command);
    assert_eq!(code, Some(0));
    assert_eq!(check(&document, "notify")["works"], true);
    let set_uid = check(&document, "set_uid");
    assert_eq!(set_uid["works"], false);
    assert!(set_uid["remedy"].as_str().unwrap().contains("root"));
}

#[test]
fn a_damaged_store_is_named() {
    let project = Project::new();
    project.write(".roar/roar.db", "no database");
    let (document, _) = says(project.roar(["doctor", "--json"]));
    assert_eq!(check(&document, "store")["works"], false);
}
