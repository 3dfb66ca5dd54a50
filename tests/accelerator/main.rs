//! Opens that are not notified: recorded all the same, and nothing is different for it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use roar_tests::{Project, Report, Traced, is_root, python};
use serde_json::Value;

/// A project with four files.
fn project() -> (Project, Vec<String>) {
    let project = Project::new();
    let name = |index| format!("f{index}");
    for index in 0..4 {
        project.write(name(index), format!("{index}\n"));
    }
    let root = project.path("").canonicalize().unwrap();
    let path = |index| root.join(name(index)).to_str().unwrap().to_owned();
    let files = (0..4).map(path).collect();
    (project, files)
}

fn accelerated(report: &Report) -> u64 {
    report.document["coverage"]["accelerated"].as_u64().unwrap()
}

/// Traces a mode of `accelerated.c` with the accelerator and without: the same ends, the
/// same records.
fn both(mode: &str, options: &[&str], at_least: u64) -> (Traced, Traced) {
    let run = |accel: &str| {
        let (project, files) = project();
        let program = project.compile("accelerated", options);
        let mut command = vec![program, mode.to_owned()];
        command.extend(files);
        project.trace_with(&["--accel", accel], &command)
    };
    let (on, off) = (run("on"), run("off"));
    assert_eq!(on.output.status, off.output.status);
    assert_eq!(on.output.stdout, off.output.stdout);
    let errors = |traced: &Traced| String::from_utf8_lossy(&traced.output.stderr).into_owned();
    assert!(on.output.status.success(), "{}", errors(&on));
    let lines = |traced: &Traced| {
        let report = &traced.report;
        // How far hashing came is a matter of time.
        let without_its_path = |line: String| {
            let line = line.split(" [").next().unwrap();
            line.rsplit('/').next().unwrap().to_owned()
        };
        let lists = [
            report.reads(),
            report.writes(),
            report.deletes(),
            report.gaps(),
        ];
        lists.map(|list| list.into_iter().map(without_its_path).collect::<Vec<_>>())
    };
    assert_eq!(lines(&on), lines(&off));
    assert_eq!(accelerated(&off.report), 0);
    let count = accelerated(&on.report);
    assert!(count >= at_least, "{count}");
    (on, off)
}

#[test]
fn what_a_program_limits_itself_to_is_its_own() {
    both("limited", &["-pthread"], 0);
    both("descriptors", &["-pthread"], 0);
}

#[test]
fn threads_record_at_once() {
    let (on, off) = both("threads", &["-pthread"], 15_000);
    let notified = |traced: &Traced| traced.report.document["coverage"]["notified"].as_u64();
    assert!(notified(&on).unwrap() * 10 < notified(&off).unwrap());
    assert!(on.report.document["coverage"]["complete"] == true);
}

#[test]
fn names_may_be_relative() {
    let (on, _) = both("relative", &["-pthread"], 200);
    assert!(on.report.document["coverage"]["complete"] == true);
}

#[test]
fn directories_may_change_their_names() {
    let (on, _) = both("directories", &["-pthread"], 40);
    assert!(on.report.document["coverage"]["complete"] == true);
}

#[test]
fn children_record_for_themselves() {
    both("forks", &["-pthread"], 4);
}

#[test]
fn a_process_that_shares_all_memory_records_too() {
    both("shared_memory", &["-pthread"], 3500);
}

#[test]
fn signal_handlers_open_files_amid_a_record() {
    both("handlers", &["-pthread"], 200);
}

#[test]
fn errors_and_descriptors_are_the_same() {
    both("errors", &["-pthread"], 3);
}

#[test]
fn paths_may_lead_through_symbolic_links() {
    let (on, _) = both("links", &["-pthread"], 400);
    assert!(on.report.document["coverage"]["complete"] == true);
}

/// Somebody whom nobody traces removes a file as soon as it was read.
#[test]
fn what_was_read_and_is_gone_at_once_is_an_input() {
    let (project, files) = project();
    let mut roar = project.roar(["trace", "-q", "--accel", "on", "--no-hash", "--json"]);
    roar.arg(project.report_path())
        .args(["--", python().as_str(), "-c"]);
    roar.arg("import sys\nfor line in sys.stdin:\n print(open(line[:-1]).read(), end='', flush=1)");
    roar.args([&files[0]])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = roar.spawn().unwrap();
    let mut asks = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (index, file) in files.iter().enumerate() {
        writeln!(asks, "{file}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), index.to_string());
        fs::remove_file(file).unwrap();
    }
    drop(asks);
    assert!(child.wait().unwrap().success());
    let report = project.report();
    assert_eq!(report.gaps(), [""; 0]);
    let mut reads = report.reads();
    reads.retain(|read| read.starts_with('f'));
    let expected: Vec<String> = (0..4)
        .map(|index| format!("f{index} open [skipped]"))
        .collect();
    assert_eq!(reads, expected);
}

#[test]
fn names_may_change_after_each_open() {
    both("moves", &["-pthread"], 200);
}

#[test]
fn a_filter_of_its_own_is_not_met_by_our_calls() {
    both("filters", &["-pthread"], 1);
}

#[test]
fn a_filter_that_was_there_before_is_not_met_either() {
    both("confined", &["-pthread"], 0);
}

#[test]
fn an_exec_that_fails_leaves_the_program_its_records() {
    both("failing_exec", &["-pthread"], 4);
}

#[test]
fn who_shares_a_childs_memory_does_not_take_its_records() {
    both("vfork_first", &["-pthread"], 1);
}

#[test]
fn a_signal_handler_may_fork_amid_a_record() {
    both("handler_forks", &["-pthread"], 200);
}

#[test]
fn mappings_at_fixed_addresses_meet_nothing_of_ours() {
    both("maps_over", &["-pthread"], 2);
}

/// A library that stands before libc.
fn interposer(project: &Project, options: &[&str]) -> String {
    project.compile("interposer", &[&["-shared", "-fPIC"], options].concat())
}

#[test]
fn who_stands_before_libc_is_asked_as_ever() {
    let (project, files) = project();
    let library = interposer(&project, &[]);
    let program = project.compile("accelerated", &["-pthread", "-Wl,--no-as-needed", &library]);
    let virtually = |path: &String| format!("/virtual{path}");
    let command = [
        &program,
        "reads",
        &virtually(&files[0]),
        &virtually(&files[1]),
    ];
    let report = project.trace(&command);
    let reads = report.reads();
    assert!(reads.contains(&"f1 open".to_owned()), "{reads:?}");
    assert_eq!(accelerated(&report), 0);
}

#[test]
fn a_dlsym_of_somebody_elses_does_no_harm() {
    let (project, files) = project();
    let preload = format!("LD_PRELOAD={}", interposer(&project, &["-DDLSYM"]));
    let program = project.compile("accelerated", &["-pthread"]);
    let relative = "f1".to_owned();
    let command = ["env", &preload, &program, "reads", &files[0], &relative];
    let report = project.trace(&command);
    let reads = report.reads();
    assert!(reads.contains(&"f1 open".to_owned()), "{reads:?}");
    let fifo = project.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.to_str().unwrap();
    let command = [
        "timeout", "20", "env", &preload, &program, "cancels", &files[0], fifo,
    ];
    let traced = project.trace_with(&[], &command);
    assert_eq!(traced.output.stdout, b"cancelled\n");
}

#[test]
fn a_static_program_is_as_ever() {
    let (on, _) = both("threads", &["-pthread", "-static"], 0);
    assert_eq!(accelerated(&on.report), 0);
}

#[test]
fn a_program_with_a_sanitizer_is_as_ever() {
    let (on, _) = both("threads", &["-pthread", "-fsanitize=address"], 0);
    assert_eq!(accelerated(&on.report), 0);
}

#[test]
fn below_another_root_paths_are_those_outside() {
    if !is_root("below_another_root_paths_are_those_outside") {
        return;
    }
    let (project, files) = project();
    let root = project.path("root");
    project.write("root/within", "x\n");
    let program = project.compile("accelerated", &["-pthread"]);
    let root = root.to_str().unwrap();
    let report = project.trace(&[program.as_str(), "elsewhere", &files[0], root]);
    let reads = report.reads();
    assert!(reads.contains(&"root/within open".to_owned()), "{reads:?}");
    assert!(accelerated(&report) >= 2);
}

#[test]
fn a_thread_that_waits_to_open_can_be_cancelled() {
    let (project, files) = project();
    let program = project.compile("accelerated", &["-pthread"]);
    let fifo = project.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.to_str().unwrap();
    let command = ["timeout", "20", &program, "cancels", &files[0], fifo];
    let traced = project.trace_with(&[], &command);
    assert_eq!(traced.output.stdout, b"cancelled\n");
    assert!(traced.output.status.success());
}

/// What a program says of itself is the same untraced and traced.
fn same(command: &[&str]) -> Output {
    let project = Project::new();
    let mut untraced = Command::new(command[0]);
    let untraced = untraced.args(&command[1..]).current_dir(project.path(""));
    let untraced = untraced.output().unwrap();
    let traced = project.trace_with(&["-q", "--accel", "on"], command).output;
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        // Where the kernel maps differs from run to run.
        let words = text
            .split_whitespace()
            .filter(|word| !word.starts_with("(0x"));
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(&traced.stdout), text(&untraced.stdout));
    assert_eq!(text(&traced.stderr), text(&untraced.stderr));
    assert_eq!(traced.status, untraced.status);
    untraced
}

#[test]
fn nothing_in_a_programs_environment_tells_of_it() {
    let python = python();
    same(&["env", "-i", "env"]);
    same(&["ldd", "/bin/bash"]);
    same(&["/lib64/ld-linux-x86-64.so.2", "--list", "/bin/bash"]);
    let said = same(&["env", "LD_DEBUG=help", "true"]);
    assert!(said.status.success());
    let shows = "import os; print(sorted(os.environ), os.listdir('/proc/self/fd'))";
    same(&["env", "-i", &python, "-c", shows]);
}

#[test]
fn a_scrubbed_environment_is_no_way_around() {
    let (project, files) = project();
    let read = "import sys; [open(name).read() for name in sys.argv[1:]]";
    let mut command = vec!["env".to_owned(), "-i".to_owned(), python(), "-c".to_owned()];
    command.push(read.to_owned());
    command.extend(files);
    let report = project.trace(&command);
    for index in 0..4 {
        let line = format!("f{index} open");
        assert!(report.reads().contains(&line), "{:?}", report.reads());
    }
    assert!(accelerated(&report) > 5, "{}", accelerated(&report));
}

/// What the library is bound to keeps programs from starting where it is not there.
#[test]
fn the_library_is_small_and_asks_for_nothing_that_may_be_missing() {
    let project = Project::new();
    let temporary = project.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let set = |roar: &mut Command| {
        roar.env("TMPDIR", &temporary);
    };
    project.trace_as("trace", &["-q", "--accel", "on"], &["true"], set);
    let first_in = |directory: &Path| {
        directory
            .read_dir()
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    let library = first_in(&first_in(&temporary));
    assert!(library.metadata().unwrap().len() < 64 << 10);
    let readelf = |option: &str| {
        let output = Command::new("readelf")
            .args(["-W", option])
            .arg(&library)
            .output();
        String::from_utf8(output.expect("readelf (binutils)").stdout).unwrap()
    };
    let symbols = readelf("--dyn-syms");
    let imported = symbols.lines().filter(|line| line.contains(" UND "));
    let mut weak: Vec<&str> = Vec::new();
    for line in imported {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[4] {
            "WEAK" => weak.push(words[7]),
            _ => assert_eq!(words.len(), 7, "{line}"),
        }
    }
    weak.sort_unstable();
    let expected = [
        "__errno_location",
        "__libc_single_threaded",
        "dlopen",
        "dlsym",
    ];
    assert_eq!(weak, expected);
    assert!(readelf("--version-info").contains("No version information"));
    assert!(!readelf("--dynamic").contains("NEEDED"));
}

#[test]
fn what_is_not_to_be_accelerated_is_not() {
    let (project, files) = project();
    let command = ["cat", &files[0]];
    let traced = project.trace_with(&["--accel", "off"], &command);
    let tracer = |traced: &Traced| traced.report.document["tracer"]["accel"].clone();
    assert_eq!(tracer(&traced), Value::from("off"));
    let traced = project.trace_with(&["--accel", "on"], &command);
    assert_eq!(tracer(&traced), Value::from("on"));
    assert!(Path::new("/lib64/ld-linux-x86-64.so.2").exists());
}

/// Another library's function may have the name of one of libc's, and another type.
#[test]
fn names_of_libcs_may_be_another_librarys() {
    let project = Project::new();
    project.write(
        "other.c",
        "long remove(long a, long b, long c) { return a - b * c; }\n",
    );
    project.write(
        "main.c",
        "#include <errno.h>\n\
         long remove(long, long, long);\n\
         int main(void) { errno = EINTR; return remove(-1L << 40, 0, 1) != -1L << 40 || remove(5, 2, 3) != -1; }\n",
    );
    let report = project.shell(
        "gcc -shared -fPIC -fno-builtin -o libother.so other.c && \
         gcc -fno-builtin -o main main.c -L. -lother -Wl,-rpath,\"$PWD\" && ./main",
    );
    assert_eq!(report.document["run"]["exit_code"], 0);
    assert_eq!(report.document["tracer"]["accel"], "on");
}

/// A temporary directory is everybody's: what another user has put there is not opened, which
/// may take for ever.
#[test]
fn a_directory_that_another_user_has_made_is_left_alone() {
    if !is_root("a_directory_that_another_user_has_made_is_left_alone") {
        return;
    }
    let project = Project::new();
    let trace = |temporary: &Path| {
        project.trace_as("trace", &["--accel", "auto"], &["true"], |roar| {
            roar.env("TMPDIR", temporary);
        })
    };
    let [own, others] = ["own", "others"].map(|name| project.path(name));
    fs::create_dir_all(&own).unwrap();
    assert_eq!(trace(&own).report.document["tracer"]["accel"], "on");
    let fifos = "for name in own/roar-lib-0/*; do mkfifo others/roar-lib-0/${name##*/}; done";
    let line = format!("mkdir -p others/roar-lib-0; {fifos}; chown 65534 others/roar-lib-0");
    let made = Command::new("sh")
        .args(["-ec", &line])
        .current_dir(project.path(""))
        .status();
    assert!(made.unwrap().success());
    let traced = trace(&others);
    assert!(traced.output.status.success());
    assert_eq!(traced.report.document["tracer"]["accel"], "off");
}
