//! Which version of a file a record speaks of.

use roar_tests::{Project, digest};

#[test]
fn a_read_before_an_overwrite_is_never_given_the_new_digest() {
    let project = Project::new();
    project.write("a", "old");
    let old = digest(project.path("a"));
    let report = project.python("open('a').read(); open('a', 'w').write('new content')");
    assert_eq!(report.writes(), ["a open"]);
    assert_eq!(report.files("reads").len(), 1);
    let read = report.file("reads", "a");
    match read["state"].as_str().unwrap() {
        "exact" => assert_eq!(read["digest"], old),
        "superseded" => assert!(read["digest"].is_null()),
        other => panic!("{other}"),
    }
}

#[test]
fn writing_the_same_again_is_an_output_that_did_not_change() {
    let project = Project::new();
    project.write("a", "same");
    // The old digest is known when the file was read and there was time to hash it.
    let program = "
import time
t = open('a').read()
time.sleep(1.5)
open('a', 'w').write(t)";
    let report = project.python(program);
    assert_eq!(report.reads(), ["a open"]);
    assert_eq!(report.writes(), ["a open [unchanged]"]);
}

#[test]
fn what_an_earlier_run_hashed_is_known_when_it_is_overwritten() {
    let project = Project::new();
    project.write("a", "2\n1\n").write("b", "gone");
    let gone = digest(project.path("b"));
    assert_eq!(project.shell("cat a b").reads(), ["a open", "b open"]);
    let report = project.shell("cat b; echo 2 > a; echo 1 >> a; rm b; touch a");
    assert_eq!(report.file("reads", "b")["digest"], gone);
    assert_eq!(report.writes(), ["a open+append+modify [unchanged]"]);
    let report = project.shell("touch a");
    assert_eq!(report.reads(), ["a modify"]);
    assert_eq!(report.writes(), ["a modify [unchanged]"]);
}

#[test]
fn without_hashing_nothing_has_a_digest() {
    let project = Project::new();
    project.write("a", "x");
    let traced = project.trace_with(&["--no-hash"], &["cp", "a", "b"]);
    assert_eq!(traced.report.reads(), ["a open [skipped]"]);
    assert_eq!(traced.report.writes(), ["b open [skipped]"]);
}

#[test]
fn inputs_beyond_the_limit_are_not_hashed() {
    let project = Project::new();
    project.write("big", [0; 5000]).write("small", "x");
    let command = ["sh", "-c", "cat big small > both"];
    let traced = project.trace_with(&["--hash-limit", "4K"], &command);
    assert_eq!(traced.report.reads(), ["big open [skipped]", "small open"]);
    assert_eq!(traced.report.writes(), ["both open"]);
}
