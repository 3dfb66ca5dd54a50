//! Mounts that the command itself makes: its files are found where they are without them.

use std::process::Command;

use roar_tests::{Project, Report, backend, is_root, python, roar};

/// What is done in `m/d`, where `d` is mounted.
const USE: &str = "
import os
open('d/in').read()
open('d/in').read()
open('/d/in' if has_root else 'd/in').read()
open('d/out', 'w').write('y')
open('d/log', 'a').write('y')
open('d/out').read()
os.mkdir('d/e')
open('d/e/f', 'w').write('y')
os.rename('d/e', 'd/g')
open('d/gone', 'w').write('y')";

/// Traces a line of shell in a mount namespace that roar is in too.
fn shell(project: &Project, line: &str) -> Report {
    let mut unshare = Command::new("unshare");
    unshare.arg("-m").arg(roar());
    unshare.args(["trace", "-q", "--json"]);
    unshare.arg(project.report_path()).args(backend());
    unshare.args(["--", "sh", "-ec", line]);
    let status = unshare.current_dir(project.path("")).status().unwrap();
    assert!(status.success());
    project.report()
}

/// `d` mounted at `m/d`, and used by a program that begins so.
fn through_bind_mount(begin: &str) {
    let project = Project::new();
    project.write("d/in", "x").write("d/log", "x");
    project
        .write("m/d/.keep", "")
        .write("use.py", [begin, USE].concat());
    let python = python();
    let report = shell(
        &project,
        &format!("mount --bind d m/d; {python} use.py; umount m/d; rm d/gone"),
    );
    assert_eq!(report.gaps(), Vec::<String>::new());
    let names = |list: &str| -> Vec<String> {
        let files = report.files(list).iter();
        let names = files.map(|file| report.relative(file));
        names.filter(|name| name != "use.py").collect()
    };
    assert_eq!(names("reads"), ["d/in", "d/log"]);
    assert_eq!(names("writes"), ["d/g/f", "d/log", "d/out"]);
    assert_eq!(report.deletes(), Vec::<String>::new());
    assert_eq!(report.ephemeral(), 1);
}

#[test]
fn what_is_written_through_a_bind_mount_is_there_without_it() {
    if is_root("what_is_written_through_a_bind_mount_is_there_without_it") {
        through_bind_mount("import os; os.chdir('m'); has_root = False");
    }
}

#[test]
fn so_it_is_below_another_root() {
    if is_root("so_it_is_below_another_root") {
        through_bind_mount("import os; os.chroot('m'); os.chdir('/'); has_root = True");
    }
}

#[test]
fn files_of_a_mount_that_is_in_no_directory_are_a_gap() {
    if !is_root("files_of_a_mount_that_is_in_no_directory_are_a_gap") {
        return;
    }
    let project = Project::new();
    project.write("d/in", "x").write("m/.keep", "");
    let report = shell(
        &project,
        "mount -t tmpfs none m; cd m; umount -l .; echo x > out; cat out",
    );
    report.assert(&[], &[], &[]);
    assert_eq!(report.gaps(), ["lost_records"]);
    let tree = "
import ctypes, os
libc = ctypes.CDLL(None)
open_tree, OPEN_TREE_CLONE = 428, 1
tree = libc.syscall(open_tree, -100, b'd', OPEN_TREE_CLONE)
os.open('in', os.O_RDONLY, dir_fd=tree)
os.write(os.open('out', os.O_WRONLY | os.O_CREAT, dir_fd=tree), b'x')
m = os.memfd_create('m')
open(f'/proc/self/fd/{m}').read()";
    project.write("tree.py", tree);
    let report = shell(&project, &format!("{} tree.py", python()));
    assert!(project.has("d/out"));
    report.assert(&["tree.py open [code]"], &[], &[]);
    assert_eq!(report.gaps(), ["lost_records"]);
}

/// The id of a mount that is gone is the next one's.
#[test]
fn what_is_mounted_where_another_was_is_not_taken_for_that() {
    if !is_root("what_is_mounted_where_another_was_is_not_taken_for_that") {
        return;
    }
    let project = Project::new();
    project.write("m/.keep", "").write("d/.keep", "");
    let report = shell(
        &project,
        "mount -t tmpfs none m; echo x > m/new; cat m/new; echo x > m/out; cat m/out
        umount m; mount --bind d m; echo x > m/out; cat m/out; echo x >> m/log; umount m",
    );
    assert_eq!(report.gaps(), Vec::<String>::new());
    let writes = report.files("writes").iter();
    let writes: Vec<String> = writes.map(|file| report.relative(file)).collect();
    assert_eq!(writes, ["d/log", "d/out"]);
}

/// `/proc/self/mountinfo` does not list the mount that such a root directory is in.
#[test]
fn roar_below_a_root_that_is_no_mount_sees_what_it_sees_elsewhere() {
    if !is_root("roar_below_a_root_that_is_no_mount_sees_what_it_sees_elsewhere") {
        return;
    }
    let project = Project::new();
    project.write("root/d/in", "x");
    std::fs::copy(roar(), project.path("root/roar")).unwrap();
    let line = "
        cd root; mkdir usr proc dev tmp; for name in bin lib lib64; do ln -s usr/$name $name; done
        mount --rbind /usr usr; mount -t proc proc proc; mount --rbind /dev dev
        for accel in auto off; do
            chroot . /roar trace -q --accel $accel --json /report-$accel -- \\
                sh -ec 'cd /d; cp in out; cat /d/out > ../d/last; rm out last'
        done";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-ec", line]);
    let status = unshare.current_dir(project.path("")).status().unwrap();
    assert!(status.success());
    for accel in ["auto", "off"] {
        let report = std::fs::read(project.path(format!("root/report-{accel}"))).unwrap();
        let report = project.parse(&report);
        let read: Vec<_> = report
            .files("reads")
            .iter()
            .map(|it| it["path"].clone())
            .collect();
        assert_eq!(read, ["/d/in"], "{accel}");
        assert_eq!(report.ephemeral(), 2);
        assert_eq!(report.gaps(), Vec::<String>::new());
    }
}
