//! Links that lead each process elsewhere: `/proc/self` and what is below `/proc/PID`, and all
//! of them below another root directory.

use std::os::unix::fs::symlink;

use roar_tests::{Project, is_root};

#[test]
fn a_path_goes_on_behind_a_directorys_descriptor() {
    let project = Project::new();
    project.write("d/e/in", "x");
    let report = project.python(
        "
import os
d = os.open('d', os.O_PATH | os.O_DIRECTORY)
for start in ('self', 'thread-self', os.getpid()):
    open(f'/proc/{start}/fd/{d}/e/in').read()
    open(f'/proc/{start}/fd/{d}/{start}', 'x').close()
    open(f'/proc/{start}/cwd/d/e/{start}', 'x').close()
os.rename('d/e/self', f'/proc/self/fd/{d}/last')
os.remove(f'/proc/{os.getpid()}/cwd/d/e/{os.getpid()}')
os.remove(f'd/{os.getpid()}')",
    );
    report.assert(
        &["d/e/in open"],
        &[
            "d/e/thread-self open",
            "d/last open+rename",
            "d/self open",
            "d/thread-self open",
        ],
        &[],
    );
}

#[test]
fn a_descriptor_that_the_supervisor_has_none_like_leads_there_too() {
    let project = Project::new();
    project.write("d/in", "x").write("e", "y");
    symlink("/proc/self/fd/700/in", project.path("l")).unwrap();
    let report = project.shell(
        "exec 700< d 701< e; cat /proc/self/fd/700/in l; cat /dev/fd/701; echo z > /dev/fd/700/out",
    );
    assert_eq!(report.writes(), ["d/out open"]);
    report.file("reads", "d/in");
    report.file("reads", "e");
}

#[test]
fn self_is_the_program_from_a_descriptor_of_proc_too() {
    let project = Project::new();
    project.write("in", "x").write("log", "x").write("d/e", "x");
    let report = project.python(
        "
import os
proc = os.open('/proc', os.O_PATH | os.O_DIRECTORY)
path = os.open('in', os.O_PATH)
os.open(f'self/fd/{path}', os.O_RDONLY, dir_fd=proc)
log = os.open('log', os.O_PATH)
fds = os.open('thread-self/fd', os.O_PATH | os.O_DIRECTORY, dir_fd=proc)
os.write(os.open(str(log), os.O_WRONLY | os.O_APPEND, dir_fd=fds), b'y')
d = os.open('d', os.O_PATH | os.O_DIRECTORY)
os.open(f'self/fd/{d}/made', os.O_WRONLY | os.O_CREAT, dir_fd=proc)
os.rename(f'self/fd/{d}/e', f'self/fd/{d}/f', src_dir_fd=proc, dst_dir_fd=proc)",
    );
    report.assert_in_any_state(
        &["d/e rename [missing]", "in open", "log append"],
        &["d/f rename", "d/made open", "log append"],
        &["d/e"],
    );
}

#[test]
fn a_link_to_standard_input_leads_to_the_programs_own() {
    let project = Project::new();
    project.write("in", "x");
    symlink("/dev/stdin", project.path("dev")).unwrap();
    symlink("/proc/self/fd/0", project.path("proc")).unwrap();
    symlink("/dev/stdout", project.path("out")).unwrap();
    let report = project.shell("cat dev < in; cat proc < in; echo y > out; exec 9> /dev/null");
    assert_eq!(report.reads().len(), 1);
    report.file("reads", "in");
    assert_eq!(report.writes().len(), 0);
}

#[test]
fn links_below_another_root_stay_there() {
    if !is_root("links_below_another_root_stay_there") {
        return;
    }
    let project = Project::new();
    project.write("root/etc/hostname", "x");
    project.write("root/d/in", "x");
    for (link, target) in [
        ("name", "/etc/hostname"),
        ("new", "/etc/new"),
        ("near", "../etc/near"),
        ("far", "../../../../../etc/far"),
    ] {
        symlink(target, project.path("root/d").join(link)).unwrap();
    }
    let report = project.python(
        "
import os
os.chroot('root')
os.chdir('/d')
open('name').read()
for link in ('new', 'near', 'far', '../../../d/up'):
    open(link, 'w').close()
open('../../etc/hostname').read()",
    );
    report.assert(
        &["root/etc/hostname open"],
        &[
            "root/d/up open",
            "root/etc/far open",
            "root/etc/near open",
            "root/etc/new open",
        ],
        &[],
    );
}

#[test]
fn self_is_the_program_in_a_pid_namespace_of_its_own() {
    if !is_root("self_is_the_program_in_a_pid_namespace_of_its_own") {
        return;
    }
    let project = Project::new();
    project.write("d/in", "x").write("in", "x");
    symlink("/proc/self/fd/9", project.path("l")).unwrap();
    let report = project.shell(
        "unshare -mpf --mount-proc bash -c 'exec 9< d; cat /proc/self/fd/9/in l/in /proc/1/cwd/in
        echo y > /proc/self/fd/9/out; echo y > l/new'",
    );
    assert_eq!(report.reads(), ["d/in open", "in open"]);
    assert_eq!(report.writes(), ["d/new open", "d/out open"]);
}
