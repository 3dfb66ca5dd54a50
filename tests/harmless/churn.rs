//! A load of threads and forks, untraced and traced, compared by all that it leaves.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use roar_tests::{Project, Report, children, wait_until};

/// No run takes longer, whatever befalls the supervisor.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// What can be seen of a run: how it ended, what it said, what it left.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    code: Option<i32>,
    output: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// Whether nothing was done: no file was made.
    pub(crate) fn is_untouched(&self) -> bool {
        self.files.is_empty()
    }
}

/// The load, compiled, and what it does untraced.
pub(crate) struct Churn {
    project: Project,
    program: String,
    rounds: String,
    /// What was seen of it untraced.
    pub(crate) untraced: Seen,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Churn {
    /// So much of it.
    pub(crate) fn new(rounds: u32) -> Self {
        let project = Project::new();
        let program = project.compile("churn", &["-pthread"]);
        let rounds = rounds.to_string();
        let mut command = Command::new(&program);
        command.arg(&rounds);
        let run = |mut command: Command| {
            let directory = fresh(&project);
            command.current_dir(&directory).output().unwrap()
        };
        run(Command::new("true"));
        let output = run(command);
        let untraced = seen(&project, &output);
        assert_eq!(
            (untraced.code, untraced.output.as_str()),
            (Some(0), "failed 0\n")
        );
        let mut churn = Self {
            project,
            program,
            rounds,
            untraced,
            took: Duration::ZERO,
        };
        let began = Instant::now();
        let (seen, report) = churn.start(&[]).end();
        assert_eq!(seen, churn.untraced);
        assert_eq!(report.gaps(), Vec::<String>::new());
        churn.took = began.elapsed();
        churn
    }

    /// Checks what a report claims, and whether it claims to be complete.
    pub(crate) fn check(&self, report: &Report) -> bool {
        let is_complete = report.document["coverage"]["complete"] == true;
        assert_eq!(is_complete, report.gaps().is_empty());
        if is_complete {
            let name = |line: &String| line.split([' ', '/']).nth(1).unwrap().to_owned();
            let seen: BTreeSet<String> = report.writes().iter().map(name).collect();
            let files = self.untraced.files.iter().map(|(name, _)| name.clone());
            let missed: Vec<String> = files.filter(|name| !seen.contains(name)).collect();
            assert_eq!(
                missed,
                Vec::<String>::new(),
                "missed, and said to be complete"
            );
        }
        is_complete
    }

    /// The report of the last run.
    pub(crate) fn report(&self) -> Report {
        self.project.report()
    }

    /// What is to be seen of a run that ended so.
    pub(crate) fn seen(&self, output: &Output) -> Seen {
        seen(&self.project, output)
    }

    /// Starts it under `roar trace`.
    pub(crate) fn start(&self, options: &[&str]) -> Running<'_> {
        let _ = fs::remove_file(self.project.report_path());
        let mut roar = self.project.roar(["trace", "-q", "--json"]);
        roar.arg(self.project.report_path()).args(options);
        roar.args(["--", &self.program, &self.rounds]);
        // Who has no memory is not to look for more of it.
        roar.env("RUST_BACKTRACE", "1");
        roar.current_dir(fresh(&self.project));
        roar.stdout(Stdio::piped()).stderr(Stdio::piped());
        let roar = roar.spawn().unwrap();
        Running { churn: self, roar }
    }
}

fn fresh(project: &Project) -> std::path::PathBuf {
    let directory = project.path("work");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    directory
}

fn seen(project: &Project, output: &Output) -> Seen {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    let entries = fs::read_dir(project.path("work")).unwrap();
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    let text = [&output.stdout[..], &output.stderr].concat();
    Seen {
        code: output.status.code(),
        output: String::from_utf8_lossy(&text).into_owned(),
        files,
    }
}

/// The load under way.
pub(crate) struct Running<'a> {
    churn: &'a Churn,
    roar: Child,
}

impl Running<'_> {
    /// The supervisor, awaited.
    pub(crate) fn await_supervisor(&self) -> u32 {
        let began = Instant::now();
        loop {
            // At once: the first moments count.
            match children(self.roar.id()).first() {
                Some(pid) => return *pid,
                None => std::thread::yield_now(),
            }
            assert!(began.elapsed() < LIMIT, "no supervisor");
        }
    }

    /// Waits for the end.
    pub(crate) fn output(mut self) -> Output {
        let ended = wait_until(LIMIT, || self.roar.try_wait().unwrap().is_some());
        if !ended {
            let stacks = Command::new("sh")
                .args(["-c", "ps -ef --forest; grep . /proc/[0-9]*/wchan"])
                .output();
            let _ = self.roar.kill();
            panic!("it hangs: {stacks:?}");
        }
        self.roar.wait_with_output().unwrap()
    }

    /// Waits for the end; what was seen, and the report.
    pub(crate) fn end(self) -> (Seen, Report) {
        let churn = self.churn;
        let seen = churn.seen(&self.output());
        (seen, churn.report())
    }
}
