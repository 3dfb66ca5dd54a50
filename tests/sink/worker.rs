//! A worker with a sink, and its supervisor.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roar_tests::{Project, bin_dir, wait_until};

use crate::server::names;

/// Long enough for what ought to happen.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Two revisions of a record: one when the command has ended, one when its child has,
/// which is when there is a file `go`, or the test has failed and nothing is there.
pub(crate) const TWO: &str =
    "(until [ -e go ] || [ ! -e fragments ]; do sleep 0.1; done; echo late > late) &";

/// Workers of one node, with a sink.
pub(crate) struct Node<'a> {
    pub(crate) project: &'a Project,
    pub(crate) sink: String,
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Node<'_> {
    /// Where their fragments are.
    pub(crate) fn fragments(&self) -> PathBuf {
        self.project.path("fragments")
    }

    /// Runs a line of shell to its end, as a worker.
    pub(crate) fn run(&self, line: &str) -> Output {
        let output = self.worker(line).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// The same, while the test does something else.
    pub(crate) fn start(&self, line: &str) -> Child {
        self.worker(line).spawn().unwrap()
    }

    fn worker(&self, line: &str) -> Command {
        let mut command = Command::new(bin_dir().join("roar-worker"));
        command
            .args(["sh", "-c", line])
            .current_dir(self.project.path(""));
        with(&mut command, &self.variables);
        command.env("ROAR_FRAGMENTS", self.fragments());
        command.env("ROAR_SINK", &self.sink);
        // A child that goes on must not hold the test up.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        command
    }

    /// Names of the files with an extension, without it.
    pub(crate) fn stems(&self, extension: &str) -> Vec<String> {
        let names = names(&self.fragments()).into_iter();
        let stem = |name: String| Some(name.strip_suffix(&format!(".{extension}"))?.to_owned());
        names.filter_map(stem).collect()
    }

    /// A file's content, by stem and extension.
    pub(crate) fn content(&self, stem: &str, extension: &str) -> Vec<u8> {
        fs::read(self.fragments().join(format!("{stem}.{extension}"))).unwrap_or_default()
    }

    /// What the notes say.
    pub(crate) fn notes(&self) -> String {
        let notes = self.stems("unsent").into_iter();
        let notes = notes.map(|stem| self.content(&stem, "unsent"));
        String::from_utf8(notes.flatten().collect()).unwrap()
    }

    /// Waits until every supervisor is done.
    pub(crate) fn wait(&self) {
        let is_done = || self.supervisors().is_empty();
        assert!(wait_until(LONG, is_done), "{:?}", names(&self.fragments()));
    }

    /// The processes that have something in the fragments' directory open: supervisors.
    pub(crate) fn supervisors(&self) -> Vec<u32> {
        let directory = self.fragments();
        let has_open = |pid: &u32| {
            let open = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten();
            let mut paths = open
                .flatten()
                .filter_map(|fd| fs::read_link(fd.path()).ok());
            paths.any(|path| path.starts_with(&directory))
        };
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(has_open).collect()
    }

    /// Kills the supervisors at once.
    pub(crate) fn kill_supervisors(&self) {
        for pid in self.supervisors() {
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        }
        self.wait();
    }

    /// `roar` with the variables, in a project of its own.
    pub(crate) fn roar<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.project.roar(arguments);
        with(&mut command, &self.variables);
        command
    }
}

/// The variables, and nothing else of the kind that the test was started with.
fn with(command: &mut Command, variables: &[(&'static str, String)]) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"AWS_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", "/nonexistent");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
}

/// Every file below `directory`.
pub(crate) fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all_files(&path)),
            false => files.push(path),
        }
    }
    files
}
