//! `roar reproduce`: what is made again, what that takes, and where nothing is run.

use std::fs;
use std::process::Command;

use roar_tests::{Project, digest, validate};
use serde_json::{Value, json};

/// `out` is made of `in`, and `final` of `out` and `other`.
fn two_steps() -> Project {
    let project = Project::new();
    project.write("in", "x").write("other", "y");
    run(&project, "cat in > out; echo made out");
    run(&project, "cat out other > final");
    project
}

fn run(project: &Project, line: &str) {
    let ran = project.trace_as("run", &["-q"], &["bash", "-c", line], |_| ());
    assert_eq!(ran.report.document["coverage"]["complete"], true);
}

/// Exit status, document and stderr.
fn reproduce(project: &Project, arguments: &[&str]) -> (i32, Value, String) {
    let mut roar = project.roar(["reproduce", "--json"]);
    let output = roar.args(arguments).output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if document != Value::Null {
        validate(&document);
    }
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), document, errors)
}

fn steps(document: &Value) -> Vec<&Value> {
    let steps = document["steps"].as_array().unwrap();
    steps.iter().map(|step| &step["step"]).collect()
}

fn verdicts(document: &Value) -> Vec<&Value> {
    let files = document["files"].as_array().unwrap();
    files.iter().map(|file| &file["verdict"]).collect()
}

/// The one line that says why nothing was made.
fn refusal(project: &Project, reference: &str) -> String {
    let jobs = project.document(&["log", "--json"])["jobs"].clone();
    let (status, document, errors) = reproduce(project, &[reference]);
    assert_eq!((status, document), (1, Value::Null), "{errors}");
    assert_eq!(project.document(&["log", "--json"])["jobs"], jobs);
    errors.lines().next().unwrap().to_owned()
}

#[test]
fn only_what_is_not_there_is_made_again() {
    let project = two_steps();
    let whole = digest(project.path("final"));
    fs::remove_file(project.path("final")).unwrap();
    let (status, document, errors) = reproduce(&project, &["final"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(2)]);
    assert_eq!(verdicts(&document), [&json!("same")]);
    assert_eq!(document["files"][0]["found"]["digest"], whole);
    assert_eq!(document["same"], true);
    assert_eq!(digest(project.path("final")), whole);

    // Recorded as anything else that is run: the last that made it is the new step now.
    for name in ["final", "out"] {
        fs::remove_file(project.path(name)).unwrap();
    }
    let (status, document, errors) = reproduce(&project, &["final"]);
    assert_eq!((status, steps(&document)), (0, vec![&json!(1), &json!(3)]));
    assert!(errors.contains("made out"), "{errors}");
    assert_eq!(digest(project.path("final")), whole);
    let dag = project.document(&["dag", "--json"]);
    assert_eq!(dag["nodes"].as_array().unwrap().len(), 5);

    // By its content, and by what it was before somebody wrote it by hand.
    project.write("final", "by hand");
    let (status, document, _) = reproduce(&project, &[&whole]);
    assert_eq!((status, &document["same"]), (0, &json!(true)));
    assert_eq!(digest(project.path("final")), whole);
}

#[test]
fn it_is_told_where_it_comes_out_otherwise() {
    let project = Project::new();
    run(&project, "date +%N > stamp; echo same > fixed");
    let (status, document, _) = reproduce(&project, &["stamp"]);
    assert_eq!((status, &document["same"]), (1, &json!(false)));
    assert_eq!(verdicts(&document), [&json!("changed")]);
    let output = project.roar(["reproduce", "@1"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text, "changed    stamp\n2 files: 1 same, 1 changed\n");
}

#[test]
fn a_dry_run_runs_nothing() {
    let project = two_steps();
    for name in ["final", "out"] {
        fs::remove_file(project.path(name)).unwrap();
    }
    let (status, document, errors) = reproduce(&project, &["-n", "final"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(steps(&document), [&json!(1), &json!(2)]);
    assert_eq!(document["ran"], false);
    assert_eq!(verdicts(&document), [&json!("missing")]);
    assert!(!project.has("out"));
    let output = project.roar(["reproduce", "-n", "final"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "@1    bash -c 'cat in > out; echo made out'\n\
                    @2    bash -c 'cat out other > final'\n";
    assert_eq!(text, expected);
}

#[test]
fn nothing_is_run_from_other_sources_or_over_what_was_made_since() {
    let project = two_steps();
    project.write("other", "z");
    assert_eq!(
        refusal(&project, "final"),
        "roar: cannot make final again (@2 read other, which is not what it was)"
    );
    project.write("other", "y");

    run(&project, "echo more >> out");
    fs::remove_file(project.path("final")).unwrap();
    // It takes what `out` was before.
    assert_eq!(
        refusal(&project, "final"),
        "roar: cannot make final again (that would overwrite out, which @3 wrote)"
    );
    fs::rename(project.path("out"), project.path("kept")).unwrap();
    let (status, document, errors) = reproduce(&project, &["final"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(1), &json!(2)]);
    assert_eq!(project.read("out"), "x");

    let unmade = refusal(&project, "in");
    assert_eq!(
        unmade,
        "roar: cannot make in again (no recorded task made it)"
    );
    let unknown = refusal(&project, "nothing");
    assert!(
        unknown.starts_with("roar: cannot make nothing again ("),
        "{unknown}"
    );
}

#[test]
fn what_somebody_changed_by_hand_is_kept_unless_it_is_asked_for() {
    let project = Project::new();
    run(&project, "echo 1 > settings; echo 2 > data");
    project.write("settings", "mine");
    assert_eq!(
        refusal(&project, "data"),
        "roar: cannot make data again (that would overwrite settings, which was changed since)"
    );
    let (status, _, errors) = reproduce(&project, &["settings"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(project.read("settings"), "1\n");
    // The same command once more is no other step.
    let (status, _, errors) = reproduce(&project, &["@1"]);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn what_is_not_written_again_is_not_called_the_same() {
    let project = Project::new();
    project.write("in", "x");
    run(&project, "[ -e out ] || cat in > out");
    let (status, document, errors) = reproduce(&project, &["out"]);
    assert_eq!((status, document), (1, Value::Null));
    let line = "roar: cannot make out again (out was not written this time)";
    assert!(errors.lines().any(|one| one == line), "{errors}");

    run(&project, "true");
    let nothing = refusal(&project, "@3");
    assert_eq!(nothing, "roar: cannot make @3 again (it left nothing)");
}

#[test]
fn what_a_shell_redirected_is_not_made_by_the_command_alone() {
    let project = Project::new();
    project.write("in", "b\na\n");
    let line = format!("{} run -q -- sort < in > out", roar_tests::roar().display());
    let status = Command::new("sh")
        .args(["-c", &line])
        .current_dir(project.path(""))
        .status();
    assert!(status.unwrap().success());
    assert_eq!(
        refusal(&project, "out"),
        "roar: cannot make out again (out was redirected by a shell)"
    );
}

#[test]
fn a_producer_runs_first_though_it_began_later() {
    let project = Project::new();
    let waits = "until [ -e made ]; do sleep 0.01; done; cat made > used";
    let mut consumer = project.roar(["run", "-q", "--", "bash", "-c", waits]);
    let mut consumer = consumer.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    run(&project, "echo 1 > temporary; mv temporary made");
    assert!(consumer.wait().unwrap().success());
    for name in ["made", "used"] {
        fs::remove_file(project.path(name)).unwrap();
    }
    let (status, document, errors) = reproduce(&project, &["used"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(1), &json!(2)]);
}

#[test]
fn a_step_that_ends_otherwise_is_the_last() {
    let project = Project::new();
    project.write("in", "x");
    run(&project, "cat in > out; exit ${STATUS:-0}");
    run(&project, "cat out > final; exit 3");
    for name in ["final", "out"] {
        fs::remove_file(project.path(name)).unwrap();
    }
    let mut roar = project.roar(["reproduce", "final"]);
    let output = roar.env("STATUS", "4").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line =
        "roar: cannot make final again (@1: it ended with status 4, and with status 0 before)";
    assert!(errors.contains(line), "{errors}");
    assert!(!project.has("final"));

    // The other ends as it did.
    fs::remove_file(project.path("out")).unwrap();
    let (status, document, errors) = reproduce(&project, &["final"]);
    assert_eq!((status, &document["same"]), (0, &json!(true)), "{errors}");
}

#[test]
fn an_input_that_was_gone_before_its_digest_is_not_taken_for_it() {
    let project = Project::new();
    project.write("count", "5\n");
    run(
        &project,
        "x=$(cat count); echo $((x+1)) > count; echo $x > out",
    );
    assert_eq!(
        refusal(&project, "out"),
        "roar: cannot make out again (@1 read count, which is not what it was)"
    );
    assert_eq!(project.read("count"), "6\n");
}

#[test]
fn the_hint_is_of_use_where_a_step_changed_what_it_read() {
    let project = two_steps();
    project.write("in", "other");
    let (_, _, errors) = reproduce(&project, &["out"]);
    let hint = "\nhint: `roar verify @1` says what differs\n";
    assert!(errors.ends_with(hint), "{errors}");
    project.write("list", "2\n1\n");
    run(&project, "sort -o list list");
    let (_, _, errors) = reproduce(&project, &["list"]);
    let hint = "\nhint: @3 changed it: put back what was before, or `roar run @3`\n";
    assert!(errors.ends_with(hint), "{errors}");
}

#[test]
fn a_log_of_all_steps_is_no_obstacle() {
    let project = Project::new();
    let roar = roar_tests::roar().display().to_string();
    let line = format!("for x in a b; do {roar} run -q -- sh -c 'echo 1 > '$x'; echo done'; done");
    let status = Command::new("sh")
        .args(["-c", &format!("({line}) > log < /dev/null")])
        .current_dir(project.path(""))
        .status();
    assert!(status.unwrap().success());
    fs::remove_file(project.path("b")).unwrap();
    let (status, document, errors) = reproduce(&project, &["b"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(2)]);
}

#[test]
fn what_else_changes_is_said() {
    let project = Project::new();
    run(&project, "echo run >> history; echo 1 > a");
    let (status, _, errors) = reproduce(&project, &["a"]);
    assert_eq!(status, 0);
    assert!(
        errors.contains("roar: warning: history came out otherwise\n"),
        "{errors}"
    );

    let project = Project::new();
    run(&project, "rm -rf o; mkdir o; echo 1 > o/x");
    run(&project, "echo 2 > o/y");
    let (status, _, errors) = reproduce(&project, &["o/x"]);
    assert_eq!(status, 0);
    assert!(
        errors.contains("roar: warning: o/y was taken away\n"),
        "{errors}"
    );
}

#[test]
fn what_steps_take_away_again_is_as_it_was() {
    let project = Project::new();
    run(&project, "echo 1 > a");
    run(&project, "mv a b");
    run(&project, "cat b > c");
    fs::remove_file(project.path("b")).unwrap();
    let (status, document, errors) = reproduce(&project, &["c"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(1), &json!(2), &json!(3)]);
    assert!(!errors.contains("warning"), "{errors}");
}

#[test]
fn what_was_moved_away_is_needed_again() {
    let project = Project::new();
    project.write("source", "x");
    run(&project, "mv source a");
    run(&project, "cat a > b");
    fs::remove_file(project.path("a")).unwrap();
    assert_eq!(
        refusal(&project, "b"),
        "roar: cannot make b again (@1 read source, which is not what it was)"
    );
    project.write("source", "x");
    let (status, _, errors) = reproduce(&project, &["b"]);
    assert_eq!(status, 0, "{errors}");
}

#[test]
fn a_link_leads_where_it_led() {
    let project = Project::new();
    let lead = |to: &str| {
        let _ = fs::remove_file(project.path("link"));
        std::os::unix::fs::symlink(to, project.path("link")).unwrap();
    };
    project.write("one", "1").write("two", "2");
    lead("one");
    run(&project, "cat link > out");
    lead("two");
    assert_eq!(
        refusal(&project, "out"),
        "roar: cannot make out again (@1 read one through link, which does not lead there now)"
    );
    lead("./one");
    assert_eq!(reproduce(&project, &["out"]).0, 0);

    run(&project, "ln -s two own; cat own > by_own; rm own");
    let (status, _, errors) = reproduce(&project, &["by_own"]);
    assert_eq!(status, 0, "{errors}");

    run(&project, "echo 3 > three; ln -sfn three link");
    run(&project, "cat link > out");
    fs::remove_file(project.path("link")).unwrap();
    let (status, document, errors) = reproduce(&project, &["out"]);
    assert_eq!(status, 0, "{errors}");
    assert_eq!(steps(&document), [&json!(5), &json!(6)]);
}

#[test]
fn of_a_directory_that_was_taken_away_nothing_is_left() {
    let project = Project::new();
    run(&project, "mkdir d; echo 1 > d/a; echo 2 > d/b");
    run(&project, "rm -r d");
    assert_eq!(
        refusal(&project, "d"),
        "roar: cannot make d again (recorded tasks took away what they made there)"
    );
}

#[test]
fn nothing_is_written_through_a_link_that_was_none() {
    let project = Project::new();
    run(&project, "echo 1 > a");
    fs::remove_file(project.path("a")).unwrap();
    project.write("precious", "mine");
    std::os::unix::fs::symlink("precious", project.path("a")).unwrap();
    let status = project.roar(["reproduce", "@1"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(project.read("precious"), "mine");
}

#[test]
fn a_file_outside_of_the_project_is_made_again() {
    let project = Project::new();
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("a").display().to_string();
    run(&project, &format!("echo 1 > {path}"));
    fs::remove_file(&path).unwrap();
    let (status, document, errors) = reproduce(&project, &[&path]);
    assert_eq!((status, &document["same"]), (0, &json!(true)), "{errors}");
}

#[test]
fn nothing_is_what_nothing_stands_for() {
    let project = two_steps();
    let error = refusal(&project, "");
    assert!(error.contains("(no step, task, file"), "{error}");
}

#[test]
fn a_signal_ends_the_step_and_then_the_whole() {
    let project = Project::new();
    run(
        &project,
        "[ ! -e slow ] || { : > began; exec sleep 20; }; echo 1 > a",
    );
    fs::remove_file(project.path("a")).unwrap();
    project.write("slow", "");
    let mut roar = project.roar(["reproduce", "a"]);
    let roar = roar.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(10);
    assert!(roar_tests::wait_until(limit, || project.has("began")));
    let pid = nix::unistd::Pid::from_raw(roar.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = roar.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("it ended with signal 15, and with status 0 before"),
        "{errors}"
    );
    assert!(!project.has("a"));
}
