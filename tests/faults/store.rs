//! A store that cannot be used is a warning, and no more.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use roar_tests::{Project, is_root, roar, wait_until};

/// The command's own results are unharmed, and one line says what is not kept.
fn assert_warned(output: &Output, why: &str) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert_eq!(output.stdout, b"out\n");
    let warnings: Vec<&str> = errors.lines().filter(|l| l.contains("warning")).collect();
    let [warning] = warnings[..] else {
        panic!("one warning: {errors}");
    };
    assert!(warning.starts_with("roar: warning: "), "{warning}");
    assert!(warning.contains(why), "{warning}");
}

const COMMAND: [&str; 3] = ["bash", "-c", "cat in > copy; echo out; exit 5"];

fn run(project: &Project) -> Output {
    project.write("in", "x");
    let traced = project.trace_as("run", &[], &COMMAND, |_| ());
    traced.report.assert(&["in open"], &["copy open"], &[]);
    assert!(traced.report.gaps().contains(&"store".to_owned()));
    traced.output
}

/// A question to the store fails in one line.
fn assert_refused(project: &Project) {
    let output = project.roar(["dag"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("roar: "), "{errors}");
    let mut more = errors.lines().skip(1);
    assert!(more.all(|line| line.starts_with("hint: ")), "{errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_directory_in_place_of_the_store() {
    let project = Project::new();
    project.write(".roar/roar.db/file", "mine");
    assert_warned(&run(&project), "roar.db");
    assert_eq!(project.read(".roar/roar.db/file"), "mine");
    assert_refused(&project);
}

#[test]
fn a_file_in_place_of_the_stores_directory() {
    let project = Project::new();
    project.write(".roar", "mine");
    assert_warned(&run(&project), "nothing is kept");
    assert_eq!(project.read(".roar"), "mine");
}

#[test]
fn a_damaged_store() {
    let project = Project::new();
    let garbage = "this is no database ".repeat(500);
    project.write(".roar/roar.db", &garbage);
    assert_warned(&run(&project), "damaged");
    assert_eq!(project.read(".roar/roar.db"), garbage);
    assert_refused(&project);
}

#[test]
fn a_store_of_a_newer_version() {
    let project = Project::new();
    project.trace_as("run", &[], &["true"], |_| ());
    let path = project.path(".roar/roar.db");
    let store = rusqlite::Connection::open(&path).unwrap();
    store.pragma_update(None, "user_version", 999_999).unwrap();
    drop(store);
    let before = fs::read(&path).unwrap();
    assert_warned(&run(&project), "format 999999");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_refused(&project);
}

/// The same by a copy of roar, since the build directory may be closed to other users. It is
/// not made by this process, of which another test's child may hold it open.
fn run_as_nobody(project: &Project) -> Output {
    let copy = project.path("roar");
    let mut cp = Command::new("cp");
    cp.arg("--remove-destination").arg(roar()).arg(&copy);
    assert!(cp.status().unwrap().success());
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    setpriv.arg(copy).args(["run", "--"]).args(COMMAND);
    setpriv.current_dir(project.path("")).output().unwrap()
}

#[test]
fn an_unreadable_store() {
    let name = "an_unreadable_store";
    if !is_root(name) {
        return;
    }
    let project = Project::new();
    project.write("in", "x").write(".roar/roar.db", "");
    let own = |owner: u32, path: &str| {
        std::os::unix::fs::chown(project.path(path), Some(owner), Some(owner)).unwrap();
    };
    own(65534, "");
    own(65534, ".roar");
    fs::set_permissions(
        project.path(".roar/roar.db"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    assert_warned(&run_as_nobody(&project), "roar.db");
    assert_eq!(project.read("copy"), "x");
}

#[test]
fn a_project_of_another_user() {
    let name = "a_project_of_another_user";
    if !is_root(name) {
        return;
    }
    let project = Project::new();
    project.write("in", "x").write("copy", "");
    let open = |path: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(project.path(path), mode).unwrap();
    };
    open("copy", 0o666);
    project.trace_as("run", &["-q"], &["true"], |_| ());
    let store = fs::read(project.path(".roar/roar.db")).unwrap();
    assert_warned(&run_as_nobody(&project), "/.roar (Permission denied");
    assert_eq!(project.read("copy"), "x");
    assert_eq!(fs::read(project.path(".roar/roar.db")).unwrap(), store);
    // Settings alone that cannot be read are a warning too, and the run is kept.
    open(".roar", 0o777);
    open(".roar/roar.db", 0o666);
    open(".roar/config.toml", 0o600);
    assert_warned(
        &run_as_nobody(&project),
        "/.roar/config.toml (Permission denied",
    );
    let log = project.document(&["log", "--json"]);
    assert_eq!(log["jobs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_full_disk_loses_this_run_and_nothing_else() {
    if !is_root("a_full_disk_loses_this_run_and_nothing_else") {
        return;
    }
    let project = Project::new();
    project.write("in", "x");
    fs::create_dir(project.path(".roar")).unwrap();
    let script = format!(
        "set -e
mount -t tmpfs -o size=1m none .roar
{roar} run -q -- cat in >/dev/null
head -c 2M /dev/zero > .roar/fill 2>/dev/null || :
set +e
{roar} run -- bash -c 'cat in > copy; for i in {{1..400}}; do echo $i > many-files-$i; done; echo out; exit 5'
code=$?
{roar} config set ray.ship path && exit 9
ls -A .roar > kept
rm .roar/fill
{roar} log --json > log.json
exit $code",
        roar = roar().display()
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "bash", "-c", &script]);
    let output = unshare.current_dir(project.path("")).output().unwrap();
    assert_warned(&output, "space");
    assert_eq!(project.read("copy"), "x");
    let log: serde_json::Value = serde_json::from_str(&project.read("log.json")).unwrap();
    roar_tests::validate(&log);
    assert_eq!(log["jobs"].as_array().unwrap().len(), 1, "{log:#}");
    let kept = project.read("kept");
    assert!(!kept.contains(".config.toml"), "{kept}");
}

#[test]
fn dvc_is_told_of_what_ran_elsewhere() {
    if !is_root("dvc_is_told_of_what_ran_elsewhere") {
        return;
    }
    let project = Project::new();
    let line = format!(
        "hostname elsewhere && {} run -q -- sh -c 'echo 1 > a'",
        roar().display()
    );
    let mut unshare = Command::new("unshare");
    let status = unshare.args(["-u", "sh", "-c", &line]);
    assert!(
        status
            .current_dir(project.path(""))
            .status()
            .unwrap()
            .success()
    );
    let output = project.roar(["export", "dvc"]).output().unwrap();
    assert_eq!(output.stdout, b"stages: {}\n");
    let errors = String::from_utf8(output.stderr).unwrap();
    let warning = "roar: warning: 1 command has no stage (DVC could not run it)\n";
    assert_eq!(errors, warning);
}

#[test]
fn files_that_may_not_grow_are_a_warning() {
    let project = Project::new();
    let line = format!(
        "ulimit -f 0; exec {} run -- sh -c 'echo out; exit 5'",
        roar().display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &line]).current_dir(project.path(""));
    assert_warned(&bash.output().unwrap(), "nothing is kept");
}

#[test]
fn a_store_where_nothing_can_be_written_answers() {
    if !is_root("a_store_where_nothing_can_be_written_answers") {
        return;
    }
    let project = Project::new();
    let keep = || project.trace_as("run", &[], &["true"], |_| ());
    keep();
    let jobs_where_nothing_can_be_written = || {
        let script = format!(
            "mount --bind . . && mount -o remount,ro,bind . && cd $PWD && {} log --json",
            roar().display()
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "bash", "-c", &script]);
        let output = unshare.current_dir(project.path("")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        log["jobs"].as_array().unwrap().len()
    };
    assert_eq!(jobs_where_nothing_can_be_written(), 1);
    keep();
    assert_eq!(jobs_where_nothing_can_be_written(), 2);
}

/// A disk that was full leaves such, and so does a copy that was cut off.
#[test]
fn a_fragment_file_that_is_none_leaves_the_others() {
    let project = Project::new();
    let mut worker = Command::new(roar_tests::bin_dir().join("roar-worker"));
    worker.args(["sh", "-c", "echo 1 > made"]);
    worker.env("ROAR_FRAGMENTS", project.path("fragments"));
    assert!(
        worker
            .current_dir(project.path(""))
            .status()
            .unwrap()
            .success()
    );
    let is_sealed = || {
        let files = fs::read_dir(project.path("fragments"))
            .into_iter()
            .flatten();
        let names = files.flatten().map(|file| file.file_name());
        let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.len() == 1 && names[0].ends_with(".roarfrag")
    };
    assert!(wait_until(Duration::from_secs(20), is_sealed));
    project.write("fragments/empty.roarfrag", "");
    project.write("fragments/cut.roarlog", "ROAR");
    let output = project.roar(["merge", "--json", "fragments"]).output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.matches("roar: warning: ").count(), 2, "{errors}");
    let merged: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(merged["taken"], 1);
    // Asked for by its name, or alone, it is an error.
    for path in ["fragments/empty.roarfrag", "alone"] {
        project.write("alone/empty.roarfrag", "");
        let output = project.roar(["merge", path]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_a_warning() {
    let project = Project::new();
    let mut roar = project.roar(["trace", "--json", "missing/report.json", "--"]);
    let output = roar
        .args(["sh", "-c", "echo out; exit 5"])
        .output()
        .unwrap();
    assert_warned(&output, "report");
}

#[test]
fn nothing_stays_behind() {
    let project = Project::new();
    let marker = format!("roar-test-marker-{}", std::process::id());
    project.trace_as("trace", &[], &["true"], |roar| {
        roar.env("ROAR_TEST_MARKER", &marker);
    });
    let is_there = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let lines = |entry: fs::DirEntry| fs::read(entry.path().join("environ"));
        all.filter_map(|entry| lines(entry).ok())
            .any(|lines| String::from_utf8_lossy(&lines).contains(&marker))
    };
    let limit = std::time::Duration::from_secs(5);
    assert!(wait_until(limit, || !is_there()));
}
