//! A file system that the traced command serves itself: to look at its files is to wait
//! for the command.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use roar_tests::{Project, is_root, python};

/// Writes, reads and renames below the mount point, by absolute and relative paths, over
/// links and descriptors, and executes a program there.
const SCRIPT: &str = r#"
mkdir below mnt; : > journal; cp "$(type -P echo)" below/program
"$1" below journal -f mnt 2>&1 & server=$!
until grep -q " $PWD/mnt " /proc/self/mountinfo; do sleep 0.02; done
for i in 1 2 3; do echo $i > mnt/f$i; cat "$PWD/mnt/f$i"; done
cd mnt; cat f1 > g; mv g h; cat h ../mnt/./h; ./program executed; exec 5< f2; cd ..
cat <&5 /dev/fd/5; exec 5<&-
"$2" -c 'import os; fd = os.open("mnt", os.O_RDONLY); print(os.read(os.open("f3", os.O_RDONLY, dir_fd=fd), 9))'
umount mnt; wait $server; echo ended $?; sort journal | uniq -c
"#;

#[test]
fn a_file_system_served_from_the_tree_is_not_waited_for() {
    let test = "a_file_system_served_from_the_tree_is_not_waited_for";
    if !is_root(test) {
        return;
    }
    assert!(Path::new("/dev/fuse").exists(), "{test}: needs /dev/fuse");
    let project = Project::new();
    let server = project.compile("journal_fs", &["-I/usr/include/fuse3", "-lfuse3"]);
    let command = [
        "timeout",
        "60",
        "bash",
        "-c",
        SCRIPT,
        "bash",
        &server,
        &python(),
    ];
    let mut untraced = Command::new(command[0]);
    untraced.args(&command[1..]).current_dir(project.path(""));
    let untraced = untraced.output().unwrap();
    let output = String::from_utf8_lossy(&untraced.stdout).into_owned();
    assert!(
        output.contains("executed\n") && output.contains("ended 0\n"),
        "{output}"
    );
    for name in ["below", "mnt"] {
        std::fs::remove_dir_all(project.path(name)).unwrap();
    }
    let began = Instant::now();
    let traced = project.trace_with(&[], &command);
    // The guardian's patience was not needed.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(String::from_utf8_lossy(&traced.output.stdout), output);
    assert_eq!(traced.output.status, untraced.status);
    assert_eq!(traced.report.gaps(), ["backend"]);
    let writes = traced.report.writes();
    for name in ["below/f1 open", "below/f3 open", "journal open+append"] {
        assert!(writes.contains(&name.to_owned()), "{name}: {writes:?}");
    }
}
