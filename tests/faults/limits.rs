//! A command under limits (setrlimit(2)) that roar's processes have inherited as well.

use std::process::Command;

use roar_tests::{Project, is_root, roar};
use serde_json::{Value, json};

/// Runs a command under a limit of `ulimit`: its status, and the report.
fn limited(project: &Project, user: &[&str], limit: &str, line: &str) -> (i32, Value) {
    let mut command = Command::new(user.first().unwrap_or(&"env"));
    let traced = format!("ulimit {limit}; exec \"$@\"");
    command.args(user.get(1..).unwrap_or_default());
    command.args(["bash", "-c", &traced, "bash"]).arg(roar());
    // The report is no file, which might be too large.
    command.args(["trace", "-q", "--no-hash", "--accel", "off", "--json", "-"]);
    command.args(["--", "sh", "-c", line]);
    let output = command.current_dir(project.path("")).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), report)
}

/// A project of an ordinary user's, and how to be that user.
fn of_a_user() -> (Project, [&'static str; 5]) {
    let project = Project::new();
    std::os::unix::fs::chown(project.path(""), Some(65534), Some(65534)).unwrap();
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--",
    ];
    (project, user)
}

fn many_files(project: &Project) {
    for number in 0..3000 {
        project.write(format!("many/a_rather_long_name_{number}"), "");
    }
}

const READS: &str = "cat many/* > /dev/null; echo x > out; exit 3";
/// Enough for the supervisor to need over a second.
const LONG: &str = "i=0; while [ $i -lt 60 ]; do cat many/* > /dev/null || exit 9; \
                    i=$((i+1)); done; exit 3";

#[test]
fn what_a_limit_to_files_takes_from_the_record_is_a_gap() {
    for limit in ["-f 4", "-f 100", "-f 100000"] {
        let project = Project::new();
        many_files(&project);
        let (status, report) = limited(&project, &[], limit, READS);
        let task = &report["tasks"][0];
        assert_eq!((status, &task["exit_code"]), (3, &json!(3)));
        // Who may lift the limit loses nothing.
        let is_whole = task["reads"].as_array().unwrap().len() == 3000;
        assert_eq!(report["coverage"]["complete"], is_whole, "{limit}");
        assert!(is_whole || report["coverage"]["gaps"][0]["kind"] == "lost_records");
        assert!(is_whole || limit != "-f 100000");
    }
}

#[test]
fn who_cannot_lift_the_limit_is_replaced_in_time() {
    if !is_root("who_cannot_lift_the_limit_is_replaced_in_time") {
        return;
    }
    let (project, user) = of_a_user();
    many_files(&project);
    let (status, report) = limited(&project, &user, "-t 1", LONG);
    assert_eq!(status, 3);
    assert_eq!(report["coverage"]["gaps"][0]["kind"], "supervisor_died");
}
