//! Process trees.

use std::time::Duration;

use roar_tests::{Project, digest, wait_until};

#[test]
fn a_statically_linked_program_is_seen() {
    let project = Project::new();
    project.write("in", "x");
    let copy = project.compile("copy", &["-static"]);
    project
        .trace(&[&copy, "in", "out"])
        .assert(&["in open"], &["out open"], &[]);
}

#[test]
fn a_child_without_an_environment_is_seen() {
    let project = Project::new();
    project.write("in", "x");
    let report = project.shell("env -i /bin/cp in out");
    report.assert(&["in open"], &["out open"], &[]);
}

#[test]
fn threads_and_pools_are_seen() {
    let project = Project::new();
    let program = "
import subprocess, multiprocessing, threading
def work(i): open(f'p{i}', 'w').write('x')
t = threading.Thread(target=work, args=(1,)); t.start(); t.join()
p = multiprocessing.get_context('fork').Process(target=work, args=(2,)); p.start(); p.join()
subprocess.run(['cp', 'p1', 'p3'], check=True)";
    let report = project.python(program);
    report.assert(&[], &["p1 open", "p2 open", "p3 open"], &[]);
}

#[test]
fn what_others_do_for_a_program_is_a_gap() {
    let project = Project::new();
    std::fs::copy("/bin/true", project.path("sbatch")).unwrap();
    let line = "sh -c './sbatch job.sh'; ./sbatch other.sh; cat sbatch; echo sbatch";
    let report = project.trace_with(&[], &["sh", "-c", line]).report;
    assert_eq!(report.gaps(), ["untraced_worker"]);
    assert_eq!(report.document["coverage"]["gaps"][0]["count"], 2);
}

const ORPHAN: &str = "(setsid bash -c 'sleep 1; echo late > late.txt' >/dev/null 2>&1 &) ; :";

#[test]
fn waiting_for_the_tree_sees_a_child_outlive_its_parent() {
    let project = Project::new();
    let traced = project.trace_with(&["--wait", "tree"], &["bash", "-c", ORPHAN]);
    traced.report.assert(&[], &["late.txt open"], &[]);
    assert_eq!(traced.report.document["coverage"]["complete"], true);
}

#[test]
fn what_outlives_the_command_is_a_gap_and_reaches_the_store_later() {
    let project = Project::new();
    let store = ["--store", ".roar"];
    let traced = project.trace_with(&store, &["bash", "-c", ORPHAN]);
    assert!(!project.has("late.txt"), "it did not wait");
    assert!(traced.output.status.success());
    assert_eq!(traced.report.gaps(), ["still_running"]);
    assert_eq!(traced.report.document["coverage"]["complete"], false);
    let processes = traced.report.document["processes"].as_array().unwrap();
    let statuses: Vec<_> = processes
        .iter()
        .map(|it| it["status"].as_str().unwrap())
        .collect();
    assert!(
        statuses.contains(&"running") && statuses.contains(&"completed"),
        "{statuses:?}"
    );
    let reached = wait_until(Duration::from_secs(20), || {
        let dag = project.document(&["dag", "--json"]);
        let writes = dag["nodes"][0]["writes"].as_array().unwrap().clone();
        let is_late =
            |file: &serde_json::Value| file["path"].as_str().unwrap().ends_with("/late.txt");
        writes.iter().any(is_late)
    });
    let dag = project.document(&["dag", "--json"]);
    assert!(reached, "{dag:#}");
    assert_eq!(dag["coverage"]["complete"], true, "{dag:#}");
}

/// Its digest is that of what it is in the end.
#[test]
fn a_file_that_is_still_open_for_writing_has_no_digest_yet() {
    for command in [
        vec![
            "bash",
            "-c",
            "(echo a; sleep 1; echo b) > held 2>&1 & sleep 0.3",
        ],
        vec!["python3", "-c", MAPS],
    ] {
        let project = Project::new();
        let traced = project.trace_with(&["--store", ".roar"], &command);
        assert_eq!(traced.report.gaps(), ["still_running"]);
        let held = traced.report.file("writes", "held");
        assert_eq!(
            (&held["state"], &held["digest"]),
            (&"superseded".into(), &().into())
        );
        let reached = wait_until(Duration::from_secs(20), || {
            let dag = project.document(&["dag", "--json"]);
            let held = &dag["nodes"][0]["writes"][0];
            held["digest"] == digest(project.path("held"))
        });
        assert!(reached, "{:#}", project.document(&["dag", "--json"]));
    }
}

const MAPS: &str = "
import mmap, os, time
with open('held', 'w+b') as file:
    file.truncate(4096)
    mapped = mmap.mmap(file.fileno(), 4096)
mapped[0] = 65
if os.fork() == 0:
    time.sleep(1)
    mapped[1] = 66
    os._exit(0)
time.sleep(0.3)
";

/// Two runs at once; neither sees what the other does. Gives the graph, of which the first
/// writes `out` and goes on until `done` is there.
fn beside_a_writer_of_out(other: &str) -> (Project, serde_json::Value) {
    let project = Project::new();
    let writer = "echo A > out; until [ -e done ]; do sleep 0.05; done";
    let mut writing = project
        .roar(["run", "-q", "sh", "-c", writer])
        .spawn()
        .unwrap();
    assert!(wait_until(Duration::from_secs(20), || project.has("out")));
    let other = ["run", "-q", "sh", "-c", other];
    assert!(project.roar(other).status().unwrap().success());
    assert!(writing.wait().unwrap().success());
    let dag = project.document(&["dag", "--json"]);
    (project, dag)
}

/// How a step of a graph wrote `out`.
fn write_of_out<'a>(dag: &'a serde_json::Value, step: &serde_json::Value) -> &'a serde_json::Value {
    let nodes = dag["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["id"] == *step).unwrap();
    let mut writes = node["writes"].as_array().unwrap().iter();
    let is_out = |file: &&serde_json::Value| file["path"].as_str().unwrap().ends_with("/out");
    writes.find(is_out).unwrap_or_else(|| panic!("{dag:#}"))
}

#[test]
fn what_another_run_took_away_was_written_nevertheless() {
    let (_project, dag) = beside_a_writer_of_out("cat out > seen; mv out done");
    let edges = dag["edges"].as_array().unwrap();
    let [edge] = &edges[..] else {
        panic!("{dag:#}");
    };
    assert_eq!(write_of_out(&dag, &edge["from"])["state"], "missing");
    assert!(edge["path"].as_str().unwrap().ends_with("/out"));
}

#[test]
fn what_another_run_wrote_meanwhile_is_not_what_the_first_left() {
    let (project, dag) = beside_a_writer_of_out("echo B > out; : > done");
    let of = |step: usize| write_of_out(&dag, &dag["nodes"][step]["id"]);
    assert_eq!(of(1)["digest"], digest(project.path("out")));
    assert_eq!(
        (&of(0)["state"], &of(0)["digest"]),
        (&"superseded".into(), &().into())
    );
    let shown = project.document(&["show", "--json", "out"]);
    let text = shown.to_string();
    assert_eq!(text.matches("superseded").count(), 1, "{shown:#}");
}

/// What another roar's command inside of it left, a run has seen too: it is the inner one's.
#[test]
fn steps_of_a_run_inside_a_run_are_joined_to_each_other() {
    let project = Project::new();
    let roar = roar_tests::roar();
    let line = "echo x > a; $ROAR run -q sh -c 'cat a > out'; sleep 0.2
        $ROAR run -q sh -c 'cat out > c'; $ROAR run -q cp c d; echo > other";
    let line = line.replace("$ROAR", &roar.display().to_string());
    let output = project.roar(["run", "-q", "sh", "-c", &line]).output();
    assert!(output.unwrap().status.success());
    let dag = project.document(&["dag", "--json"]);
    for step in 0..2 {
        let write = write_of_out(&dag, &dag["nodes"][step]["id"]);
        assert_eq!(write["digest"], digest(project.path("out")), "{dag:#}");
    }
    let nodes = dag["nodes"].as_array().unwrap();
    let step = |id: &serde_json::Value| nodes.iter().position(|node| node["id"] == *id).unwrap();
    let edges = dag["edges"].as_array().unwrap().iter();
    let mut edges: Vec<_> = edges
        .map(|edge| [step(&edge["from"]), step(&edge["to"])])
        .collect();
    edges.sort_unstable();
    assert_eq!(edges, [[0, 1], [1, 2], [2, 3]], "{dag:#}");
}

#[test]
fn processes_are_listed_with_how_they_ended() {
    let project = Project::new();
    let traced = project.trace_with(&[], &["bash", "-c", "(exit 3); bash -c 'kill -9 $$'; true"]);
    let processes = traced.report.document["processes"].as_array().unwrap();
    assert!(processes.len() >= 3, "{processes:#?}");
    assert!(processes.iter().any(|process| process["exit_code"] == 3));
    let root = &processes[0];
    assert!(root["exe"].as_str().unwrap().ends_with("/bash"));
    assert_eq!(root["exit_code"], 0);
}

#[test]
fn a_process_that_was_forked_runs_what_its_parent_ran_then() {
    let project = Project::new();
    let program = "
import os, time
for wait in (0, 0.4):
    if os.fork() == 0:
        time.sleep(wait)
        open(f'child{os.getpid()}', 'w').close()
        os._exit(0)
os.execv('/bin/bash', ['bash', '-c', '(: > child$BASHPID); sleep 0.6; :'])";
    let report = project.python(program);
    let processes = report.document["processes"].as_array().unwrap();
    let runs = |process: &serde_json::Value| {
        let exe = process["exe"].as_str().unwrap();
        let first = process["argv"][0].as_str().unwrap();
        (
            exe.contains("python"),
            first.contains("python"),
            process["argv"].as_array().unwrap().len(),
        )
    };
    let of = |pid: &str| {
        let process = processes
            .iter()
            .find(|process| process["pid"].as_u64() == pid.parse().ok());
        runs(process.unwrap_or_else(|| panic!("{pid}: {processes:#?}")))
    };
    let mut children: Vec<_> = report
        .files("writes")
        .iter()
        .filter_map(|file| file["path"].as_str()?.rsplit_once("/child"))
        .map(|(_, pid)| of(pid))
        .collect();
    children.sort_unstable();
    assert_eq!(
        children,
        [(false, false, 3), (true, true, 3), (true, true, 3)]
    );
}

#[test]
fn a_roar_inside_a_roar_reports_its_own_part() {
    let project = Project::new();
    project.write("in", "x");
    let roar = roar_tests::roar();
    let line = format!(
        "cat in; {} trace --json inner.json -- cp in out",
        roar.display()
    );
    let traced = project.trace_with(&[], &["bash", "-c", &line]);
    assert!(traced.output.status.success());
    let inner = project.parse(&std::fs::read(project.path("inner.json")).unwrap());
    inner.assert(&["in open"], &["out open"], &[]);
    let writes = traced.report.writes();
    assert!(writes.contains(&"out open".to_owned()), "{writes:?}");
}
