//! CPython's own tests, as far as the interpreter ships them: each has the same result
//! traced as untraced.

use std::collections::BTreeMap;
use std::io::Write;

use roar_tests::{Project, python};

/// The result of every test of a module, by its name.
fn results(text: &str) -> BTreeMap<String, String> {
    let result = |line: &str| {
        let (name, rest) = line.split_once(" (test.")?;
        let (place, result) = rest.split_once(") ... ")?;
        Some((format!("{place} {name}"), result.trim().to_owned()))
    };
    // Output of other processes may stand between a name and its result.
    let is_result = |result: &String| {
        ["ok", "FAIL", "ERROR", "skipped", "expected failure"]
            .iter()
            .any(|word| result.starts_with(word))
    };
    let all = text.lines().filter_map(result);
    all.filter(|(_, result)| is_result(result)).collect()
}

/// Runs a module's tests, of which `only` selects some.
fn same(module: &str, only: &[&str]) {
    let python = python();
    let probe = format!("import test.{module}");
    let probe = std::process::Command::new(&python)
        .args(["-c", &probe])
        .output();
    if !probe.unwrap().status.success() {
        let said = format!("{module}: left out: {python} cannot import it");
        let _ = writeln!(std::io::stderr(), "{said}");
        return;
    }
    let select = only.iter().flat_map(|name| ["-m", name]);
    let mut command = vec![python.as_str(), "-m", "test", "-v"];
    command.extend(select);
    command.push(module);
    let project = Project::new();
    let mut untraced = std::process::Command::new(command[0]);
    let untraced = untraced.args(&command[1..]).current_dir(project.path(""));
    let untraced = untraced
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let traced = project.trace_as("trace", &["-q"], &command, |_| ()).output;
    let text = |output: &std::process::Output| {
        [&output.stdout[..], &output.stderr]
            .concat()
            .escape_ascii()
            .to_string()
            .replace("\\n", "\n")
    };
    let (before, after) = (results(&text(&untraced)), results(&text(&traced)));
    assert!(before.len() > 5, "{}", text(&untraced));
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    let names = before.keys().chain(after.keys());
    let different: Vec<_> = names
        .filter(differs)
        .map(|name| (name, before.get(name), after.get(name)))
        .collect();
    assert!(different.is_empty(), "{different:#?}\n{}", text(&traced));
    assert_eq!(untraced.status.code(), traced.status.code());
}

#[test]
fn some_of_test_os() {
    let of = [
        "FileTests",
        "MakedirTests",
        "ExecTests",
        "PidTests",
        "SpawnTests",
        "TestScandir",
    ];
    same("test_os", &of);
}

#[test]
fn some_of_test_signal() {
    same(
        "test_signal",
        &["SiginterruptTest", "PosixTests", "WakeupFDTests"],
    );
}

#[test]
fn some_of_test_subprocess() {
    let of = [
        "test_pass_fds*",
        "test_close_fd*",
        "test_*group*",
        "test_exception_*",
        "test_*vfork*",
        "test_restore_signals",
        "test_start_new_session",
        "test_preexec*",
        "test_send_signal*",
    ];
    same("test_subprocess", &of);
}

#[test]
#[ignore = "long: `make soak`"]
fn all_of_six_modules() {
    for module in [
        "test_os",
        "test_io",
        "test_subprocess",
        "test_signal",
        "test_threading",
        "test_multiprocessing_fork",
    ] {
        same(module, &[]);
    }
}
