//! What Yama asks for where `kernel.yama.ptrace_scope` is 1 (Documentation/admin-guide/LSM):
//! whoever reads a process is its ancestor, or was named by it. Kernels without Yama do not
//! ask; that roar would be granted it is seen from outside.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use roar_tests::{Project, bin_dir, children, wait_until};

fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.map_or(0, |pid| pid.trim().parse().unwrap())
}

#[test]
fn the_supervisor_is_an_ancestor_of_all_that_it_reads() {
    let project = Project::new();
    // Each writes its process id and waits: a child, an orphan, one of another session.
    let waits = "echo $$ >> pids; while [ -e go ]; do sleep .1; done";
    project
        .write("wait", waits)
        .write("go", "")
        .write("pids", "");
    let script = "sh wait & (sh wait &); (setsid sh -c 'setsid sh wait &' &); wait";
    let mut roar = project.roar(["trace", "-q", "--wait", "tree", "--", "sh", "-c", script]);
    let mut roar = roar.spawn().unwrap();
    let pids = || -> Vec<u32> {
        let text = project.read("pids");
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    assert!(wait_until(Duration::from_secs(20), || pids().len() == 3));
    let [supervisor] = children(roar.id())[..] else {
        panic!("one supervisor");
    };
    let has_it_above = |pid: u32| {
        let mut above = std::iter::successors(Some(pid), |pid| Some(parent(*pid)));
        above
            .by_ref()
            .take_while(|pid| *pid > 1)
            .any(|pid| pid == supervisor)
    };
    let strangers: Vec<u32> = pids()
        .into_iter()
        .filter(|pid| !has_it_above(*pid))
        .collect();
    fs::remove_file(project.path("go")).unwrap();
    assert!(roar.wait().unwrap().success());
    assert_eq!(strangers, Vec::<u32>::new());
}

#[test]
fn a_worker_names_the_supervisor_beside_it_before_its_program_begins() {
    let project = Project::new();
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-e",
        "trace=prctl,execve,fork,vfork,clone,clone3",
        "-o",
        "calls",
    ]);
    strace
        .arg(bin_dir().join("roar-worker"))
        .args(["/bin/true"]);
    strace.env("ROAR_FRAGMENTS", project.path("fragments"));
    let status = strace
        .current_dir(project.path(""))
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("strace").success());
    let calls = project.read("calls");
    let at = |what: &str| calls.lines().position(|line| line.contains(what));
    let named = at("prctl(PR_SET_PTRACER, ").unwrap_or_else(|| panic!("{calls}"));
    assert!(named < at("execve(\"/bin/true\"").unwrap(), "{calls}");
    // That of a process that was forked by one that the worker had forked.
    let line = calls.lines().nth(named).unwrap();
    let (_, pid) = line.split_once("PR_SET_PTRACER, ").unwrap();
    let pid: u32 = pid.split(')').next().unwrap().parse().unwrap();
    let worker = line.split_whitespace().next().unwrap();
    assert!(calls.lines().any(|line| {
        line.contains("= ") && line.ends_with(&format!("= {pid}")) && !line.starts_with(worker)
    }));
}
