//! Single calls, from Python.

use std::process::Command;

use roar_tests::{Project, Report, is_root, python};

#[test]
fn open_for_reading_is_an_input_though_no_byte_is_read() {
    let project = Project::new();
    project.write("a", "x").write("b", "y").write("c", "z");
    let report = project.python("open('a').read(); open('b'); open('out', 'w').write('o')");
    report.assert(&["a open", "b open"], &["out open"], &[]);
}

#[test]
fn stat_and_listing_are_no_inputs() {
    let project = Project::new();
    project.write("a", "x");
    let program = "import os; os.stat('a'); os.access('a', 4); os.listdir('.')";
    project.python(program).assert(&[], &[], &[]);
}

#[test]
fn truncating_an_existing_file_does_not_read_it() {
    let project = Project::new();
    project.write("a", "old").write("b", "old");
    let report = project.python("open('a', 'w').write('new'); open('b', 'w+').write('new')");
    report.assert(&[], &["a open", "b open"], &[]);
}

#[test]
fn an_empty_file_that_was_created_is_an_output() {
    let project = Project::new();
    let report = project.python("open('_SUCCESS', 'w')");
    report.assert(&[], &["_SUCCESS open"], &[]);
    assert_eq!(report.file("writes", "_SUCCESS")["size"], 0);
}

#[test]
fn update_in_place_is_both() {
    let project = Project::new();
    project.write("a", "old content");
    let report = project.python("f = open('a', 'r+'); f.write('new'); f.close()");
    assert_eq!(report.files("reads").len(), 1);
    assert_eq!(report.writes(), ["a modify"]);
    assert_eq!(project.read("a"), "new content");
}

#[test]
fn open_for_writing_without_a_change_is_no_output() {
    let project = Project::new();
    project.write("a", "old").write("b", "old");
    let report = project.python("open('a', 'r+').read(); open('b', 'a')");
    report.assert(&["a open", "b append"], &[], &[]);
}

#[test]
fn reading_what_one_wrote_is_no_input() {
    let project = Project::new();
    let report = project.python("open('a', 'w').write('x'); open('a').read()");
    report.assert(&[], &["a open"], &[]);
}

#[test]
fn a_temporary_file_that_is_renamed_leaves_only_its_last_name() {
    let project = Project::new();
    let program = "import os; open('a.tmp', 'w').write('x'); os.rename('a.tmp', 'a')";
    let report = project.python(program);
    report.assert(&[], &["a open+rename"], &[]);
    assert_eq!(report.ephemeral(), 0);
}

#[test]
fn a_file_made_and_deleted_is_counted_and_not_named() {
    let project = Project::new();
    let program = "import os; open('t', 'w').write('x'); os.unlink('t')";
    let report = project.python(program);
    report.assert(&[], &[], &[]);
    assert_eq!(report.ephemeral(), 1);
}

#[test]
fn a_file_made_and_deleted_is_no_input_where_its_descriptor_is_opened() {
    let project = Project::new();
    project.write("a", "x");
    let report =
        project.shell("echo y > t; exec 3<> t 4< a; rm t a; cat /dev/fd/3 /proc/self/fd/3 - <&4");
    assert_eq!(report.files("reads").len(), 1);
    report.file("reads", "a");
    assert_eq!(report.writes(), [""; 0]);
    assert_eq!(
        (report.deletes(), report.ephemeral()),
        (vec!["a".to_owned()], 1)
    );
}

#[test]
fn a_foreign_file_that_is_deleted_is_neither_input_nor_output() {
    let project = Project::new();
    project.write("a", "x");
    let report = project.python("import os; os.unlink('a')");
    report.assert(&[], &[], &["a"]);
    assert_eq!(report.ephemeral(), 0);
}

#[test]
fn truncating_to_a_length_reads_and_to_nothing_does_not() {
    let project = Project::new();
    project.write("a", "12345").write("b", "12345");
    let report = project.python("import os; os.truncate('a', 2); os.truncate('b', 0)");
    assert_eq!(report.writes(), ["a truncate", "b truncate"]);
    assert_eq!(report.files("reads").len(), 1, "{:?}", report.reads());
    assert_eq!(report.file("reads", "a")["how"][0], "truncate");
}

#[test]
fn a_hard_link_is_one_artifact_under_two_names() {
    let project = Project::new();
    let program = "import os; open('a', 'w').write('x'); os.link('a', 'b')";
    let report = project.python(program);
    let writes = report.files("writes");
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[0]["digest"], writes[1]["digest"]);
    assert!(report.reads().is_empty());
}

#[test]
fn a_directory_that_is_renamed_takes_its_files_along() {
    let project = Project::new();
    let program = "import os; os.mkdir('t'); open('t/a', 'w').write('x'); os.rename('t', 'd')";
    let report = project.python(program);
    assert_eq!(report.files("writes").len(), 1, "{:?}", report.writes());
    assert_eq!(report.file("writes", "d/a")["state"], "exact");
    assert!(report.deletes().is_empty());
}

#[test]
fn failing_opens_are_nothing() {
    let project = Project::new();
    project.write("there", "x").write("dir/x", "");
    let program = "
import os
for attempt in (
    lambda: open('missing'),
    lambda: open('dir', 'w'),
    lambda: os.open('there', os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    lambda: open('missing/out', 'w'),
    lambda: os.unlink('missing'),
    lambda: os.rename('missing', 'out'),
):
    try:
        attempt()
    except OSError:
        continue
    raise SystemExit('it worked')
";
    project.python(program).assert(&[], &[], &[]);
}

#[test]
fn opens_that_may_not_be_are_nothing() {
    if !roar_tests::is_root("opens_that_may_not_be_are_nothing") {
        return;
    }
    let project = Project::new();
    project.write("secret", "x").write("fixed", "y");
    let mode = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(project.path(name), mode).unwrap();
    };
    mode("secret", 0o600);
    mode("fixed", 0o644);
    let line =
        "! cat secret 2>/dev/null && ! : 2>/dev/null >fixed && ! : 2>/dev/null >new && cat fixed";
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let shell = ["bash", "-c", line];
    let report = project.trace(&[&user[..], &shell[..]].concat());
    report.assert(&["fixed open"], &[], &[]);
}

#[test]
fn a_descriptor_under_proc_is_the_file() {
    let project = Project::new();
    project.write("a", "x");
    let program = "import os; fd = os.open('a', os.O_PATH); open(f'/proc/self/fd/{fd}').read()";
    assert_eq!(project.python(program).reads(), ["a open"]);
}

#[test]
fn a_failing_program_keeps_its_record() {
    let project = Project::new();
    let program = "open('a', 'w').write('x'); raise SystemExit(7)";
    let traced = project.trace_with(&[], &[&python(), "-c", program]);
    assert_eq!(traced.output.status.code(), Some(7));
    traced.report.assert(&[], &["a open"], &[]);
    assert_eq!(traced.report.document["run"]["exit_code"], 7);
    assert_eq!(traced.report.document["tasks"][0]["status"], "failed");
}

#[test]
fn a_killed_program_leaves_what_is_on_disk() {
    let project = Project::new();
    let program = "
import os
f = open('a', 'w'); f.write('half'); f.flush()
os.kill(os.getpid(), 9)";
    let traced = project.trace_with(&[], &[&python(), "-c", program]);
    traced.report.assert(&[], &["a open"], &[]);
    assert_eq!(traced.report.document["run"]["signal"], 9);
    assert_eq!(traced.report.document["tasks"][0]["status"], "killed");
    assert_eq!(traced.report.document["processes"][0]["signal"], 9);
}

/// Where roar may not ask, as in a container, the kernel says 0 of everybody.
#[test]
fn how_another_users_process_ended_is_not_guessed() {
    if !is_root("how_another_users_process_ended_is_not_guessed") {
        return;
    }
    let project = Project::new();
    let script = "setpriv --reuid 1000 --clear-groups sh -c 'exit 3'; sleep 0.1; exit 0";
    let mut roar = Command::new("setpriv");
    roar.args(["--bounding-set", "-sys_ptrace", "--", "env"]);
    roar.arg(roar_tests::roar()).args(["trace", "-q", "--json"]);
    roar.arg(project.report_path())
        .args(["--", "bash", "-c", script]);
    assert!(roar.status().unwrap().success());
    let report = project.report();
    let processes = report.document["processes"].as_array().unwrap();
    let other = processes
        .iter()
        .find(|it| it["argv"][0] == "setpriv")
        .unwrap();
    assert_eq!(other["exit_code"], 3);
}

/// How the shells of a trace ended: signals and exit codes.
fn ends(report: &Report) -> Vec<(Option<i64>, Option<i64>)> {
    let processes = report.document["processes"].as_array().unwrap().iter();
    let of_shells = processes.filter(|it| it["argv"][0] == "sh");
    of_shells
        .map(|it| (it["signal"].as_i64(), it["exit_code"].as_i64()))
        .collect()
}

#[test]
fn how_each_process_ended_is_known() {
    let program = "
import subprocess, time
lines = ['kill -9 $$', 'kill -40 $$', 'exit 3']
shells = [subprocess.Popen(['sh', '-c', line]) for line in lines]
time.sleep(1)
for shell in shells: shell.wait()";
    let report = Project::new().python(program);
    let known = [(Some(9), None), (Some(40), None), (None, Some(3))];
    assert_eq!(ends(&report), known);
}

/// Before Linux 6.15 nothing is left of a process that was killed once its parent has waited for
/// it, which may be before anybody else looks.
#[test]
fn how_a_process_was_killed_is_known_or_left_open() {
    let project = Project::new();
    let script = "sh -c 'kill -9 $$'; sh -c 'kill -40 $$'; sh -c 'exit 3'; sleep 0.1; exit 0";
    let traced = project.trace_with(&[], &["bash", "-c", script]);
    let [first, second, third] = ends(&traced.report)[..] else {
        panic!("{:?}", traced.report.document["processes"])
    };
    assert!([(Some(9), None), (None, None)].contains(&first));
    assert!([(Some(40), None), (None, None)].contains(&second));
    assert_eq!(third, (None, Some(3)));
}

#[test]
fn a_renamed_directory_with_too_many_files_is_a_gap() {
    let project = Project::new();
    for i in 0..10_001 {
        project.write(format!("d/{i}"), "");
    }
    let traced = project.trace_with(&["--no-hash"], &["mv", "d", "e"]);
    assert_eq!(traced.report.gaps(), ["lost_records"]);
    assert_eq!(traced.report.document["coverage"]["complete"], false);
}
