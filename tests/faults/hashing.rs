//! Hashing that takes long is not what anybody must wait for.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roar_tests::{Project, children, wait_until};

use crate::processes::LIMIT;

#[test]
fn an_interrupt_after_the_command_leaves_the_rest_unhashed() {
    let project = Project::new();
    project.write("small", "s");
    let mut roar = project.roar(["trace", "-q", "--json"]);
    roar.arg(project.report_path());
    // Holes, but nobody knows before they were read.
    let line = "cat small > copy; truncate -s 500G large; echo done";
    roar.args(["--", "bash", "-c", line]);
    let out = std::fs::File::create(project.path("out")).unwrap();
    let mut roar = roar.stdout(out).stdin(Stdio::null()).spawn().unwrap();
    let has_ended = || {
        let commands = children(roar.id()).into_iter().flat_map(children);
        let mut names = commands.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")));
        !names.any(|name| name.is_ok_and(|name| name.trim() == "bash"))
    };
    assert!(wait_until(LIMIT, || project.read("out") == "done\n" && has_ended()));
    // The first may be taken for the command's, which has just ended.
    let pid = Pid::from_raw(roar.id().cast_signed());
    let mut is_over = || {
        let _ = kill(pid, Signal::SIGINT);
        roar.try_wait().unwrap().is_some()
    };
    assert!(wait_until(LIMIT, &mut is_over));
    assert_eq!(roar.wait().unwrap().code(), Some(0));
    let report = project.report();
    assert_eq!(report.file("writes", "large")["state"], "skipped");
    assert_eq!(report.document["run"]["exit_code"], 0);
    assert_eq!(report.document["coverage"]["complete"], true);
}
