//! Where a case runs, and what roar records of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use roar_tests::{Project, path_bytes};
use serde_json::Value;

use crate::Seen;
use crate::cases::Case;

/// The backend that may miss files, and says so in every report.
pub(crate) const PARTIAL: &str = "preload";

/// The compiled programs, by the variables that name them.
pub(crate) struct Programs {
    _project: Project,
    variables: Vec<(&'static str, String)>,
}

impl Programs {
    /// Compiles them.
    pub(crate) fn compile() -> Self {
        let project = Project::new();
        let static32 = [
            "-m32",
            "-nostdlib",
            "-static",
            "-ffreestanding",
            "-fno-stack-protector",
        ];
        let make = |name: &str, compiler: &str, options: &[&str]| {
            project.compile_as(name, compiler, options)
        };
        let variables = vec![
            ("W", make("ways", "gcc", &["-pthread"])),
            ("STATIC", make("ways", "gcc", &["-pthread", "-static"])),
            ("MUSL", make("copy", "musl-gcc", &["-static"])),
            ("I386", make("copy32", "gcc", &static32)),
            ("GO", go(&project)),
            ("PYTHON", roar_tests::python()),
        ];
        Self {
            _project: project,
            variables,
        }
    }
}

/// `copy.go`, which Go links statically.
fn go(project: &Project) -> String {
    let program = project.path("copygo");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program);
    go.arg(roar_tests::workspace().join("tests/programs/copy.go"));
    go.env("CGO_ENABLED", "0")
        .env("GOCACHE", project.path("cache"));
    go.env("HOME", project.path(""));
    let made = go.output().expect("go");
    let errors = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{errors}");
    program.to_str().unwrap().to_owned()
}

/// A directory with the files that the cases expect.
pub(crate) struct Place<'a> {
    pub(crate) project: Project,
    programs: &'a Programs,
}

impl<'a> Place<'a> {
    pub(crate) fn new(programs: &'a Programs) -> Self {
        let project = Project::new();
        let files = [
            ("in", "input\n"),
            ("old", "old content\n"),
            ("empty", ""),
            ("secret", "secret\n"),
            ("d/in", "deep input\n"),
            ("d/tool", "#!/bin/sh\nexit 0\n"),
            ("tool", "#!/bin/sh\nexit 0\n"),
            ("full/a", "a\n"),
            ("module.py", "X = 1\n"),
        ];
        for (name, content) in files {
            project.write(name, content);
        }
        fs::copy("/bin/sleep", project.path("program")).unwrap();
        for (name, mode) in [("tool", 0o755), ("d/tool", 0o755), ("secret", 0o600)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(project.path(name), mode).unwrap();
        }
        // For the clock of the file system to have gone on.
        std::thread::sleep(std::time::Duration::from_millis(30));
        for (target, name) in [("in", "link"), ("d", "dlink"), ("loop", "loop")] {
            symlink(target, project.path(name)).unwrap();
        }
        Self { project, programs }
    }

    /// Runs a case under an observer.
    pub(crate) fn run(&self, case: &Case, observer: &[&str]) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", case.outside, "-"]).args(observer);
        command.args(["bash", "-c", case.line]);
        command
            .current_dir(self.project.path(""))
            .stdin(Stdio::null());
        command.envs(
            self.programs
                .variables
                .iter()
                .map(|(name, path)| (name, path)),
        );
        command.output().unwrap()
    }

    /// What roar records of a case.
    pub(crate) fn traced(&self, case: &Case, backend: &str) -> Seen {
        let roar = roar_tests::roar();
        let report = self.project.report_path();
        let (roar, report) = (roar.to_str().unwrap(), report.to_str().unwrap());
        let options = [
            "trace",
            "--wait",
            "tree",
            "--backend",
            backend,
            "--json",
            report,
            "--",
        ];
        let output = self.run(case, &[&[roar], &options[..]].concat());
        let mut seen = Seen::default();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            seen.faults.push(format!("{}: {errors}", output.status));
        }
        let Ok(text) = fs::read(self.project.report_path()) else {
            seen.faults.push("no report".into());
            return seen;
        };
        let report = self.project.parse(&text);
        let is_complete = report.document["coverage"]["complete"] == true;
        if is_complete == (backend == PARTIAL) {
            seen.faults.push(format!("gaps {:?}", report.gaps()));
        }
        for (list, files) in ["reads", "writes", "deletes"].iter().zip(&mut seen.files) {
            for file in report.files(list) {
                files.insert(self.name(&path_bytes(file)));
                if *list == "writes" {
                    seen.faults.extend(self.wrong(file));
                }
            }
        }
        seen
    }

    /// What is wrong with the record of an output.
    fn wrong(&self, file: &Value) -> Option<String> {
        use std::os::unix::ffi::OsStrExt;
        let path = path_bytes(file);
        let name = self.name(&path);
        // What is mounted for the tracer alone, and what is too deep, is not to be read here.
        let Ok(content) = fs::read(std::ffi::OsStr::from_bytes(&path)) else {
            return (file["state"] != "exact").then(|| format!("{name} is {}", file["state"]));
        };
        let digest = format!("blake3:{}", blake3::hash(&content).to_hex());
        (file["digest"] != digest.as_str()).then(|| format!("{name}: {}", file["digest"]))
    }

    /// A path below the directory, readable; the letters of the deep directories left out.
    pub(crate) fn name(&self, path: &[u8]) -> String {
        let path = path.escape_ascii().to_string();
        let root = self.project.path("").canonicalize().unwrap();
        let root = format!("{}/", root.to_str().unwrap());
        let name = path.strip_prefix(&root).unwrap_or(&path);
        name.replace(&format!("{}/", "n".repeat(200)), "")
    }
}

/// The names of a set of paths that are below the directory.
pub(crate) fn below(place: &Place, paths: impl IntoIterator<Item = Vec<u8>>) -> BTreeSet<String> {
    let names = paths.into_iter().map(|path| place.name(&path));
    names.filter(|name| !name.starts_with('/')).collect()
}
