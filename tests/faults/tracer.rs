//! Without a listener: ptrace or the preloaded library, and what becomes of the program when
//! the supervisor breaks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roar_tests::{Project, Report, children, is_root, roar, wait_until};

use crate::processes::{LIMIT, Traced, is_complete, send};

const PTRACE: [&str; 2] = ["--backend", "ptrace"];

impl Traced {
    fn tracer(&self) -> u32 {
        let [tracer] = children(self.roar.id())[..] else {
            panic!("one tracer");
        };
        tracer
    }
}

#[test]
fn without_its_tracer_the_program_goes_on() {
    for delay in [0, 50, 300] {
        let traced = Traced::start_with(&PTRACE, 50_000);
        std::thread::sleep(Duration::from_millis(delay));
        send(traced.tracer(), Signal::SIGKILL);
        let report = traced.end();
        assert_eq!(report.gaps(), ["supervisor_died"]);
        assert!(!is_complete(&report));
        assert_eq!(report.document["run"]["exit_code"], 0);
        assert_eq!(report.document["tracer"]["backend"], "ptrace");
        assert_eq!(report.reads(), ["in open"]);
    }
}

#[test]
fn a_tracer_that_hangs_holds_the_program_up_for_seconds_only() {
    let traced = Traced::start_with(&PTRACE, 50_000);
    send(traced.tracer(), Signal::SIGSTOP);
    let began = Instant::now();
    let report = traced.end();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert_eq!(report.gaps(), ["supervisor_died"]);
}

/// `cp in out` traced where there is a listener already: what roar said, and its report.
fn below_a_listener(words: &[&str], options: &[&str]) -> (String, Report) {
    let project = Project::new();
    project.write("in", "x");
    let mut outer = Command::new(project.compile("listener", &[]));
    outer.args(words).arg(roar()).args(["trace", "--json"]);
    outer.arg(project.report_path()).args(options);
    outer
        .args(["--", "cp", "in", "out"])
        .current_dir(project.path(""));
    let output = outer.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(project.read("out"), "x");
    (String::from_utf8(output.stderr).unwrap(), project.report())
}

#[test]
fn where_there_is_a_listener_already_ptrace_is_used_and_said() {
    let (errors, report) = below_a_listener(&[], &[]);
    assert!(errors.contains("traced by ptrace"), "{errors}");
    assert_eq!(report.document["tracer"]["backend"], "ptrace");
    assert!(is_complete(&report), "{:?}", report.gaps());
    report.assert(&["in open"], &["out open"], &[]);

    let (errors, report) = below_a_listener(&[], &["--backend", "notify"]);
    assert!(!errors.contains("ptrace"), "{errors}");
    assert_eq!(report.gaps(), ["backend"]);
    assert!(report.reads().is_empty());
}

#[test]
fn where_there_is_no_ptrace_either_the_library_is_used_and_said() {
    let (errors, report) = below_a_listener(&["-p"], &[]);
    assert!(errors.contains("traced by preload"), "{errors}");
    assert_eq!(report.document["tracer"]["backend"], "preload");
    assert_eq!(report.gaps(), ["backend"]);
    report.assert(&["in open"], &["out open"], &[]);

    let (_, report) = below_a_listener(&["-p"], &["--backend", "ptrace"]);
    assert_eq!(report.gaps(), ["backend"]);
    assert!(report.reads().is_empty());
}

#[test]
fn a_preloaded_program_goes_on_without_its_supervisor() {
    for (signal, limit) in [(Signal::SIGKILL, 5), (Signal::SIGSTOP, 15)] {
        let traced = Traced::start_with(&["--backend", "preload"], 50_000);
        send(traced.tracer(), signal);
        let began = Instant::now();
        let report = traced.end();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(limit), "{signal} {took:?}");
        assert_eq!(report.gaps(), ["backend", "supervisor_died"]);
    }
}

#[test]
fn a_program_that_forbids_itself_sockets_is_not_killed_for_ours() {
    let project = Project::new();
    project.write("in", "the end\n");
    let program = project.compile("sandboxed", &[]);
    for backend in ["notify", "ptrace", "preload"] {
        for way in ["prctl", "syscall"] {
            let command = [program.as_str(), way, "in"];
            let traced = project.trace_with(&["--backend", backend], &command);
            assert_eq!(traced.output.status.code(), Some(0), "{backend} {way}");
            assert_eq!(traced.output.stdout, b"the end\n");
        }
    }
}

#[test]
fn both_let_signals_stops_and_an_exec_by_a_thread_through() {
    for backend in ["notify", "ptrace"] {
        let project = Project::new();
        project.write("in", "the end\n");
        let stops = project.compile("stops", &["-pthread"]);
        let traced = project.trace_with(&["--backend", backend], &[stops.as_str(), "in"]);
        let said = String::from_utf8(traced.output.stdout).unwrap();
        let expected = "got 42, stopped 1 by 19, continued 1, exit 7\nthe end\n";
        assert_eq!(said, expected, "{backend}");
        assert_eq!(traced.output.status.code(), Some(0));
        traced.report.assert(&["in open"], &[], &[]);
    }
}

#[test]
fn a_parent_that_ignores_its_children_makes_no_difference() {
    for backend in ["notify", "ptrace"] {
        let project = Project::new();
        let mut command = Command::new("env");
        command
            .arg("--ignore-signal=CHLD")
            .arg(roar())
            .args(["trace", "--backend", backend]);
        command.arg("--json").arg(project.report_path());
        command.args(["--", "sh", "-c", "echo x > out; exit 3"]);
        let mut child = command.current_dir(project.path("")).spawn().unwrap();
        assert!(wait_until(LIMIT, || child.try_wait().unwrap().is_some()));
        assert_eq!(child.wait().unwrap().code(), Some(3), "{backend}");
        project.report().assert(&[], &["out open"], &[]);
    }
}

/// What roar opens waits for the program's decision, and the program for roar.
#[test]
fn a_program_that_decides_on_opens_is_held_up_for_seconds_only() {
    if !is_root("a_program_that_decides_on_opens_is_held_up_for_seconds_only") {
        return;
    }
    for backend in ["notify", "ptrace"] {
        let project = Project::new();
        project.write("files/in", "x");
        project.write("files/script", "#!/bin/sh\nexit 7\n");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.path("files/script"), executable).unwrap();
        let decides = project.compile("decides", &[]);
        let began = Instant::now();
        let options = ["--backend", backend];
        let traced = project.trace_with(&options, &[decides.as_str(), "files"]);
        let took = began.elapsed();
        assert_eq!(traced.output.status.code(), Some(7), "{backend}");
        assert!(took < Duration::from_secs(15), "{backend} {took:?}");
        if backend == "ptrace" {
            assert_eq!(traced.report.gaps(), ["supervisor_died"]);
        }
    }
}
