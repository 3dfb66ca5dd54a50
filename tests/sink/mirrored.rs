//! What workers do with a sink in S3.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use roar_tests::{Project, wait_until};

use crate::server::{BUCKET, SECRET, Server, without_conditions};
use crate::worker::{LONG, Node, TWO, all_files};

fn node<'a>(project: &'a Project, server: &Server) -> Node<'a> {
    Node {
        project,
        sink: format!("s3://{BUCKET}/some/where"),
        variables: server.variables(),
    }
}

const PREFIX: &str = "some/where";

/// The only file in the bucket, put together.
fn only(server: &Server) -> Vec<u8> {
    let files = server.files(PREFIX);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].1.concat()
}

fn record(node: &Node<'_>) -> Vec<u8> {
    node.content(&node.stems("roarfrag")[0], "roarfrag")
}

#[test]
fn a_record_is_mirrored_while_it_grows() {
    let (project, server) = (Project::new(), Server::start());
    let node = node(&project, &server);
    node.run(TWO);
    assert!(wait_until(LONG, || server.objects(PREFIX) == 1));
    assert_eq!(only(&server), record(&node));
    let supervisors = node.supervisors();
    assert_eq!(supervisors.len(), 1);
    project.write("go", "");
    node.wait();
    assert_eq!(server.objects(PREFIX), 2);
    assert_eq!(only(&server), record(&node));
    assert_eq!(node.stems("unsent"), [""; 0]);
}

#[test]
fn without_a_sink_there_is_no_thread_for_it() {
    let (project, server) = (Project::new(), Server::start());
    let mut node = node(&project, &server);
    node.sink = String::new();
    let mut worker = node.start("until [ -e go ]; do sleep 0.1; done");
    assert!(wait_until(LONG, || !node.supervisors().is_empty()));
    let threads = fs::read_dir(format!("/proc/{}/task", node.supervisors()[0])).unwrap();
    let mut names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")));
    assert!(names.all(|name| !name.unwrap().contains("mirror")));
    project.write("go", "");
    worker.wait().unwrap();
    node.wait();
    assert_eq!(server.objects(""), 0);
}

#[test]
fn what_is_sealed_while_the_server_is_away_comes_when_it_is_back() {
    let (project, mut server) = (Project::new(), Server::start());
    let node = node(&project, &server);
    server.go_away();
    node.run(TWO);
    let note = || node.content(&node.stems("roarfrag")[0], "unsent");
    let is_noted = || !node.stems("unsent").is_empty() && note().starts_with(b"0 of ");
    assert!(wait_until(LONG, is_noted));
    assert!(String::from_utf8(note()).unwrap().contains("refused"));
    server.come_back();
    assert!(wait_until(LONG, || server.objects(PREFIX) == 1));
    project.write("go", "");
    node.wait();
    assert_eq!(only(&server), record(&node));
    assert_eq!(node.stems("unsent"), [""; 0]);
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_next_worker() {
    let (project, mut server) = (Project::new(), Server::start());
    let node = node(&project, &server);
    server.go_away();
    node.run("echo one > one");
    node.wait();
    let left = node.stems("unsent");
    assert_eq!(left, node.stems("roarfrag"));
    server.come_back();
    let mut worker = node.start(TWO);
    worker.wait().unwrap();
    assert!(wait_until(LONG, || server.files(PREFIX).len() == 2));
    project.write("go", "");
    node.wait();
    for (name, pieces) in server.files(PREFIX) {
        let stem = name.strip_suffix(".roarfrag").unwrap();
        assert_eq!(pieces.concat(), node.content(stem, "roarfrag"), "{name}");
    }
    assert_eq!(node.stems("unsent"), [""; 0]);
}

#[test]
fn what_a_killed_supervisor_sent_is_not_sent_differently() {
    let (project, server) = (Project::new(), Server::start());
    let node = node(&project, &server);
    node.run(TWO);
    assert!(wait_until(LONG, || server.objects(PREFIX) == 1));
    let stem = node.stems("unsent")[0].clone();
    node.kill_supervisors();
    // As if it had been killed before it could note that.
    fs::write(node.fragments().join(format!("{stem}.unsent")), "0\n").unwrap();
    let object = server.path(&format!("{PREFIX}/{stem}.roarfrag/0000000000000000"));
    let before = fs::metadata(&object).unwrap();
    project.write("go", "");
    node.run(TWO);
    let is_taken = || !node.stems("unsent").contains(&stem);
    assert!(wait_until(LONG, is_taken));
    node.wait();
    let after = fs::metadata(&object).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
    assert_eq!(fs::read(&object).unwrap(), node.content(&stem, "roarfrag"));
}

#[test]
fn an_object_that_is_somebody_elses_is_left_alone() {
    let (project, server) = (Project::new(), Server::start());
    let node = node(&project, &server);
    node.run(TWO);
    assert!(wait_until(LONG, || server.objects(PREFIX) == 1));
    let name = server.files(PREFIX)[0].0.clone();
    let next = format!("{PREFIX}/{name}/{:016}", record(&node).len());
    fs::write(server.path(&next), "somebody's").unwrap();
    project.write("go", "");
    let noted = || String::from_utf8(node.content(&node.stems("unsent")[0], "unsent")).unwrap();
    assert!(wait_until(LONG, || noted().contains("with other content")));
    node.wait();
    assert_eq!(fs::read(server.path(&next)).unwrap(), b"somebody's");
}

#[test]
fn a_server_without_conditional_puts_does_as_well() {
    let (project, server) = (Project::new(), Server::start());
    let mut node = node(&project, &server);
    node.variables = crate::server::variables(without_conditions(&server));
    node.run(TWO);
    assert!(wait_until(LONG, || server.objects(PREFIX) == 1));
    project.write("go", "");
    node.wait();
    assert_eq!(only(&server), record(&node));
}

#[test]
fn a_sink_that_cannot_work_leaves_the_record_alone() {
    let (project, server) = (Project::new(), Server::start());
    for (name, value) in [
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL", "nonsense"),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
        ("AWS_ACCESS_KEY_ID", ""),
    ] {
        let mut node = node(&project, &server);
        for variable in node
            .variables
            .iter_mut()
            .filter(|(known, _)| *known == name)
        {
            variable.1 = value.to_owned();
        }
        let known = node.stems("roarfrag").len();
        let mut worker = node.start(TWO);
        worker.wait().unwrap();
        let is_noted = || node.stems("unsent").len() == node.stems("roarfrag").len();
        assert!(wait_until(LONG, || node.stems("roarfrag").len() > known && is_noted()));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!node.supervisors().is_empty(), "{name}");
    }
    let node = node(&project, &server);
    node.kill_supervisors();
    project.write("go", "");
    for stem in node.stems("roarfrag") {
        let note = String::from_utf8(node.content(&stem, "unsent")).unwrap();
        assert!(note.starts_with("0 of ") && note.contains(": "), "{note}");
    }
    assert_eq!(server.objects(""), 0);
    holds_no_secret(&project);
}

/// Nothing that was written holds the secret.
pub(crate) fn holds_no_secret(project: &Project) {
    let files = all_files(&project.path(""));
    assert!(!files.is_empty());
    for file in files {
        let content = fs::read(&file).unwrap();
        let secret = SECRET.as_bytes();
        let has = content.windows(secret.len()).any(|part| part == secret);
        assert!(!has, "{}", file.display());
    }
}
