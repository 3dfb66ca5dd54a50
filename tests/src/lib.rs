//! Harness of the end-to-end tests: a project in a temporary directory, `roar` run in it,
//! and its documents, checked against the schemas and against what is on disk.
//!
//! Files are compared as lines: the path below the project, how it was used, then in
//! brackets whatever is out of the ordinary: `in.txt open`, `a.py import [code inferred]`.

pub mod strace;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The directory of the built programs: `ROAR_BIN_DIR`, else that of this test's profile.
pub fn bin_dir() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().to_owned()
    };
    std::env::var_os("ROAR_BIN_DIR").map_or_else(beside, PathBuf::from)
}

/// The path of `roar`.
pub fn roar() -> PathBuf {
    let path = bin_dir().join("roar");
    let hint = "build it with `cargo build --workspace`, or set ROAR_BIN_DIR";
    assert!(path.is_file(), "{} is not there: {hint}", path.display());
    path
}

/// The options that choose how to observe: by `ROAR_TEST_BACKEND` and `ROAR_TEST_ACCEL`,
/// else as roar does.
pub fn backend() -> Vec<String> {
    let options = [
        ("ROAR_TEST_BACKEND", "--backend"),
        ("ROAR_TEST_ACCEL", "--accel"),
    ];
    let named = options.into_iter().filter_map(|(variable, option)| {
        let name = std::env::var(variable).ok()?;
        Some([option.to_owned(), name])
    });
    named.flatten().collect()
}

/// `roar trace` with its options, for a line of shell.
pub fn quiet_trace() -> String {
    format!("{} trace -q {} --", roar().display(), backend().join(" "))
}

/// A Python that has numpy and pyarrow.
pub fn python() -> String {
    let default = || workspace().join(".venv/bin/python");
    let path = std::env::var_os("ROAR_TEST_PYTHON").map_or_else(default, PathBuf::from);
    let hint = "`make venv` makes it, ROAR_TEST_PYTHON names another";
    assert!(path.is_file(), "{} is not there: {hint}", path.display());
    path.to_str().unwrap().to_owned()
}

/// Whether this process is root. When it is not, says what is left out.
pub fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        // Not by a macro: the test runner keeps those to itself.
        let _ = writeln!(std::io::stderr(), "{test}: left out: needs root");
    }
    is_root
}

/// The backends that work here: `notify` always does.
pub fn backends() -> Vec<&'static str> {
    const BACKENDS: &[&str] = &["notify", "ptrace"];
    let works = |backend: &&str| {
        let mut roar = Command::new(roar());
        roar.args(["trace", "-q", "--backend", backend, "--", "true"]);
        roar.stderr(Stdio::null()).status().unwrap().success()
    };
    let backends: Vec<&str> = BACKENDS.iter().copied().filter(works).collect();
    assert!(backends.contains(&"notify"));
    backends
}

/// The bytes of a file's path.
pub fn path_bytes(file: &Value) -> Vec<u8> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let exact = file["path_b64"].as_str();
    let exact = exact.map(|bytes| engine.decode(bytes).unwrap());
    exact.unwrap_or_else(|| file["path"].as_str().unwrap().into())
}

/// Waits until `what` is true, for at most `limit`.
pub fn wait_until(limit: Duration, mut what: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    what()
}

/// The process ids of a process's children.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .map(|p| p.parse().unwrap())
        .collect()
}

/// A file's content by name, from the root of the file system.
pub fn digest(path: impl AsRef<Path>) -> String {
    let content = fs::read(path.as_ref()).unwrap();
    format!("blake3:{}", blake3::hash(&content).to_hex())
}

/// Checks a document against the schema that its `schema` key names.
pub fn validate(document: &Value) {
    let name = document["schema"].as_str().expect("a schema key");
    let file = format!("docs/schema/{}.json", name.replace('/', "."));
    let schema = fs::read_to_string(workspace().join(&file)).expect("its schema");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "against {file}: {errors:#?}");
}

/// A project in a temporary directory.
pub struct Project {
    dir: tempfile::TempDir,
    home: tempfile::TempDir,
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// An empty one.
    pub fn new() -> Self {
        let new = || tempfile::Builder::new().prefix("roar-test-").tempdir();
        let (dir, home) = (new().unwrap(), new().unwrap());
        // For the tests that run something as another user.
        for dir in [&dir, &home] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir, home }
    }

    /// Its directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// A file's content as text.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Whether something is there.
    pub fn has(&self, name: impl AsRef<Path>) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Compiles a program from `tests/programs`, outside of the project.
    pub fn compile(&self, name: &str, options: &[&str]) -> String {
        self.compile_as(name, "gcc", options)
    }

    /// The same by another compiler; each time a program of its own.
    pub fn compile_as(&self, name: &str, compiler: &str, options: &[&str]) -> String {
        let source = workspace().join("tests/programs").join(format!("{name}.c"));
        let directory = tempfile::tempdir_in(self.home.path()).unwrap().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.join(name);
        let mut gcc = Command::new(compiler);
        gcc.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program);
        let made = gcc.arg(source).args(options).output().expect(compiler);
        let errors = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{errors}");
        program.to_str().unwrap().to_owned()
    }

    /// A command line of roar, run in the project.
    pub fn roar<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(roar());
        command.args(arguments).current_dir(&self.dir);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null());
        command
    }

    /// Where `Trace` has its report written.
    pub fn report_path(&self) -> PathBuf {
        self.home.path().join("report.json")
    }

    /// The report that was written last.
    pub fn report(&self) -> Report {
        let text = fs::read(self.report_path()).expect("a report");
        self.parse(&text)
    }

    /// A report, checked.
    pub fn parse(&self, text: &[u8]) -> Report {
        let document: Value = serde_json::from_slice(text).expect("JSON");
        validate(&document);
        let root = self.dir.path().canonicalize().unwrap();
        Report { document, root }
    }

    /// Traces a command with options; the options come first.
    pub fn trace_with<S: AsRef<OsStr>>(&self, options: &[&str], command: &[S]) -> Traced {
        self.trace_as("trace", options, command, |_| ())
    }

    /// `roar trace` or `roar run`, after a change of how it is started.
    pub fn trace_as<S: AsRef<OsStr>>(
        &self,
        verb: &str,
        options: &[&str],
        command: &[S],
        change: impl FnOnce(&mut Command),
    ) -> Traced {
        let mut roar = self.roar([verb, "--json"]);
        roar.arg(self.report_path()).args(backend()).args(options);
        roar.arg("--");
        roar.args(command);
        change(&mut roar);
        let _ = fs::remove_file(self.report_path());
        let output = roar.output().unwrap();
        let report = if self.report_path().exists() {
            self.report()
        } else {
            panic!("no report: {}", String::from_utf8_lossy(&output.stderr))
        };
        report.check_digests();
        if let Ok(named) = std::env::var("ROAR_TEST_BACKEND") {
            assert_eq!(report.document["tracer"]["backend"], *named);
        }
        Traced { report, output }
    }

    /// Traces a command that must succeed, and of which nothing may be lost.
    pub fn trace<S: AsRef<OsStr>>(&self, command: &[S]) -> Report {
        let traced = self.trace_with(&[], command);
        let errors = String::from_utf8_lossy(&traced.output.stderr).into_owned();
        assert!(traced.output.status.success(), "{errors}");
        assert_eq!(traced.report.gaps(), Vec::<String>::new());
        assert_eq!(traced.report.document["coverage"]["complete"], true);
        traced.report
    }

    /// Traces a line of shell.
    pub fn shell(&self, line: &str) -> Report {
        self.trace(&["bash", "-c", line])
    }

    /// Traces a Python program.
    pub fn python(&self, program: &str) -> Report {
        self.trace(&[&python(), "-c", program])
    }

    /// A document that a command prints.
    pub fn document(&self, arguments: &[&str]) -> Value {
        let output = self.roar(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        let document = serde_json::from_slice(&output.stdout).expect("JSON");
        validate(&document);
        document
    }
}

/// Feeds a command's standard input; gives its output.
pub fn feed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing closes the pipe.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// A traced command.
pub struct Traced {
    /// What roar reported.
    pub report: Report,
    /// How it ended.
    pub output: Output,
}

/// A trace report.
pub struct Report {
    /// The whole.
    pub document: Value,
    root: PathBuf,
}

impl Report {
    /// Everything read.
    pub fn reads(&self) -> Vec<String> {
        self.lines("reads")
    }

    /// Everything written.
    pub fn writes(&self) -> Vec<String> {
        self.lines("writes")
    }

    /// Everything deleted, by path.
    pub fn deletes(&self) -> Vec<String> {
        let lines = self.lines("deletes");
        let path = |line: &String| line.split(' ').next().unwrap().to_owned();
        lines.iter().map(path).collect()
    }

    /// Files made and deleted again.
    pub fn ephemeral(&self) -> u64 {
        self.document["tasks"][0]["ephemeral"].as_u64().unwrap()
    }

    /// Kinds of gaps.
    pub fn gaps(&self) -> Vec<String> {
        let gaps = self.document["coverage"]["gaps"].as_array().unwrap();
        let kind = |gap: &Value| gap["kind"].as_str().unwrap().to_owned();
        gaps.iter().map(kind).collect()
    }

    /// The files of the only task.
    pub fn files(&self, list: &str) -> &[Value] {
        assert_eq!(self.document["tasks"].as_array().unwrap().len(), 1);
        self.document["tasks"][0][list].as_array().unwrap()
    }

    /// One file of a list, by its path below the project.
    pub fn file(&self, list: &str, name: &str) -> &Value {
        let files = self.files(list);
        let found = files.iter().find(|file| self.relative(file) == name);
        found.unwrap_or_else(|| panic!("{name} is not in {list}: {files:#?}"))
    }

    /// Asserts what was read, written and deleted, and nothing else.
    #[track_caller]
    pub fn assert(&self, reads: &[&str], writes: &[&str], deletes: &[&str]) {
        let got = (self.reads(), self.writes(), self.deletes());
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let expected: (Vec<String>, Vec<String>, Vec<String>) =
            (own(reads), own(writes), own(deletes));
        assert_eq!(got, expected);
    }

    /// The same, of files that may have been read by a hasher before they were changed.
    #[track_caller]
    pub fn assert_in_any_state(&self, reads: &[&str], writes: &[&str], deletes: &[&str]) {
        let stateless = |line: String| line.replace(" [superseded]", "");
        let got: Vec<String> = self.reads().into_iter().map(stateless).collect();
        assert_eq!(got, reads);
        assert_eq!(self.writes(), writes);
        assert_eq!(self.deletes(), deletes);
    }

    /// A file's path below the project.
    pub fn relative(&self, file: &Value) -> String {
        let path = file["path"].as_str().unwrap();
        let below = Path::new(path).strip_prefix(&self.root);
        below
            .map_or(path, |below| below.to_str().unwrap())
            .to_owned()
    }

    fn lines(&self, list: &str) -> Vec<String> {
        let mut lines: Vec<String> = self
            .files(list)
            .iter()
            .map(|file| self.line(file))
            .collect();
        lines.sort();
        lines
    }

    fn line(&self, file: &Value) -> String {
        let how = file["how"].as_array().unwrap();
        let how: Vec<&str> = how.iter().map(|how| how.as_str().unwrap()).collect();
        let mut notes = Vec::new();
        if file["category"] != "data" {
            notes.push(file["category"].as_str().unwrap().to_owned());
        }
        if file["state"] != "exact" {
            notes.push(file["state"].as_str().unwrap().to_owned());
        }
        for flag in ["unchanged", "inferred"] {
            if file[flag] == true {
                notes.push(flag.to_owned());
            }
        }
        if let Some(via) = file["via"].as_str() {
            let via = Path::new(via).strip_prefix(&self.root).unwrap();
            notes.push(format!("via {}", via.display()));
        }
        let mut line = format!("{} {}", self.relative(file), how.join("+"));
        if !notes.is_empty() {
            line = format!("{line} [{}]", notes.join(" "));
        }
        line.trim_end().to_owned()
    }

    /// Every digest is that of the content: of what is there now, for outputs, and for
    /// inputs that were left alone.
    fn check_digests(&self) {
        for task in self.document["tasks"].as_array().unwrap() {
            let list = |name: &str| task[name].as_array().unwrap().iter();
            let path = |file: &Value| file["path"].as_str().unwrap().to_owned();
            let changed: HashSet<String> =
                list("writes").chain(list("deletes")).map(path).collect();
            for file in list("writes") {
                check_digest(file);
            }
            for file in list("reads").filter(|file| !changed.contains(&path(file))) {
                check_digest(file);
            }
        }
    }
}

fn check_digest(file: &Value) {
    let path = file["path"].as_str().unwrap();
    assert_eq!(
        file["state"] == "exact",
        !file["digest"].is_null(),
        "{file}"
    );
    if let (Some(recorded), true) = (file["digest"].as_str(), Path::new(path).is_file()) {
        assert_eq!(recorded, digest(path), "{path}");
        assert_eq!(file["size"], fs::metadata(path).unwrap().len(), "{path}");
    }
}
