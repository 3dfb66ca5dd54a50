//! Death and stopping of roar's own processes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roar_tests::{Project, Report, children, wait_until};

/// A traced program that makes many opens.
pub(crate) struct Traced {
    project: Project,
    pub(crate) roar: Child,
}

/// The processes below a launcher.
struct Tree {
    supervisor: u32,
    guardian: u32,
    command: u32,
}

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

impl Traced {
    fn start(opens: u32) -> Self {
        Self::start_with(&[], opens)
    }

    /// With options of roar.
    pub(crate) fn start_with(options: &[&str], opens: u32) -> Self {
        let project = Project::new();
        project.write("in", "x");
        let program = project.compile("opens", &[]);
        let mut roar = project.roar(["trace", "--json"]);
        roar.arg(project.report_path()).args(options);
        roar.args(["-q", "--", &program]);
        roar.args(["in", &opens.to_string()]);
        let out = fs::File::create(project.path("out")).unwrap();
        let errors = fs::File::create(project.path("err")).unwrap();
        let roar = roar.stdout(out).stderr(errors).stdin(Stdio::null());
        let roar = roar.spawn().unwrap();
        let traced = Self { project, roar };
        assert!(wait_until(LIMIT, || !traced.project.read("out").is_empty()));
        traced
    }

    fn tree(&self) -> Tree {
        let [supervisor] = children(self.roar.id())[..] else {
            panic!("one supervisor");
        };
        let is_command = |pid: &u32| {
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            exe.is_ok_and(|exe| exe.ends_with("opens"))
        };
        let (command, own): (Vec<u32>, Vec<u32>) =
            children(supervisor).into_iter().partition(is_command);
        let ([command], [guardian]) = (&command[..], &own[..]) else {
            panic!("a command and a guardian: {command:?} {own:?}");
        };
        Tree {
            supervisor,
            guardian: *guardian,
            command: *command,
        }
    }

    /// Waits for the end, which must be that of an untraced program.
    pub(crate) fn end(mut self) -> Report {
        let status = self.roar.wait().unwrap();
        let errors = self.project.read("err");
        assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
        assert_eq!(self.project.read("out"), "began\nfailed 0\n");
        self.project.report()
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

pub(crate) fn is_complete(report: &Report) -> bool {
    report.document["coverage"]["complete"].as_bool().unwrap()
}

#[test]
fn without_a_supervisor_the_program_goes_on_and_the_report_says_so() {
    // What the accelerator's memory holds is read within 100 ms, and lost until then.
    let off: &[&str] = &["--accel", "off"];
    for (options, delay) in [(off, 0), (off, 50), (off, 300), (&[], 300)] {
        let traced = Traced::start_with(options, 100_000);
        std::thread::sleep(Duration::from_millis(delay));
        send(traced.tree().supervisor, Signal::SIGKILL);
        let report = traced.end();
        assert!(!is_complete(&report));
        assert_eq!(report.gaps(), ["supervisor_died"]);
        assert_eq!(report.document["run"]["exit_code"], 0);
        assert_eq!(report.reads(), ["in open"]);
    }
}

#[test]
fn a_supervisor_that_hangs_holds_the_program_up_for_seconds_only() {
    let traced = Traced::start(20_000);
    let tree = traced.tree();
    send(tree.supervisor, Signal::SIGSTOP);
    let began = Instant::now();
    let ended = wait_until(LIMIT, || {
        let state = fs::read_to_string(format!("/proc/{}/stat", tree.command));
        state.map_or(true, |stat| stat.contains(") Z "))
    });
    let took = began.elapsed();
    send(tree.supervisor, Signal::SIGCONT);
    assert!(ended, "it did not end");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let report = traced.end();
    assert!(!is_complete(&report));
    assert_eq!(report.gaps(), ["lost_records"]);
}

#[test]
fn a_dead_guardian_is_replaced_and_nothing_is_lost() {
    let traced = Traced::start(20_000);
    send(traced.tree().guardian, Signal::SIGKILL);
    let report = traced.end();
    assert!(is_complete(&report), "{:?}", report.gaps());
    assert_eq!(report.reads(), ["in open"]);
}

#[test]
fn killing_roar_kills_the_command() {
    let mut traced = Traced::start(100_000_000);
    let command = traced.tree().command;
    traced.roar.kill().unwrap();
    assert_eq!(traced.roar.wait().unwrap().signal(), Some(libc::SIGKILL));
    let is_gone = || {
        let state = fs::read_to_string(format!("/proc/{command}/stat"));
        state.map_or(true, |stat| stat.contains(") Z "))
    };
    assert!(wait_until(LIMIT, is_gone));
}

#[test]
fn what_was_seen_before_roar_was_killed_is_in_the_store() {
    let project = Project::new();
    let script = "true; echo 1 > kept; exec sleep 60";
    let mut roar = project
        .roar(["run", "-q", "sh", "-c", script])
        .spawn()
        .unwrap();
    assert!(wait_until(LIMIT, || project.has("kept")));
    roar.kill().unwrap();
    roar.wait().unwrap();
    let is_kept = || {
        let shown = project.roar(["show", "kept", "--json"]).output().unwrap();
        shown.status.success()
    };
    assert!(wait_until(LIMIT, is_kept));
    let dag = project.document(&["dag", "--json"]);
    let node = &dag["nodes"][0];
    assert_eq!(node["status"], "killed", "{dag:#}");
    assert!(node["pid"].is_u64(), "{dag:#}");
}
