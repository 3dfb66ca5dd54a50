//! One line of shell, untraced and traced, in the same directory made anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use roar_tests::{Project, Report};

/// A script that is run twice.
pub(crate) struct Pair {
    /// Where it is run, in `work`.
    pub(crate) project: Project,
    script: String,
    arguments: Vec<String>,
    options: Vec<&'static str>,
}

/// A file's mode and content; a link's target.
type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

impl Pair {
    /// A script for bash, which finds the arguments as `$1` and so on.
    pub(crate) fn new(script: &str, arguments: &[&str]) -> Self {
        Self {
            project: Project::new(),
            script: script.to_owned(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            options: Vec::new(),
        }
    }

    /// The same with options for `roar trace`.
    pub(crate) fn with(self, options: &[&'static str]) -> Self {
        let options = options.to_vec();
        Self { options, ..self }
    }

    fn command(&self) -> Vec<&str> {
        let fixed = ["bash", "-c", &self.script, "bash"].into_iter();
        fixed
            .chain(self.arguments.iter().map(String::as_str))
            .collect()
    }

    fn fresh(&self) -> PathBuf {
        let work = self.project.path("work");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).unwrap();
        work
    }

    /// Runs it untraced.
    pub(crate) fn untraced(&self) -> Output {
        let work = self.fresh();
        let command = self.command();
        let mut bash = Command::new(command[0]);
        bash.args(&command[1..]).current_dir(work);
        let bash = bash.env("PYTHONDONTWRITEBYTECODE", "1");
        bash.stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// Runs it traced.
    pub(crate) fn traced(&self) -> (Output, Report) {
        let work = self.fresh();
        let options = [&["-q", "--root", ".."], &self.options[..]].concat();
        let change = |roar: &mut Command| {
            roar.current_dir(work);
        };
        let command = self.command();
        let traced = self.project.trace_as("trace", &options, &command, change);
        (traced.output, traced.report)
    }

    /// Runs both. What they print, how they end, and the files that they leave but for
    /// those of which `differs` is true, must be the same.
    #[track_caller]
    pub(crate) fn same_but(self, differs: impl Fn(&Path) -> bool) -> Report {
        let untraced = self.untraced();
        let before = tree(&self.project.path("work"), &differs);
        let (traced, report) = self.traced();
        let after = tree(&self.project.path("work"), &differs);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&untraced.stderr), text(&traced.stderr));
        assert_eq!(text(&untraced.stdout), text(&traced.stdout));
        assert_eq!(untraced.status, traced.status);
        assert!(!untraced.stdout.is_empty(), "it says nothing: {untraced:?}");
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        for (name, entry) in &before {
            assert!(after.get(name) == Some(entry), "{}", name.display());
        }
        report
    }

    /// The same, of all files, and nothing was missed.
    #[track_caller]
    pub(crate) fn same(self) -> Report {
        let report = self.same_but(|_| false);
        assert_eq!(report.gaps(), Vec::<String>::new());
        report
    }
}

fn tree(root: &Path, differs: &impl Fn(&Path) -> bool) -> Tree {
    let mut tree = Tree::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap();
            if differs(&name) {
                continue;
            }
            let content = if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                target.into_os_string().into_encoded_bytes()
            } else if kind.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            tree.insert(name, (kind.permissions().mode(), content));
            if kind.is_dir() {
                directories.push(path);
            }
        }
    }
    tree
}
