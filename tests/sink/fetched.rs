//! `roar merge s3://…`.

use std::fs;
use std::process::Output;

use roar_tests::{Project, validate};
use serde_json::Value;

use crate::mirrored::holds_no_secret;
use crate::server::{BUCKET, SECRET, Server};
use crate::worker::Node;

fn merge(node: &Node<'_>, place: &str) -> Value {
    let output = node.roar(["merge", "--json", place]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let document = serde_json::from_slice(&output.stdout).unwrap();
    validate(&document);
    document
}

fn graph(node: &Node<'_>) -> Value {
    let mut graph = node.project.document(&["dag", "--json", "--all"]);
    // Each store is a session.
    graph["session"] = Value::Null;
    graph
}

/// Three workers' records in S3; where they are on the node.
fn recorded(server: &Server, project: &Project) -> String {
    let node = Node {
        project,
        sink: format!("s3://{BUCKET}/a"),
        variables: server.variables(),
    };
    node.run("echo in > in");
    node.run("cat in > out");
    node.run("cat out > end");
    node.wait();
    assert_eq!(node.stems("unsent"), [""; 0], "{}", node.notes());
    assert_eq!(server.files("a").len(), 3);
    node.fragments().to_str().unwrap().to_owned()
}

fn elsewhere<'a>(project: &'a Project, server: &Server) -> Node<'a> {
    fs::create_dir(project.path(".roar")).unwrap();
    Node {
        project,
        sink: String::new(),
        variables: server.variables(),
    }
}

#[test]
fn what_is_fetched_is_what_the_node_has() {
    let (server, source) = (Server::start(), Project::new());
    let fragments = recorded(&server, &source);
    let (here, there) = (Project::new(), Project::new());
    let (here, there) = (elsewhere(&here, &server), elsewhere(&there, &server));
    merge(&here, &fragments);
    let merged = merge(&there, &format!("s3://{BUCKET}/a/"));
    assert_eq!((&merged["files"], &merged["taken"]), (&3.into(), &3.into()));
    assert_eq!(graph(&there), graph(&here));
    assert_eq!(graph(&there)["nodes"].as_array().unwrap().len(), 3);

    let again = merge(&there, &format!("s3://{BUCKET}"));
    assert_eq!((&again["taken"], &again["known"]), (&0.into(), &3.into()));
    let again = merge(&there, &fragments);
    assert_eq!((&again["taken"], &again["known"]), (&0.into(), &3.into()));
    assert_eq!(graph(&there), graph(&here));
    holds_no_secret(there.project);
    holds_no_secret(&source);
}

#[test]
fn there_may_be_more_pieces_than_one_answer_lists() {
    let (server, source) = (Server::start(), Project::new());
    let fragments = recorded(&server, &source);
    for (name, pieces) in server.files("a") {
        let directory = server.path("many").join(name);
        fs::create_dir_all(&directory).unwrap();
        for (at, piece) in pieces.concat().chunks(3).enumerate() {
            fs::write(directory.join(format!("{:016}", at * 3)), piece).unwrap();
        }
    }
    assert!(server.objects("many") > 1000);
    let (here, there) = (Project::new(), Project::new());
    let (here, there) = (elsewhere(&here, &server), elsewhere(&there, &server));
    merge(&here, &fragments);
    merge(&there, &format!("s3://{BUCKET}/many"));
    assert_eq!(graph(&there), graph(&here));
}

#[test]
fn a_piece_that_is_missing_is_told() {
    let (server, source) = (Server::start(), Project::new());
    recorded(&server, &source);
    let (name, pieces) = server.files("a").remove(0);
    let bytes = pieces.concat();
    let file = server.path("a").join(&name);
    fs::remove_file(file.join("0000000000000000")).unwrap();
    let cut = bytes.len() / 2;
    fs::write(file.join(format!("{:016}", 0)), &bytes[..cut]).unwrap();
    fs::write(file.join(format!("{:016}", cut + 1)), &bytes[cut + 1..]).unwrap();
    let project = Project::new();
    let node = elsewhere(&project, &server);
    let output = node.roar(["merge", &format!("s3://{BUCKET}/a")]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let told = format!(
        "roar: warning: s3://{BUCKET}/a/{name}: a piece is missing; what stands before it was taken\n"
    );
    assert_eq!(stderr, told);
    assert_eq!(graph(&node)["nodes"].as_array().unwrap().len(), 2);
}

/// The first line that a merge ends with, and that there is nothing behind the hint.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(!stderr.contains(SECRET), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let hints = lines.iter().skip(1).all(|line| line.starts_with("hint: "));
    assert!(lines.len() <= 2 && hints, "{stderr}");
    lines[0].to_owned()
}

#[test]
fn what_cannot_be_fetched_is_one_line() {
    let (mut server, source, project) = (Server::start(), Project::new(), Project::new());
    recorded(&server, &source);
    let node = elsewhere(&project, &server);
    let place = format!("s3://{BUCKET}/a/");
    let run = |place: &str, name: &str, value: &str| {
        let mut roar = node.roar(["merge", place]);
        roar.env(name, value).output().unwrap()
    };
    let why = |place: &str, name: &str, value: &str| {
        let line = refused(&run(place, name, value), 1);
        let start = format!("roar: cannot read {place} (");
        line.strip_prefix(&start).expect(&line).to_owned()
    };
    assert_eq!(
        why(&place, "AWS_SECRET_ACCESS_KEY", "wrong"),
        "SignatureDoesNotMatch)"
    );
    assert!(why("s3://nothing/a/", "X", "").starts_with("NoSuchBucket"));
    let bad = why(&place, "AWS_ENDPOINT_URL", "nonsense");
    assert_eq!(bad, "relative URL without a base)");
    let without = why(&place, "AWS_ACCESS_KEY_ID", "");
    assert_eq!(without, "there are no credentials, or they cannot be read)");
    let none = refused(&run(&format!("s3://{BUCKET}/none"), "X", ""), 1);
    assert!(none.starts_with("roar: nothing to merge ("), "{none}");
    for place in [
        "s3://",
        &format!("s3://{KEY}:{SECRET}@{BUCKET}/a", KEY = "k"),
    ] {
        let line = refused(&run(place, "X", ""), 1);
        assert!(
            line.starts_with("roar: cannot merge from there ("),
            "{line}"
        );
    }
    server.go_away();
    let gone = why(&place, "X", "");
    assert_eq!(gone, "Connection refused (os error 111))");
    let store = project.path(".roar/roar.db");
    assert!(!store.exists(), "nothing was merged");
}
