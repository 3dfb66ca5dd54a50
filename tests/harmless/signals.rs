//! Signals interrupt and restart as ever; profilers' timers do no harm.

use std::process::Command;

use roar_tests::{Project, backends, roar};

use crate::compare::Pair;

fn same(script: &str) {
    let project = Project::new();
    let program = project.compile("signals", &[]);
    let report = Pair::new(script, &[&program]).same_but(|_| false);
    assert_eq!(report.gaps(), Vec::<String>::new());
}

#[test]
fn no_call_fails_for_a_profiling_timer() {
    same("for i in 1 2 3; do \"$1\" prof file 1000; done");
}

#[test]
fn no_call_fails_for_a_timer_of_a_millisecond() {
    same("for i in 1 2 3; do \"$1\" real file 1000; done");
}

/// Python's handlers are set without SA_RESTART.
#[test]
fn no_call_is_interrupted_before_it_begins() {
    let project = Project::new();
    let program = roar_tests::workspace().join("tests/programs/interrupted.py");
    let traced = project.trace_with(&[], &["python3", program.to_str().unwrap(), "1000"]);
    assert_eq!(String::from_utf8_lossy(&traced.output.stdout), "{}\n");
}

#[test]
fn a_waiting_open_is_interrupted() {
    same("mkfifo fifo; \"$1\" interrupted fifo");
}

#[test]
fn a_waiting_open_is_restarted() {
    same("mkfifo fifo; \"$1\" restarted fifo");
}

#[test]
fn a_shells_traps_run_between_its_commands() {
    same(
        "trap 'echo usr1' USR1; trap 'echo end' EXIT
        (sleep 0.1; kill -USR1 $$) & cat < <(sleep 0.3; echo read); wait; kill -USR1 $$
        timeout -s INT 0.2 bash -c 'trap \"echo int; exit 7\" INT; while :; do sleep 0.05; done'
        echo $?; timeout 0.2 sleep 9; echo $?; kill -TERM $$",
    );
}

/// Whoever reads a file breaks a lease on it, and SIGIO ends a holder that does not expect it.
#[test]
fn a_lease_is_not_broken_by_hashing() {
    let program = "
import fcntl, os, time
fcntl.fcntl(os.open('leased', os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
time.sleep(1)";
    for backend in backends() {
        let project = Project::new();
        project.write("leased", vec![7; 1 << 20]);
        let traced = project.trace_with(&["--backend", backend], &["python3", "-c", program]);
        assert!(traced.output.status.success(), "{:?}", traced.output);
        let expected = roar_tests::digest(project.path("leased"));
        assert_eq!(traced.report.file("reads", "leased")["digest"], expected);
    }
}

/// A group without a shell that controls its jobs, as under `setsid`, cron or in a container:
/// the kernel hangs it up when what connects it to its session ends and a process is stopped.
#[test]
fn a_group_with_a_stopped_process_is_not_hung_up() {
    for backend in backends() {
        let project = Project::new();
        let script = "sleep 100 & kill -STOP $!; \"$@\"; echo \"ended with $?\"; kill -9 $!";
        let output = Command::new("setsid")
            .args(["--wait", "sh", "-c", script, "sh"])
            .arg(roar())
            .args([
                "trace",
                "-q",
                "--backend",
                backend,
                "--",
                "sh",
                "-c",
                "exit 3",
            ])
            .current_dir(project.path("."))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "ended with 3\n", "{backend}: {:?}", output.status);
    }
}
