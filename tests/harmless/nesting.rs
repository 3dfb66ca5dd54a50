//! A roar below a roar, and a roar that is the first process of a container.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use roar_tests::{Project, is_root, roar, wait_until};

#[test]
fn a_makefile_that_traces_has_both_reports() {
    let project = Project::new();
    let makefile = "all: plain scrubbed optioned
plain: in
\t$(ROAR) trace -q --json plain.json -- cp in plain
scrubbed: in
\tenv -i $(ROAR) trace -q --json scrubbed.json -- /bin/cp in scrubbed
optioned: in
\t$(ROAR) trace -q --no-hash --wait tree --json optioned.json -- \\
\t  $(MAKE) -s --no-print-directory below
below:
\t$(ROAR) trace -q --json below.json -- sh -c 'cat in > optioned; cp optioned deeper'
";
    project.write("in", "x").write("Makefile", makefile);
    let variable = format!("ROAR={}", roar().display());
    let outer = project.trace(&["make", "-s", "-j2", &variable]);
    let inner = |name: &str| {
        let report = project.parse(&fs::read(project.path(name)).unwrap());
        assert_eq!(report.gaps(), Vec::<String>::new(), "{name}");
        assert_eq!(report.document["coverage"]["complete"], true, "{name}");
        assert_eq!(report.document["run"]["exit_code"], 0, "{name}");
        report
    };
    inner("plain.json").assert(&["in open"], &["plain open"], &[]);
    inner("scrubbed.json").assert(&["in open"], &["scrubbed open"], &[]);
    inner("below.json").assert(&["in open"], &["deeper open", "optioned open"], &[]);
    let optioned = inner("optioned.json");
    let names = |lines: Vec<String>| -> Vec<String> {
        let name = |line: &String| line.split(' ').next().unwrap().to_owned();
        lines.iter().map(name).collect()
    };
    for report in [&optioned, &outer] {
        let (reads, writes) = (names(report.reads()), names(report.writes()));
        assert!(reads.contains(&"in".to_owned()), "{reads:?}");
        for name in ["optioned", "deeper"] {
            assert!(writes.contains(&name.to_owned()), "{writes:?}");
        }
    }
    let writes = names(outer.writes());
    for name in ["plain", "scrubbed"] {
        assert!(writes.contains(&name.to_owned()), "{writes:?}");
    }
}

/// A roar that calls itself another version where it speaks to one above: a copy with that
/// word changed.
fn of_another_version(project: &Project) -> String {
    let mut content = fs::read(roar()).unwrap();
    let word = b"/dev/null/roar/1/scope/";
    let at = content.windows(word.len()).position(|part| part == word);
    content[at.unwrap() + word.len()] ^= 1;
    fs::create_dir(project.path("other")).unwrap();
    let copy = project.path("other/roar");
    fs::write(&copy, content).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[test]
fn a_roar_of_another_version_or_backend_has_a_complete_report_too() {
    let project = Project::new();
    project.write("in", "x");
    let other = of_another_version(&project);
    for (roar, options) in [
        (other.as_str(), ""),
        (roar().to_str().unwrap(), "--backend ptrace"),
    ] {
        let line = format!("{roar} trace -q {options} --json inner.json -- cp in out; cp out last");
        let outer = project.trace_with(&["--backend", "notify"], &["sh", "-c", &line]);
        assert!(outer.output.status.success());
        assert_eq!(outer.report.document["coverage"]["complete"], true);
        let writes = outer.report.writes();
        assert!(writes.contains(&"last open".to_owned()), "{writes:?}");
        let inner = project.parse(&fs::read(project.path("inner.json")).unwrap());
        assert_eq!(inner.document["tracer"]["backend"], "ptrace");
        assert_eq!(inner.document["coverage"]["complete"], true);
        inner.assert(&["in open"], &["out open"], &[]);
        for name in ["out", "last"] {
            fs::remove_file(project.path(name)).unwrap();
        }
    }
}

/// A command line of roar as the first process of a pid namespace.
fn first_process() -> Command {
    let mut unshare = Command::new("timeout");
    unshare
        .args(["30", "unshare", "-pf", "--mount-proc"])
        .arg(roar());
    unshare
}

#[test]
fn as_the_first_process_of_a_container_it_reaps_and_waits() {
    if !is_root("as_the_first_process_of_a_container_it_reaps_and_waits") {
        return;
    }
    let project = Project::new();
    project.write("in", "x");
    // An orphan that ends at once, one that writes after the command has ended.
    let script = "(setsid sh -c 'exit 3' &); (setsid sh -c 'sleep 0.5; cat in > late' &)
        sleep 0.2; for stat in /proc/[0-9]*/stat; do read -r _ name state _ < $stat; echo $name $state; done |
        grep -c ' Z'; echo ran; exit 7";
    let mut unshare = first_process();
    unshare.args(["trace", "-q", "--wait", "tree"]);
    unshare.arg("--json").arg(project.report_path());
    unshare.args(["--", "bash", "-c", script]);
    let unshare = unshare.current_dir(project.path(""));
    let output = unshare.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "0\nran\n");
    assert_eq!(output.status.code(), Some(7));
    let report = project.report();
    report.assert(&["in open"], &["late open"], &[]);
    assert_eq!(report.gaps(), Vec::<String>::new());
}

/// With a store, and not waiting for the tree: the container ends with its first process,
/// which has recorded by then what was to be recorded.
#[test]
fn a_containers_record_is_in_the_store_when_it_ends() {
    if !is_root("a_containers_record_is_in_the_store_when_it_ends") {
        return;
    }
    let project = Project::new();
    project.write("in", "x");
    fs::create_dir(project.path(".roar")).unwrap();
    let mut unshare = first_process();
    unshare.args(["run", "-q", "--"]);
    unshare.args(["bash", "-c", "cat in > out"]);
    let status = unshare.current_dir(project.path("")).status().unwrap();
    assert!(status.success());
    let stored = wait_until(std::time::Duration::from_secs(1), || {
        let dag = project.document(&["dag", "--json"]);
        dag["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 1)
    });
    assert!(stored);
}
