//! The comparison of random programs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path as FsPath, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use roar_tests::{Project, path_bytes, strace};
use serde_json::Value;

use crate::generate::{self, DIRECTORIES, FILES, LINKS};
use crate::model::{Model, Path, decoded};

/// Programs in one run of roar.
const BATCH: u64 = 50;
/// One batch in so many is also run under strace.
const BY_STRACE: u64 = 4;

/// Names a program that the model cannot make sense of.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "ROAR_SEED={} ROAR_SOAK=1", self.0);
        }
    }
}

/// One program: its script, its directory, and what it logged.
struct Program {
    seed: u64,
    lines: Vec<String>,
    directory: PathBuf,
    script: PathBuf,
    log: PathBuf,
}

impl Program {
    fn new(seed: u64, project: &Project) -> Self {
        let apart = project.report_path();
        let apart = apart.parent().unwrap();
        let program = Self {
            seed,
            lines: generate::program(seed),
            directory: project.path(format!("p{seed}")),
            script: apart.join(format!("s{seed}")),
            log: apart.join(format!("l{seed}")),
        };
        fs::write(&program.script, program.lines.join("\n") + "\n").unwrap();
        let path = |name: &str| program.directory.join(OsStr::from_bytes(&decoded(name)));
        fs::create_dir(&program.directory).unwrap();
        for name in DIRECTORIES {
            fs::create_dir(path(name)).unwrap();
        }
        for (name, content) in FILES {
            fs::write(path(name), content).unwrap();
        }
        fs::set_permissions(path("x0"), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, target) in LINKS {
            symlink(target, path(name)).unwrap();
        }
        program
    }

    /// What it must have done.
    fn model(&self) -> Model {
        let log = fs::read_to_string(&self.log).unwrap();
        let results: HashMap<usize, i32> = log
            .lines()
            .map(|line| {
                let (at, result) = line.split_once(' ').unwrap();
                (at.parse().unwrap(), result.parse().unwrap())
            })
            .collect();
        let _named = Named(self.seed);
        let mut model = Model::new();
        model.play(&self.lines, &results);
        model
    }

    fn on_disk(&self) -> BTreeMap<Path, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if kind.is_file() {
                    let content = fs::read(entry.path()).unwrap();
                    files.insert(self.name(&entry.path()).unwrap(), content);
                }
            }
        }
        files
    }

    fn name(&self, path: &FsPath) -> Option<Path> {
        let below = path.strip_prefix(&self.directory).ok()?;
        Some(below.as_os_str().as_bytes().to_vec())
    }

    /// What roar recorded otherwise.
    fn differences(&self, model: &Model, uses: &Uses) -> Vec<String> {
        let mut differences = Vec::new();
        if model.contents() != self.on_disk() {
            differences.push("the model is not what is on disk".into());
        }
        let expected = [model.reads.clone(), model.writes(), model.deletes()];
        for (at, list) in LISTS.iter().enumerate() {
            let got: BTreeSet<Path> = self.of(uses, at).map(|(path, _)| path).collect();
            compare(list, &expected[at], &got, &mut differences);
        }
        let contents = model.contents();
        let name = |content: &Vec<u8>| format!("blake3:{}", blake3::hash(content).to_hex());
        for (path, file) in self.of(uses, 1) {
            if contents.get(&path).map(name).as_deref() != file["digest"].as_str() {
                differences.push(format!("{}: {file}", path.escape_ascii()));
            }
        }
        for (path, file) in self.of(uses, 0) {
            let known = &model.history[&path];
            let is_right = match file["digest"].as_str() {
                Some(digest) => known.iter().any(|content| name(content) == digest),
                None => !model.is_left_alone(&path),
            };
            if !is_right {
                differences.push(format!("{}: {file}", path.escape_ascii()));
            }
        }
        differences
    }

    fn of<'a>(&self, uses: &'a Uses, list: usize) -> impl Iterator<Item = (Path, &'a Value)> {
        uses[list].iter().filter_map(|(path, file)| {
            let path = PathBuf::from(std::ffi::OsString::from_vec(path.clone()));
            Some((self.name(&path)?, file))
        })
    }
}

const LISTS: [&str; 3] = ["reads", "writes", "deletes"];

/// What a report lists.
type Uses = [Vec<(Path, Value)>; 3];

fn compare(what: &str, expected: &BTreeSet<Path>, got: &BTreeSet<Path>, to: &mut Vec<String>) {
    to.extend(
        expected
            .difference(got)
            .map(|path| format!("-{what} {}", path.escape_ascii())),
    );
    to.extend(
        got.difference(expected)
            .map(|path| format!("+{what} {}", path.escape_ascii())),
    );
}

/// Runs programs under roar; gives the differences of each.
fn run_batch(script: &str, backend: &str, seeds: std::ops::Range<u64>) -> Vec<String> {
    let project = Project::new();
    let programs: Vec<Program> = seeds
        .clone()
        .map(|seed| Program::new(seed, &project))
        .collect();
    // For the clock of the file system to have gone on.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let batch = project.report_path().with_file_name("batch");
    let line = |program: &Program| {
        let paths = [&program.directory, &program.script, &program.log];
        paths
            .map(|path| path.to_str().unwrap().to_owned())
            .join(" ")
            + "\n"
    };
    fs::write(&batch, programs.iter().map(line).collect::<String>()).unwrap();
    let report = project.report_path();
    let mut roar = project.roar(["trace", "--backend", backend, "--json"]);
    roar.arg(&report).args(["--", script]).arg(&batch);
    let output = roar.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seeds {seeds:?}: {errors}");
    let report = project.parse(&fs::read(&report).unwrap());
    let mut faults = Vec::new();
    if report.document["coverage"]["complete"] != true {
        faults.push(format!("seeds {seeds:?}: gaps {:?}", report.gaps()));
    }
    let uses: Uses = LISTS.map(|list| {
        let files = report.files(list).iter();
        files.map(|file| (path_bytes(file), file.clone())).collect()
    });
    for program in &programs {
        let model = program.model();
        let differences = program.differences(&model, &uses);
        if !differences.is_empty() {
            faults.push(told(program, &differences));
        }
    }
    faults
}

fn told(program: &Program, differences: &[String]) -> String {
    let log = fs::read_to_string(&program.log).unwrap();
    let results: HashMap<&str, &str> = log.lines().filter_map(|l| l.split_once(' ')).collect();
    let lines = program.lines.iter().enumerate().map(|(at, line)| {
        let result = results.get(at.to_string().as_str()).unwrap_or(&"");
        format!("    {line}  → {result}\n")
    });
    let seed = program.seed;
    format!(
        "ROAR_SEED={seed} ROAR_SOAK=1: {differences:#?}\n{}",
        lines.collect::<String>()
    )
}

/// The same programs under strace: what it saw opened is what the model has opened.
fn run_strace(script: &str, seeds: std::ops::Range<u64>) -> Vec<String> {
    let project = Project::new();
    let programs: Vec<Program> = seeds.map(|seed| Program::new(seed, &project)).collect();
    let mut faults = Vec::new();
    for program in &programs {
        let log = project.report_path().with_file_name("strace");
        let batch = project.report_path().with_file_name("batch");
        let paths = [&program.directory, &program.script, &program.log];
        fs::write(
            &batch,
            paths.map(|path| path.to_str().unwrap()).join(" ") + "\n",
        )
        .unwrap();
        let mut strace = strace::command("trace=open,openat,openat2,creat", &log);
        strace
            .arg(script)
            .arg(&batch)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        assert!(strace.status().unwrap().success());
        let model = program.model();
        let seen = strace::files(&log, &program.directory);
        let mut differences = Vec::new();
        for ((what, seen), opened) in ["read", "written"].iter().zip(&seen).zip(&model.opened) {
            let seen = seen
                .iter()
                .filter_map(|path| program.name(FsPath::new(OsStr::from_bytes(path))));
            compare(what, opened, &seen.collect(), &mut differences);
        }
        if !differences.is_empty() {
            faults.push(format!("by strace: {}", told(program, &differences)));
        }
    }
    faults
}

#[test]
fn random_programs_are_recorded_as_the_model_has_them() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let count = number("ROAR_SOAK").unwrap_or(200);
    let start = number("ROAR_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() % 1_000_000 * 100_000
    });
    let _ = writeln!(std::io::stderr(), "{count} programs from seed {start}");
    let project = Project::new();
    let script = project.compile("script", &["-pthread"]);
    let faults = Mutex::new(Vec::new());
    let next = AtomicU64::new(start);
    let end = start + count;
    for backend in roar_tests::backends() {
        next.store(start, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let from = next.fetch_add(BATCH, Ordering::SeqCst)
                        && from < end
                        && faults.lock().unwrap().len() < 20
                    {
                        let seeds = from..end.min(from + BATCH);
                        let mut found = run_batch(&script, backend, seeds.clone());
                        if ((from - start) / BATCH).is_multiple_of(BY_STRACE) {
                            found.extend(run_strace(&script, seeds));
                        }
                        faults.lock().unwrap().extend(found);
                    }
                });
            }
        });
    }
    let faults = faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "{} of {count} from seed {start}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
