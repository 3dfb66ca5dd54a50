//! Ten thousand files.

use std::time::Instant;

use roar_tests::{Project, python};

const FILES: usize = 10_000;

fn record(content: &str) {
    let project = Project::new();
    let program = format!("for i in range({FILES}): open(f'f{{i}}', 'w').write({content})");
    let began = Instant::now();
    let traced = project.trace_as("run", &[], &[&python(), "-c", &program], |_| ());
    let took = began.elapsed();
    assert!(traced.output.status.success());
    assert_eq!(traced.report.gaps(), Vec::<String>::new());
    let writes = traced.report.files("writes");
    assert_eq!(writes.len(), FILES);
    assert!(writes.iter().all(|file| file["state"] == "exact"));
    let began = Instant::now();
    let dag = project.document(&["dag", "--json"]);
    println!(
        "{FILES} files of {content}: {took:?} to record, {:?} to ask",
        began.elapsed()
    );
    assert_eq!(dag["nodes"][0]["writes"].as_array().unwrap().len(), FILES);
}

#[test]
fn of_equal_content() {
    record("'same'");
}

#[test]
fn of_different_content() {
    record("str(i)");
}
