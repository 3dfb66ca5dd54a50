//! Without a listener: ptrace, and what becomes of the program when the tracer breaks.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use roar_tests::{Project, children, roar, wait_until};

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

#[test]
fn where_there_is_a_listener_already_ptrace_is_used_and_said() {
    let project = Project::new();
    project.write("in", "x");
    let listener = project.compile("listener", &[]);
    let below = |options: &[&str]| {
        let mut command = project.roar(["trace"]);
        command
            .arg("--json")
            .arg(project.report_path())
            .args(options);
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut outer = std::process::Command::new(&listener);
        outer
            .arg(roar())
            .args(arguments)
            .args(["--", "cp", "in", "out"]);
        let output = outer
            .current_dir(project.path(""))
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap();
        assert!(output.status.success());
        (String::from_utf8(output.stderr).unwrap(), project.report())
    };
    let (errors, report) = below(&[]);
    assert!(errors.contains("traced by ptrace"), "{errors}");
    assert_eq!(report.document["tracer"]["backend"], "ptrace");
    assert!(is_complete(&report), "{:?}", report.gaps());
    report.assert(&["in open"], &["out open"], &[]);

    let (errors, report) = below(&["--backend", "notify"]);
    assert!(!errors.contains("ptrace"), "{errors}");
    assert_eq!(report.gaps(), ["backend"]);
    assert!(report.reads().is_empty());
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
        let mut command = std::process::Command::new("env");
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
