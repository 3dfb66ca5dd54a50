//! `roar doctor`: what works here, found out by doing it, and why something does not.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use roar_lineage::store::{FILE_NAME, Store};
use roar_worker::accelerator;
use roar_worker::backend::{self, Features};
use roar_worker::host;
use serde::Serialize;
use serde_json::Value;

use crate::cli::QueryArgs;
use crate::error::UserError;
use crate::{output, project};

/// `roar doctor --json`.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    version: &'static str,
    kernel: String,
    /// What `--backend auto` takes; none where nothing works.
    auto: Option<&'static str>,
    checks: Vec<Check>,
}

/// A backend, a feature of the kernel's, or a part of the project.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    kind: &'static str,
    works: bool,
    /// What it is for, or why it does not work.
    #[serde(skip)]
    purpose: &'static str,
    cause: Option<String>,
    remedy: Option<String>,
}

/// Why something does not work, and what to do.
type Trouble = (String, &'static str);

impl Check {
    fn new(
        kind: &'static str,
        name: &'static str,
        purpose: &'static str,
        outcome: Result<(), Trouble>,
    ) -> Self {
        let (cause, remedy) = outcome.err().unzip();
        Self {
            name,
            kind,
            works: cause.is_none(),
            purpose,
            cause,
            remedy: remedy.map(str::to_owned),
        }
    }
}

/// Does it. Exit status 1 where no backend works.
pub fn main(args: &QueryArgs) -> Result<ExitCode, UserError> {
    let checks = checks();
    let works = |name: &&str| {
        checks
            .iter()
            .any(|check| check.name == *name && check.works)
    };
    let document = Document {
        schema: "roar.doctor/1",
        version: env!("CARGO_PKG_VERSION"),
        kernel: host::kernel(),
        auto: [backend::NOTIFY, backend::PTRACE, backend::PRELOAD]
            .into_iter()
            .find(works),
        checks,
    };
    if args.json {
        output::json(&document)?;
    } else {
        output::write(&text(&document))?;
    }
    Ok(ExitCode::from(u8::from(document.auto.is_none())))
}

fn text(document: &Document) -> String {
    let auto = document.auto.map_or_else(
        || "nothing can be traced here".to_owned(),
        |auto| format!("--backend auto takes {auto}"),
    );
    let (version, kernel) = (document.version, &document.kernel);
    let mut text = format!("roar {version} on Linux {kernel}: {auto}\n");
    for check in &document.checks {
        let state = if check.works { "works" } else { "no" };
        let why = check.cause.as_deref().unwrap_or(check.purpose);
        text.push_str(&format!("  {:<15} {state:<6} {why}\n", check.name));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("  {:<22} {remedy}\n", ""));
        }
    }
    text
}

fn checks() -> Vec<Check> {
    let features = backend::features();
    let feature = |name, purpose, works: bool, cause: &str, remedy| {
        let trouble = || (cause.to_owned(), remedy);
        let outcome = works.then_some(()).ok_or_else(trouble);
        Check::new("feature", name, purpose, outcome)
    };
    let of_kernel =
        |name, purpose, works: fn(&Features) -> bool, cause: &str, remedy| match &features {
            Ok(found) => feature(name, purpose, works(found), cause, remedy),
            Err(error) => feature(
                name,
                purpose,
                false,
                &format!("cannot tell: no listener of its own ({error})"),
                "ask outside of the supervisor above",
            ),
        };
    vec![
        Check::new(
            "backend",
            backend::NOTIFY,
            "sees everything",
            traces(backend::NOTIFY)
                .map_err(|cause| (cause, listener_remedy(features.as_ref().err()))),
        ),
        Check::new(
            "backend",
            backend::PTRACE,
            "sees everything, slowly",
            traces(backend::PTRACE).map_err(|cause| (cause, ptrace_remedy())),
        ),
        Check::new(
            "backend",
            backend::PRELOAD,
            "sees dynamic programs' calls of libc",
            traces(backend::PRELOAD).map_err(|cause| (cause, "glibc 2.34 or later, or musl")),
        ),
        Check::new(
            "feature",
            "accelerator",
            "opens for reading cost next to nothing",
            accelerates(),
        ),
        of_kernel(
            "sync_wake_up",
            "notifications are answered on the caller's CPU",
            |found| found.sync_wake_up,
            "notifications are answered on any CPU",
            "Linux 6.6 or later traces faster",
        ),
        of_kernel(
            "wait_killable",
            "a signal does not interrupt a call that is observed",
            |found| found.wait_killable,
            "a signal may interrupt a call that is observed (EINTR)",
            "Linux 5.19 or later",
        ),
        feature(
            "set_uid",
            "set-uid programs keep their privilege",
            roar_worker::sys::process::has_sys_admin(),
            "set-uid programs (sudo) run without their privilege",
            "trace as root (CAP_SYS_ADMIN) what needs them",
        ),
        feature(
            "io_uring",
            "no program can make a ring",
            is_io_uring_off(),
            "files opened through a ring are not seen (gap io_uring)",
            "--io-uring refuse, where the program can do without",
        ),
        Check::new(
            "project",
            "store",
            "the project's record can be read",
            store(),
        ),
    ]
}

/// The report of a line of shell that has a file `in` to read.
fn probe(options: [&str; 2], line: &str) -> Result<Value, String> {
    let io = |error: std::io::Error| error.to_string();
    let directory = tempfile::tempdir().map_err(io)?;
    std::fs::write(directory.path().join("in"), "x\n").map_err(io)?;
    let roar = std::env::current_exe().map_err(io)?;
    let output = Command::new(roar)
        .args(["trace", "-q", "--json", "-", "--root", "."])
        .args(options)
        .args(["--", "/bin/sh", "-c", line])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .map_err(io)?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or("no report");
        format!("the probe did not run: {first}")
    })
}

/// Whether a program's opens for reading are seen without a notification; why not otherwise.
fn accelerates() -> Result<(), Trouble> {
    let remedy = "none needed: the record is the same, tracing slower";
    let exempt = accelerator::exemption();
    exempt.map_err(|why| (why, remedy))?;
    let line = "cd -P . && for i in 1 2 3 4 5 6 7 8 9; do read line < \"$PWD/in\"; done";
    let report = probe(["--accel", "on"], line).map_err(|why| (why, remedy))?;
    match report["coverage"]["accelerated"].as_u64() {
        Some(1..) => Ok(()),
        _ => Err(("/bin/sh is not accelerated".to_owned(), remedy)),
    }
}

/// Whether a program that reads and writes a file is seen to do so; why not otherwise.
fn traces(name: &str) -> Result<(), String> {
    let line = "read line < in && echo \"$line\" > out";
    let report = probe(["--backend", name], line)?;
    let task = &report["tasks"][0];
    let has = |list: &str, name: &str| {
        let files = task[list].as_array().map_or(&[][..], Vec::as_slice);
        files.iter().any(|file| {
            let path = file["path"].as_str().unwrap_or_default();
            Path::new(path).file_name().is_some_and(|last| last == name)
        })
    };
    // The library never says that it has seen all.
    let is_whole = report["coverage"]["complete"] == (name != backend::PRELOAD);
    if has("reads", "in") && has("writes", "out") && is_whole {
        return Ok(());
    }
    let gap = &report["coverage"]["gaps"][0]["detail"];
    Err(gap
        .as_str()
        .unwrap_or("the probe's files were not seen")
        .to_owned())
}

fn listener_remedy(error: Option<&std::io::Error>) -> &'static str {
    match error.map(std::io::Error::kind) {
        Some(ErrorKind::ResourceBusy) => "another supervisor watches this tree: run outside of it",
        Some(ErrorKind::PermissionDenied) => {
            "the container's or service's policy forbids seccomp: allow it there"
        }
        _ => "Linux 5.9 or later with CONFIG_SECCOMP_FILTER",
    }
}

fn ptrace_remedy() -> &'static str {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.unwrap_or_default().trim() {
        "2" => "kernel.yama.ptrace_scope is 2: run as root, or set it to 1",
        "3" => "kernel.yama.ptrace_scope is 3, until the next boot",
        _ => "the container's or service's policy forbids ptrace: allow it there",
    }
}

fn is_io_uring_off() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    disabled.is_ok_and(|value| value.trim() == "2")
}

fn store() -> Result<(), Trouble> {
    let place = project::Place::find(None).map_err(|error| (error.why, "go to another one"))?;
    let Some(directory) = place.directory.filter(|d| d.join(FILE_NAME).exists()) else {
        return Ok(());
    };
    match Store::open_existing(&directory) {
        Ok(_) => Ok(()),
        Err(error) => Err((error.to_string(), "see `roar status`")),
    }
}
