//! Debuggers attach to a traced program as usual, and it goes on as usual.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roar_tests::{Project, children, python, roar, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// A program that opens a file again and again, traced.
struct Traced {
    project: Project,
    roar: Child,
    pid: String,
}

impl Drop for Traced {
    /// What a failed test leaves ends with roar.
    fn drop(&mut self) {
        let _ = self.roar.kill();
    }
}

impl Traced {
    fn start(command: impl Fn(&Project) -> Vec<String>) -> Self {
        let project = Project::new();
        project.write("in", "x");
        let mut roar = project.roar(["trace", "-q", "--json"]);
        roar.arg(project.report_path()).arg("--");
        roar.args(command(&project)).stdout(Stdio::piped());
        let roar = roar.spawn().unwrap();
        let mut command = None;
        let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        assert!(wait_until(LIMIT, || {
            let below = children(roar.id()).first().map(|pid| children(*pid));
            let is_roar = |pid: &u32| name(pid).is_ok_and(|name| name == "roar\n");
            command = below.unwrap_or_default().into_iter().find(|p| !is_roar(p));
            command.is_some()
        }));
        // It is past its own start.
        std::thread::sleep(Duration::from_millis(300));
        let pid = command.unwrap().to_string();
        Self { project, roar, pid }
    }

    fn debug(&self, words: &[&str]) -> String {
        let mut debugger = Command::new("timeout");
        debugger.arg("20").args(words);
        let output = debugger
            .current_dir(self.project.path(""))
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// It goes on and ends well, with a complete record.
    fn end(mut self) {
        self.project.write("stop", "");
        let ended = wait_until(LIMIT, || self.roar.try_wait().unwrap().is_some());
        assert!(ended, "it hangs");
        assert!(self.roar.wait().unwrap().success());
        let mut said = String::new();
        let mut output = self.roar.stdout.take().unwrap();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "failed 0\n");
        let report = self.project.report();
        assert_eq!(report.gaps(), Vec::<String>::new());
        assert!(report.reads().contains(&"in open".to_owned()));
    }
}

fn steady(project: &Project) -> Vec<String> {
    vec![project.compile("steady", &["-g", "-O0"]), "in".to_owned()]
}

#[test]
fn gdb_attaches() {
    let traced = Traced::start(steady);
    let commands = ["-ex", "break steady", "-ex", "bt", "-ex", "detach"];
    let attach = ["gdb", "-q", "-nx", "-batch", "-p", &traced.pid];
    let said = traced.debug(&[&attach[..], &commands].concat());
    assert!(
        said.contains("in steady (") && said.contains("in main ("),
        "{said}"
    );
    traced.end();
}

#[test]
fn gdb_stops_at_calls() {
    let traced = Traced::start(steady);
    let mut words = vec!["gdb", "-q", "-nx", "-batch", "-p", &traced.pid];
    words.extend(["-ex", "catch syscall openat openat2"]);
    for _ in 0..6 {
        words.extend(["-ex", "continue"]);
    }
    words.extend(["-ex", "delete", "-ex", "detach"]);
    let said = traced.debug(&words);
    // By this name or the other: docs/limits.md.
    let stops = said.matches("call to syscall openat").count();
    let returns = said.matches("returned from syscall openat").count();
    assert_eq!((stops, returns), (3, 3), "{said}");
    traced.end();
}

#[test]
fn strace_attaches() {
    let traced = Traced::start(steady);
    let strace = ["-s", "INT", "1", "strace", "-f", "-e", "openat,openat2"];
    let words = [&strace[..], &["-o", "log", "-p", &traced.pid]].concat();
    let mut timeout = Command::new("timeout");
    timeout.args(words).current_dir(traced.project.path(""));
    let said = timeout.output().unwrap();
    let log = traced.project.read("log");
    let calls = ["\"in\", O_RDONLY)", "\"in\", {flags=O_RDONLY, "];
    let is_good = |line: &&str| calls.iter().any(|it| line.contains(it)) && line.ends_with("= 3");
    let good = log.lines().filter(is_good);
    assert!(good.count() > 10, "{log}\n{said:?}");
    assert!(!log.contains("= -1"), "{log}");
    traced.end();
}

/// Names of the calls that strace sees a program make, which is run by `before`.
fn calls(project: &Project, before: &[&str]) -> Vec<String> {
    let strace = ["strace", "-f", "-o", "log", "sh", "-c", "cat in; cat in"];
    let words = [before, &strace].concat();
    let mut command = Command::new(words[0]);
    let output = command
        .args(&words[1..])
        .current_dir(project.path(""))
        .output();
    assert!(output.unwrap().status.success());
    let log = project.read("log");
    let name = |line: &str| {
        let (_, call) = line.split_once(' ')?;
        Some(call.trim_start().split('(').next()?.to_owned())
    };
    let mut calls: Vec<String> = log.lines().filter_map(name).collect();
    calls.retain(|call| !call.contains("resumed>") && !call.starts_with(['-', '+']));
    calls.sort();
    calls
}

#[test]
fn a_tracer_in_the_tree_sees_the_programs_own_calls() {
    let project = Project::new();
    project.write("in", "x");
    let untraced = calls(&project, &[]);
    let roar = roar();
    let traced = calls(
        &project,
        &[roar.to_str().unwrap(), "trace", "-q", "--accel", "on", "--"],
    );
    assert_eq!(traced, untraced);
}

#[test]
fn py_spy_dumps() {
    let program = "import os, time
def steadily():
    while not os.path.exists('stop'):
        open('in').close()
        time.sleep(0.002)
steadily()
print('failed 0')";
    let traced = Traced::start(|_| vec![python(), "-c".to_owned(), program.to_owned()]);
    let spy = std::path::Path::new(&python()).with_file_name("py-spy");
    let said = traced.debug(&[spy.to_str().unwrap(), "dump", "--pid", &traced.pid]);
    assert!(said.contains("steadily (<string>"), "{said}");
    traced.end();
}
