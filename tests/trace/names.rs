//! Paths: links, working directories, bytes that are not text.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use roar_tests::{Project, is_root};

#[test]
fn a_symbolic_link_is_kept_beside_its_target() {
    let project = Project::new();
    project.write("target", "x");
    symlink("target", project.path("link")).unwrap();
    let report = project.shell("cat link; echo more >> link");
    assert_eq!(report.writes(), ["target append [via link]"]);
    let read = report.file("reads", "target");
    assert!(read["via"].as_str().unwrap().ends_with("/link"));
}

#[test]
fn a_link_is_kept_by_whatever_path_it_is_named() {
    let project = Project::new();
    for name in ["store/in", "store/log", "store/d/e", "below/store/in"] {
        project.write(name, "x");
    }
    for (target, link) in [
        ("store/in", "link"),
        ("store/log", "log"),
        ("store/d", "dir"),
    ] {
        symlink(target, project.path(link)).unwrap();
    }
    let report = project.shell(
        "echo y >> log
        cd below; cat ../link ../dir/../../dir/e ../below/store/../store/in",
    );
    for (list, name, link) in [
        ("writes", "store/log", Some("log")),
        ("reads", "store/in", Some("link")),
        ("reads", "store/d/e", Some("dir/e")),
        ("reads", "below/store/in", None),
    ] {
        let link = link.map(|link| project.path(link));
        let via = report.file(list, name)["via"].as_str();
        assert_eq!(via.map(Path::new), link.as_deref(), "{name}");
    }
}

#[test]
fn a_link_to_a_directory_leads_to_the_files_own_path() {
    let project = Project::new();
    project.write("d/a", "x");
    symlink("d", project.path("l")).unwrap();
    let report = project.shell("cat l/a > /dev/null");
    assert_eq!(report.files("reads").len(), 1);
    report.file("reads", "d/a");
}

/// What the kernel cannot read either is no file.
#[test]
fn a_path_that_is_nowhere_is_no_gap() {
    let project = Project::new();
    project.write("in", "x");
    let report = project.python(
        "
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, 2 * 4096)
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
libc.mprotect(ctypes.c_void_p(start + 4096), ctypes.c_size_t(4096), 0)
page[4094:4096] = b'in'
openat = 257
for path in (None, ctypes.c_void_p(8), ctypes.c_void_p(start + 4094)):
    assert libc.syscall(openat, -100, path, 0) == -1 and ctypes.get_errno() == 14
open('in').read()",
    );
    report.assert(&["in open"], &[], &[]);
}

#[test]
fn relative_paths_follow_the_working_directory() {
    let project = Project::new();
    project.write("d/e/in", "x");
    let report = project.shell("cd d; (cd e; cat in > ../../out); cat ../d/./e/in");
    report.assert(&["d/e/in open"], &["out open"], &[]);
}

#[test]
fn a_descriptor_of_a_directory_is_a_base() {
    let project = Project::new();
    project.write("d/in", "x");
    let program = "
import os
d = os.open('d', os.O_RDONLY)
os.open('in', os.O_RDONLY, dir_fd=d)
os.close(os.open('out', os.O_WRONLY | os.O_CREAT, dir_fd=d))
os.rename('out', 'last', src_dir_fd=d, dst_dir_fd=d)";
    let report = project.python(program);
    assert_eq!(report.reads(), ["d/in open"]);
    assert_eq!(report.writes(), ["d/last open+rename"]);
}

#[test]
fn a_name_that_is_not_utf8_is_kept_to_the_byte() {
    let project = Project::new();
    let name = OsStr::from_bytes(b"caf\xe9");
    project.write(name, "x");
    let command = [OsStr::new("cp"), name, OsStr::new("out")];
    let report = project.trace(&command);
    assert_eq!(report.writes(), ["out open"]);
    let read = &report.files("reads")[0];
    assert!(read["path"].as_str().unwrap().ends_with("caf\u{fffd}"));
    // "café" in Latin 1, at the end of a path: its own bytes decode to just that.
    let bytes = decode(read["path_b64"].as_str().unwrap());
    assert_eq!(OsStr::from_bytes(&bytes), project.path(name).as_os_str());
    let argv = &report.document["run"]["command_b64"];
    assert_eq!(decode(argv[1].as_str().unwrap()), b"caf\xe9");
}

#[test]
fn a_name_that_is_not_utf8_is_shown_to_the_byte() {
    let project = Project::new();
    let (program, out) = (OsStr::from_bytes(b"p\xe9"), OsStr::from_bytes(b"o\xe9"));
    fs::copy("/usr/bin/touch", project.path(program)).unwrap();
    let mut roar = project.roar(["run", "-q", "--"]);
    roar.arg(project.path(program)).arg(out);
    assert!(roar.status().unwrap().success());
    let shown = project.roar(["show", "--json"]).arg(out).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    roar_tests::validate(&document);
    for (object, key, bytes) in [
        (&document, "ref_b64", &b"o\xe9"[..]),
        (&document["uses"][0], "name_b64", b"p\xe9"),
    ] {
        assert_eq!(decode(object[key].as_str().expect(key)), bytes);
    }
}

#[test]
fn a_name_that_is_not_utf8_is_none_of_dvcs() {
    let project = Project::new();
    project.write(OsStr::from_bytes(b"in\xe9"), "x");
    for line in ["cat in* > made", "cat made > out"] {
        let mut roar = project.roar(["run", "-q", "sh", "-c", line]);
        assert!(roar.status().unwrap().success());
    }
    let exported = project.document(&["export", "dvc", "--json"]);
    let stages = exported["document"]["stages"].as_object().unwrap();
    assert_eq!(stages.keys().collect::<Vec<_>>(), ["sh-2"]);
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(text).unwrap()
}

#[test]
fn names_with_newlines_and_quotes_are_kept() {
    let project = Project::new();
    let name = "a\n\"b\" 'c'\t";
    project.write(name, "x");
    let report = project.trace(&["cp", name, "out"]);
    report.file("reads", name);
}

#[test]
fn only_what_is_below_the_root_is_shown() {
    let project = Project::new();
    project.write("in/a", "x").write("b", "x");
    let traced = project.trace_with(&["--root", "in"], &["cat", "in/a", "b"]);
    assert_eq!(traced.report.reads(), ["in/a open"]);
    let traced = project.trace_with(&["--root", "in", "--all"], &["cat", "in/a", "b"]);
    assert_eq!(traced.report.file("reads", "b")["category"], "temp");
}

/// As they were used, though it is their targets that are recorded.
#[test]
fn questions_take_paths_through_symbolic_links() {
    let project = Project::new();
    project.write("real/in", "x");
    symlink("real", project.path("directory")).unwrap();
    symlink("real/in", project.path("file")).unwrap();
    project.trace_with(
        &["--store", ".roar"],
        &["sh", "-c", "cat file > directory/out"],
    );
    for (reference, role) in [("file", "read"), ("directory/out", "write")] {
        let shown = project.document(&["show", reference, "--json"]);
        assert_eq!(shown["uses"][0]["role"], role, "{shown:#}");
    }
    let lineage = project.document(&["lineage", "directory/out", "--json"]);
    assert_eq!(lineage["tasks"].as_array().unwrap().len(), 1);
}

#[test]
fn renameat_has_no_flags_whatever_a_register_has() {
    let project = Project::new();
    let program = "import ctypes, sys\n\
                   open('t', 'w').write('x')\n\
                   call = ctypes.CDLL(None).syscall\n\
                   assert call(264, -100, b't', -100, b'final', 3) == 0\n";
    let report = project.python(program);
    assert_eq!(report.writes(), ["final open+rename"]);
}

#[test]
fn what_cannot_lose_its_name_keeps_it() {
    if !is_root("what_cannot_lose_its_name_keeps_it") {
        return;
    }
    let project = Project::new();
    project
        .write("log", "x")
        .write("a", "x")
        .write("b", "x")
        .write("c", "x");
    let report = project.shell(
        "exec 2> /dev/null; chattr +a log; echo y >> log; rm -f log; mv log l2; mv c log; ln log l3
        chattr -a log; unshare -m sh -c \"
            mount --bind a b; echo y >> b; rm -f b; mv c b; mv b d; ln b e\"; test -e c",
    );
    report.assert_in_any_state(
        &["a append", "log append", "log open"],
        &["a append", "log append"],
        &[],
    );
}
