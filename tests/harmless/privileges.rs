//! Ordinary users, and programs that give privileges. All of it needs root, to become
//! somebody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use roar_tests::{Project, is_root, roar};

const NOBODY: u32 = 65534;
const BECOME: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
const WITHOUT_ANYTHING: [&str; 4] = [
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
];

/// A project of nobody's with roar in it, since the build directory may be closed, and a
/// set-uid `id` of root's.
fn project() -> Project {
    let project = Project::new();
    fs::copy(roar(), project.path("roar")).unwrap();
    fs::copy("/usr/bin/id", project.path("id")).unwrap();
    let set_uid = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(project.path("id"), set_uid).unwrap();
    project.write("in", "x").write("old", "y");
    for name in ["", "in", "old"] {
        chown(project.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    project
}

fn run(project: &Project, words: &[&[&str]]) -> Output {
    let words = words.concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(project.path(""));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_user_without_any_capability_gets_the_same_record() {
    if !is_root("a_user_without_any_capability_gets_the_same_record") {
        return;
    }
    let script = "cat in > copy; echo more >> old; mv copy moved; cp moved kept; rm moved; \
                  (cd /; cat /etc/passwd) > users; bash -c 'exec env -i /bin/cp kept last'";
    let record = |before: &[&str]| {
        let project = project();
        let trace = ["./roar", "trace", "-q", "--json", "report.json", "--"];
        let output = run(&project, &[before, &trace, &["bash", "-ec", script]]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        let report = project.parse(&fs::read(project.path("report.json")).unwrap());
        assert_eq!(report.gaps(), Vec::<String>::new());
        (report.reads(), report.writes(), report.deletes())
    };
    let ordinary = record(&[&BECOME[..], &WITHOUT_ANYTHING].concat());
    assert_eq!(ordinary, record(&[]));
    assert!(ordinary.0.contains(&"in open".to_owned()), "{ordinary:?}");
    assert!(ordinary.1.contains(&"last open".to_owned()), "{ordinary:?}");
}

#[test]
fn a_set_uid_program_keeps_its_privilege_below_a_roar_of_root() {
    if !is_root("a_set_uid_program_keeps_its_privilege_below_a_roar_of_root") {
        return;
    }
    let project = project();
    let id = ["./id", "-u"];
    let untraced = run(&project, &[&BECOME, &id]);
    assert_eq!(text(&untraced.stdout), "0\n", "the test's own premise");
    let traced = run(&project, &[&["./roar", "trace", "--"], &BECOME, &id]);
    assert_eq!(text(&traced.stdout), "0\n");
    assert!(!text(&traced.stderr).contains("privilege"));
}

#[test]
fn a_set_uid_program_without_its_privilege_is_said_once() {
    if !is_root("a_set_uid_program_without_its_privilege_is_said_once") {
        return;
    }
    let project = project();
    let trace = ["./roar", "trace", "--json", "report.json", "--"];
    let command = ["bash", "-c", "./id -u; ./id -u; cat in"];
    let traced = run(&project, &[&BECOME, &trace, &command]);
    assert_eq!(text(&traced.stdout), "65534\n65534\nx");
    let errors = text(&traced.stderr);
    let said = errors.lines().filter(|line| line.contains("privilege"));
    let why = "roar: id ran without its privilege (set-uid programs do, where roar is not root)";
    assert_eq!(said.collect::<Vec<_>>(), [why]);
    let report = project.parse(&fs::read(project.path("report.json")).unwrap());
    assert_eq!(report.gaps(), Vec::<String>::new());
    assert_eq!(report.document["coverage"]["complete"], true);
}

#[test]
fn a_privilege_that_was_given_up_before_is_not_roars_to_speak_of() {
    if !is_root("a_privilege_that_was_given_up_before_is_not_roars_to_speak_of") {
        return;
    }
    let project = project();
    let trace = ["./roar", "trace", "--", "./id", "-u"];
    let traced = run(&project, &[&BECOME, &WITHOUT_ANYTHING, &trace]);
    assert_eq!(text(&traced.stdout), "65534\n");
    assert!(!text(&traced.stderr).contains("privilege"));
}
