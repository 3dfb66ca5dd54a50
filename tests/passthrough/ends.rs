//! How a command ends is how roar ends.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use roar_tests::{Project, wait_until};

fn trace(project: &Project, command: &[&str]) -> Output {
    let mut roar = project.roar(["trace", "-q", "--"]);
    roar.args(command).output().unwrap()
}

#[test]
fn the_exit_status_is_the_commands_own() {
    let project = Project::new();
    for code in [0, 1, 2, 42, 125, 126, 127, 128, 255] {
        let output = trace(&project, &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_signal_that_kills_the_command_ends_roar_as_well() {
    let project = Project::new();
    for signal in [
        libc::SIGTERM,
        libc::SIGKILL,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGPIPE,
        libc::SIGSEGV,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGQUIT,
        // Real-time signals have no names.
        libc::SIGRTMIN(),
        libc::SIGRTMAX(),
    ] {
        // Under nohup(1) a shell starts with SIGHUP ignored, and keeps it so.
        let script = format!("kill -{signal} $$");
        let output = trace(&project, &["env", "--default-signal", "sh", "-c", &script]);
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert!(!output.status.core_dumped());
    }
}

#[test]
fn a_summary_that_nobody_takes_changes_nothing() {
    let project = Project::new();
    let roar = roar_tests::roar();
    for errors in ["2>/dev/full", "2> >(true)", "2>&-"] {
        let line = format!(
            "for i in 1 2 3; do {} trace sh -c 'sleep 0.1; exit 3' {errors}; echo $?; done",
            roar.display()
        );
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &line]).current_dir(project.path(""));
        assert_eq!(output.output().unwrap().stdout, b"3\n3\n3\n", "{errors}");
    }
}

#[test]
fn no_such_command_is_127_in_one_line() {
    let project = Project::new();
    let output = trace(&project, &["no-such-command"]);
    assert_eq!(output.status.code(), Some(127));
    assert_one_line(&output);
}

#[test]
fn a_file_that_cannot_be_executed_is_126() {
    let project = Project::new();
    project.write("plain", "text");
    for command in ["./plain", "/etc"] {
        let output = trace(&project, &[command]);
        assert_eq!(output.status.code(), Some(126), "{output:?}");
        assert_one_line(&output);
    }
}

fn assert_one_line(output: &Output) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(errors.starts_with("roar: "), "{errors}");
    let more = errors.lines().skip(1);
    assert!(
        more.clone().all(|line| line.starts_with("hint: ")),
        "{errors}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_option_is_2() {
    let project = Project::new();
    for arguments in [&["trace"][..], &["no-such-subcommand"], &["dag", "--bad"]] {
        let output = project.roar(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert_one_line(&output);
    }
    let said = |arguments: &[&str]| {
        let output = project.roar(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for arguments in [&["trace", "--json"][..], &["run", "--json", "", "true"]] {
        let errors = said(arguments);
        let why = "(a value is required for '--json <FILE>' but none was supplied)";
        assert!(errors.lines().next().unwrap().ends_with(why), "{errors}");
    }
    assert!(said(&["trace", "--wait", "x", "true"]).contains("; one of tree, child)"));
}

#[test]
fn a_wrong_option_of_the_worker_is_2() {
    let project = Project::new();
    let said = |words: &[&str]| {
        let mut worker = Command::new(roar_tests::bin_dir().join("roar-worker"));
        worker.args(words).current_dir(project.path(""));
        let output = worker.env("ROAR_FRAGMENTS", project.path("f")).output();
        let output = output.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let first = errors.lines().next().unwrap_or_default().to_owned();
        (output.status.code().unwrap(), first)
    };
    let unknown = |option: &str| (2, format!("roar-worker: unknown option {option}"));
    assert_eq!(said(&["--bogus", "true"]), unknown("--bogus"));
    assert_eq!(said(&["--job=a", "-x", "--", "true"]), unknown("-x"));
    let none = (2, "roar-worker: no command was given".to_owned());
    assert_eq!(said(&[]), none);
    assert_eq!(said(&["--job=a", "--"]), none);
    let (status, error) = said(&["--root=/", "--", "--no-such"]);
    assert_eq!(status, 127);
    assert!(
        error.starts_with("roar-worker: cannot run --no-such ("),
        "{error}"
    );
    let after = ["--job=a", "--", "sh", "-c", "exit 7", "--bogus", "--"];
    assert_eq!(said(&after), (7, String::new()));
}

#[test]
fn an_accelerator_that_cannot_work_is_an_error_before_the_start() {
    let project = Project::new();
    for backend in ["ptrace", "preload"] {
        let options = [
            "trace",
            "--accel",
            "on",
            "--backend",
            backend,
            "touch",
            "ran",
        ];
        let output = project.roar(options).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert_one_line(&output);
        assert!(!project.has("ran"));
    }
}

#[test]
fn signals_sent_to_roar_reach_the_command() {
    let project = Project::new();
    let script = "trap 'echo got; exit 9' USR1; echo ready > ready; while :; do sleep 0.05; done";
    let mut roar = project.roar(["trace", "-q", "--", "bash", "-c", script]);
    let child = roar.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(10);
    assert!(wait_until(limit, || project.has("ready")));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"got\n");
    assert_eq!(output.status.code(), Some(9));
}

/// With the value that they were queued with, too.
#[test]
fn real_time_signals_sent_to_roar_reach_the_command() {
    let project = Project::new();
    let script = "import signal, pathlib\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, [40])\n\
                  pathlib.Path('ready').touch()\n\
                  print(signal.sigwaitinfo([40]).si_code)\n";
    let mut roar = project.roar(["trace", "-q", "--", "python3", "-c", script]);
    let child = roar.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let limit = std::time::Duration::from_secs(10);
    assert!(wait_until(limit, || project.has("ready")));
    let sent = std::process::Command::new("kill")
        .args(["--queue", "7", "-40", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, format!("{}\n", libc::SI_QUEUE).into_bytes());
}

#[test]
fn the_manual_and_completions_know_every_command() {
    let project = Project::new();
    let printed = |arguments: &[&str]| {
        let output = project.roar(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let page = printed(&["man"]);
    for command in ["trace", "dag", "ray fetch", "config set", "completions"] {
        assert!(
            page.contains(&format!(".SH \"roar {command}\"\n")),
            "{command}"
        );
    }
    let mut bash = Command::new("bash");
    bash.args(["-nc", &printed(&["completions", "bash"])]);
    assert!(bash.status().unwrap().success());
    for shell in ["zsh", "fish"] {
        assert!(printed(&["completions", shell]).contains("lineage"));
    }
    assert_eq!(project.document(&["man", "--json"])["page"], page);
    let completions = project.document(&["completions", "zsh", "--json"]);
    assert_eq!(completions["shell"], "zsh");
    assert_eq!(completions["script"], printed(&["completions", "zsh"]));
}

#[test]
fn a_prepared_manifest_is_told_as_a_document() {
    let project = Project::new();
    let job = "apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: a}\nspec:\n  runtimeEnvYAML: |\n    image_uri: b\n";
    project.write("job.yaml", job);
    let prepare = ["ray", "prepare", "job.yaml"];
    let printed = project.roar(prepare).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    let document = |options: &[&str]| project.document(&[&prepare[..], options].concat());
    let untraced = document(&["--json"]);
    assert_eq!(untraced["manifest"], text);
    assert_eq!(untraced["untraced"].as_array().unwrap().len(), 1);
    let written = document(&["--json", "-o", "out.yaml"]);
    assert_eq!(project.read("out.yaml"), text);
    assert_eq!(
        (&written["input"], &written["output"]),
        (&"job.yaml".into(), &"out.yaml".into())
    );
    assert!(written["manifest"].is_null());
}

#[test]
fn only_a_terminal_gets_colour() {
    let project = Project::new();
    let mut roar = project.roar(["--help"]);
    let piped = roar.env("CLICOLOR_FORCE", "1").output().unwrap().stdout;
    assert!(!piped.contains(&0x1b));
    let line = format!("{} --help", roar_tests::roar().display());
    for (variable, value, is_coloured) in [("TERM", "xterm", true), ("NO_COLOR", "1", false)] {
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm");
        let shown = script.env(variable, value).output().unwrap().stdout;
        assert_eq!(shown.contains(&0x1b), is_coloured, "{variable}");
    }
}

#[test]
fn the_version_is_printed() {
    let output = Project::new().roar(["--version"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim(), format!("roar {}", env!("CARGO_PKG_VERSION")));
}
