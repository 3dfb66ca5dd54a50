//! Standard streams and other descriptors.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roar_tests::{Project, feed, quiet_trace};

/// Runs a shell script in which `$ROAR` traces the command that follows.
fn script(project: &Project, script: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).current_dir(project.path(""));
    bash.env("ROAR", quiet_trace());
    let output = bash.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn input_output_and_errors_are_the_commands_own() {
    let project = Project::new();
    let mut roar = project.roar(["trace", "-q", "--"]);
    roar.args(["bash", "-c", "cat; echo error >&2"]);
    let input: Vec<u8> = (0..30_000_u32).map(|i| (i % 251) as u8).collect();
    let output = feed(roar, &input);
    assert_eq!(output.stdout, input);
    assert_eq!(output.stderr, b"error\n");
}

#[test]
fn a_report_on_standard_output_follows_the_commands_own() {
    let project = Project::new();
    let mut roar = project.roar(["trace", "--json", "-", "--"]);
    let output = roar.args(["echo", "hello"]).output().unwrap();
    let json = output.stdout.strip_prefix(b"hello\n").unwrap();
    project.parse(json);
}

#[test]
fn the_summary_goes_to_standard_error_and_quiet_silences_it() {
    let project = Project::new();
    let said = |options: &[&str]| {
        let mut roar = project.roar(["trace"]);
        let output = roar.args(options).args(["--", "true"]).output().unwrap();
        assert!(output.stdout.is_empty());
        output.stderr
    };
    assert!(said(&[]).starts_with(b"roar: "));
    assert!(said(&["-q"]).is_empty());
}

#[test]
fn a_substitution_returns_though_a_background_child_goes_on() {
    let project = Project::new();
    let began = Instant::now();
    let line =
        "x=$($ROAR bash -c 'sleep 30 >/dev/null 2>&1 & echo $! > pid; echo out'); echo \"[$x]\"";
    assert_eq!(script(&project, line), "[out]\n");
    assert!(began.elapsed() < Duration::from_secs(15));
    let pid = project.read("pid");
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn further_descriptors_are_handed_on() {
    let project = Project::new();
    project.write("in", "three\n");
    let line = "$ROAR bash -c 'cat <&3; echo seven >&7' 3< in 7> out; cat out";
    assert_eq!(script(&project, line), "three\nseven\n");
}

#[test]
fn descriptors_are_the_same_ones() {
    let project = Project::new();
    let list = "bash -c 'for f in /proc/$$/fd/*; do echo ${f##*/}; done' 3</dev/null 9>/dev/null </dev/null >out 2>&1";
    let untraced = script(&project, &format!("{list}; cat out"));
    let traced = script(&project, &format!("$ROAR {list}; cat out"));
    assert_eq!(untraced, traced);
}

#[test]
fn closed_standard_streams_stay_closed() {
    let project = Project::new();
    let list = "bash -c 'for f in 0 1 2; do [ -e /proc/$$/fd/$f ] && echo $f >>seen || echo no $f >>seen; done'";
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let untraced = script(&project, &format!("rm -f seen; {list} {closed}; cat seen"));
        let traced = script(
            &project,
            &format!("rm -f seen; $ROAR {list} {closed}; cat seen"),
        );
        assert_eq!(untraced, traced, "{closed}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_writer() {
    let project = Project::new();
    let line = "$ROAR yes | head -1; echo ${PIPESTATUS[0]}";
    assert_eq!(script(&project, line), "y\n141\n");
}

#[test]
fn nohup_protects_the_command() {
    let project = Project::new();
    let line = "nohup $ROAR bash -c 'kill -HUP $$; echo alive' 2>/dev/null";
    assert_eq!(script(&project, line), "alive\n");
}
