//! Everything a process inherits besides its descriptors.

use std::process::Command;

use roar_tests::{Project, python, quiet_trace, roar};

/// What a line of shell prints when bash runs `before`, then it; untraced and traced.
fn both(project: &Project, before: &str, line: &str) -> (String, String) {
    let run = |prefix: String| {
        let quoted = line.replace('\'', "'\\''");
        let script = format!("{before}\n{prefix} bash -c '{quoted}'\n");
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(project.path(""));
        let output = bash.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let traced = quiet_trace();
    (run(String::new()), run(traced))
}

#[track_caller]
fn assert_same(before: &str, line: &str) {
    let (untraced, traced) = both(&Project::new(), before, line);
    assert!(!untraced.trim().is_empty(), "it shows nothing");
    assert_eq!(untraced, traced);
}

#[test]
fn variables() {
    assert_same("export A='b c' E=; unset LANG", "env | grep -v ^_= | sort");
}

#[test]
fn umask() {
    assert_same("umask 027", "umask");
}

#[test]
fn working_directory_by_its_logical_name() {
    assert_same("mkdir -p d; ln -sfn d l; cd l", "pwd -L; pwd -P");
}

#[test]
fn resource_limits() {
    assert_same("ulimit -n 77; ulimit -c 0; ulimit -S -s 4096", "ulimit -a");
}

#[test]
fn a_small_limit_of_descriptors_leaves_all_of_them_to_the_command() {
    let line =
        "for i in 3 4 5 6 7 8 9 10 11 12 13 14 15; do eval \"exec $i</dev/null\"; done; echo all";
    assert_same("ulimit -n 16", line);
}

#[test]
fn signal_dispositions_and_masks() {
    let line = "grep -E \"^Sig(Blk|Ign|Cgt)|^ShdPnd\" /proc/self/status";
    assert_same(":", line);
    assert_same("trap '' HUP PIPE INT", line);
}

#[test]
fn a_default_sigpipe_kills_silently() {
    let line = "yes | head -1; echo ${PIPESTATUS[0]}";
    assert_same(":", line);
}

#[test]
fn blocked_signals_stay_blocked() {
    let project = Project::new();
    let program = "
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
os.execvp(sys.argv[1], sys.argv[1:])";
    let mask = |prefix: &[&str]| {
        let mut command = Command::new(python());
        command.args(["-c", program]).args(prefix);
        command.args(["grep", "SigBlk", "/proc/self/status"]);
        command.current_dir(project.path(""));
        command.output().unwrap().stdout
    };
    let roar = roar();
    let traced = mask(&[roar.to_str().unwrap(), "trace", "-q", "--"]);
    assert_eq!(mask(&[]), traced);
}

#[test]
fn nice_value_and_scheduling() {
    assert_same(
        "renice -n 5 $$ >/dev/null",
        "nice; grep -E Cpus_allowed_list /proc/self/status",
    );
}

#[test]
fn process_group_and_session() {
    let project = Project::new();
    let line = "read -r _ _ _ _ group session _ < /proc/self/stat; echo $session";
    let (untraced, traced) = both(&project, ":", line);
    assert_eq!(untraced, traced);
}

#[test]
fn no_new_children_are_seen_by_the_command() {
    assert_same(
        ":",
        "sleep 0 & wait -n; echo $?; wait; echo $?; read -r x </proc/$$/task/$$/children; echo [$x]",
    );
}

/// As a script does that lets no other of its kind run (`pgrep -fc`).
#[test]
fn the_command_line_is_that_of_the_command_and_its_launcher_alone() {
    let project = Project::new();
    let program = "
import glob, sys
def line(path):
    try: return open(path, 'rb').read()
    except OSError: return b''
print(sum(sys.argv[1].encode() in line(path) for path in glob.glob('/proc/[0-9]*/cmdline')))";
    let marker = format!("roar-test-line-{}", std::process::id());
    let command = [&python(), "-c", program, &marker];
    let traced = project.trace_with(&[], &command);
    assert_eq!(traced.output.stdout, b"2\n");
}
