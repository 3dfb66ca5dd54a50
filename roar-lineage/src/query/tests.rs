use super::*;
use crate::fragment::{Ephemeral, Fragment};
use crate::model::*;
use crate::object::{DrivenJob, ObjectId, ObjectUse, hex};

pub(super) fn task(id: &str, kind: TaskKind, started: u64, ended: u64) -> Task {
    Task {
        id: id.to_owned(),
        parent: None,
        kind,
        name: id.into(),
        status: Status::Completed,
        status_detail: None,
        exit_code: Some(0),
        signal: None,
        started_at: 1_000_000 + started as i64,
        ended_at: Some(1_000_000 + ended as i64),
        started,
        ended: Some(ended),
        host: "h".into(),
        boot: "b".into(),
        pid: Some(1),
        ray: None,
    }
}

fn job() -> Job {
    Job {
        id: "job".into(),
        command: vec!["x".into()],
        cwd: "/p".into(),
        root: "/p".into(),
        started_at: 1,
        ended_at: Some(9),
        exit_code: Some(0),
        signal: None,
        tracer: Tracer {
            version: "0".into(),
            backend: "notify".into(),
            accel: false,
            kernel: "6".into(),
        },
        git: None,
    }
}

pub(super) fn fragment(task: Task) -> Fragment {
    Fragment {
        observer: "o".into(),
        revision: 1,
        job: job(),
        task,
        reads: vec![],
        writes: vec![],
        deletes: vec![],
        ephemeral: 0,
        ephemerals: vec![],
        packages: vec![],
        processes: vec![],
        coverage: Coverage::default(),
        objects: Vec::new(),
        drives: Vec::new(),
    }
}

pub(super) fn file(path: &str, content: Option<&str>, first: u64, last: u64) -> FileUse {
    FileUse {
        path: path.into(),
        digest: content.map(|content| crate::digest::Digest::of(content.as_bytes())),
        size: Some(1),
        state: if content.is_some() {
            FileState::Exact
        } else {
            FileState::Skipped
        },
        category: Category::Data,
        how: [How::Open].into(),
        via: None,
        unchanged: false,
        inferred: false,
        version: None,
        object: None,
        first,
        last,
    }
}

/// As an edge has it.
fn digest_of(content: &str) -> Option<String> {
    let digest = file("", Some(content), 0, 0).digest;
    digest.map(|digest| digest.to_string())
}

fn version(ino: u64) -> Option<FileVersion> {
    Some(FileVersion {
        dev: 1,
        ino,
        size: 1,
        mtime: 5,
        ctime: 5,
    })
}

pub(super) fn graph(fragments: &[Fragment]) -> Graph {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.merge(fragments).unwrap();
    Graph::load(&store, false).unwrap()
}

pub(super) fn edges(graph: &Graph) -> Vec<(String, String, String)> {
    let edges = graph.dag().edges;
    edges
        .iter()
        .map(|e| (e.from.clone(), e.to.clone(), e.path.bytes().to_string()))
        .collect()
}

pub(super) fn one(from: &str, to: &str, path: &str) -> (String, String, String) {
    (from.to_owned(), to.to_owned(), path.to_owned())
}

#[test]
fn a_reader_between_two_writers_links_to_the_first() {
    let mut a = fragment(task("a", TaskKind::Command, 0, 10));
    a.writes.push(file("/p/x", Some("1"), 5, 6));
    let mut r = fragment(task("r", TaskKind::Command, 11, 20));
    r.reads.push(file("/p/x", Some("1"), 12, 12));
    let mut b = fragment(task("b", TaskKind::Command, 21, 30));
    b.writes.push(file("/p/x", Some("2"), 25, 26));
    let graph = graph(&[b, r, a]);
    assert_eq!(edges(&graph), [one("a", "r", "/p/x")]);
    let steps: Vec<_> = graph
        .steps()
        .map(|(step, task)| (step, task.id.clone()))
        .collect();
    assert_eq!(steps, [(1, "a".into()), (2, "r".into()), (3, "b".into())]);
}

#[test]
fn digests_that_differ_split_an_edge_unless_the_writer_was_going_on() {
    let reader = |at| {
        let mut r = fragment(task("r", TaskKind::Command, at, at + 5));
        r.reads.push(file("/p/x", Some("2"), at, at));
        r
    };
    let mut a = fragment(task("a", TaskKind::Command, 0, 10));
    a.writes.push(file("/p/x", Some("1"), 5, 6));
    assert!(edges(&graph(&[a.clone(), reader(11)])).is_empty());
    assert_eq!(edges(&graph(&[a, reader(8)])), [one("a", "r", "/p/x")]);
}

#[test]
fn what_another_may_have_written_before_the_end_is_superseded() {
    let left = |change: &dyn Fn(&mut Fragment, &mut Fragment)| {
        let mut a = fragment(task("a", TaskKind::Command, 0, 30));
        a.writes.push(file("/p/x", Some("1"), 5, 6));
        let mut b = fragment(task("b", TaskKind::Command, 7, 12));
        (b.observer, b.task.pid) = ("other".into(), Some(2));
        b.writes.push(file("/p/x", Some("2"), 10, 11));
        change(&mut a, &mut b);
        let graph = graph(&[a, b]);
        let writes = graph.recorded.uses.iter().map(|used| used.file.state);
        writes.collect::<Vec<_>>()
    };
    use FileState::{Exact, Superseded};
    assert_eq!(left(&|_, _| ()), [Superseded, Exact]);
    assert_eq!(left(&|a, _| a.task.ended = Some(9)), [Exact, Exact]);
    assert_eq!(left(&|a, _| a.task.ended = None), [Superseded, Exact]);
    assert_eq!(left(&|a, _| a.task.boot = "c".into()), [Exact, Exact]);
    assert_eq!(left(&|a, _| a.writes[0].last = 13), [Exact, Superseded]);
    // Of one observer, or where one was a part of the other.
    assert_eq!(
        left(&|a, b| b.observer.clone_from(&a.observer)),
        [Exact, Exact]
    );
    let process = |pid| Process {
        pid,
        ppid: 1,
        start_ticks: 1,
        exe: None,
        argv: vec![],
        started_at: 0,
        ended_at: None,
        exit_code: None,
        signal: None,
    };
    assert_eq!(left(&|a, _| a.processes.push(process(2))), [Exact, Exact]);
    assert_eq!(left(&|_, b| b.processes.push(process(1))), [Exact, Exact]);
}

#[test]
fn what_was_changed_or_deleted_in_between_is_no_edge() {
    let between = |change: &dyn Fn(&mut Fragment, &mut Fragment, &mut Fragment)| {
        let mut a = fragment(task("a", TaskKind::Command, 0, 10));
        a.writes.push(file("/p/x", Some("1"), 5, 6));
        let mut d = fragment(task("d", TaskKind::Command, 11, 14));
        let mut r = fragment(task("r", TaskKind::Command, 15, 20));
        r.reads.push(file("/p/x", None, 16, 16));
        change(&mut a, &mut d, &mut r);
        let edges = graph(&[a, d, r]).dag().edges;
        edges
            .into_iter()
            .map(|edge| edge.digest)
            .collect::<Vec<_>>()
    };
    // What was read was not hashed: it may be another content of the same size.
    assert_eq!(between(&|_, _, _| ()), [None]);
    let digest = digest_of("1");
    let same = |a: &mut Fragment, _: &mut Fragment, r: &mut Fragment| {
        a.writes[0].version = version(1);
        r.reads[0].version = version(1);
    };
    assert_eq!(between(&same), std::slice::from_ref(&digest));
    assert_eq!(between(&|_, _, r| r.reads[0].size = Some(14)), []);
    let delete = |d: &mut Fragment| d.deletes.push(file("/p/x", None, 12, 12));
    assert_eq!(between(&|_, d, _| delete(d)), []);
    let back = |a: &mut Fragment, d: &mut Fragment, r: &mut Fragment| {
        delete(d);
        same(a, d, r);
    };
    assert_eq!(between(&back), [digest]);
    // It may have been written again in between.
    let again = |a: &mut Fragment, d: &mut Fragment| {
        delete(d);
        a.task.ended = Some(30);
        a.writes[0].last = 20;
    };
    assert_eq!(between(&|a, d, _| again(a, d)), [None]);
}

#[test]
fn a_reader_of_two_versions_has_an_edge_for_each() {
    let mut a = fragment(task("a", TaskKind::Command, 0, 20));
    a.writes.push(file("/p/x", Some("2"), 5, 12));
    let mut r = fragment(task("r", TaskKind::Command, 6, 30));
    for (content, at) in [("1", 7), ("1", 8), ("2", 25)] {
        r.reads.push(file("/p/x", Some(content), at, at));
    }
    r.reads.push(file("/p/x", None, 26, 26));
    let edges = graph(&[a, r]).dag().edges;
    let digests: Vec<_> = edges.iter().map(|edge| edge.digest.clone()).collect();
    assert_eq!(digests, [digest_of("1"), digest_of("2")]);
}

#[test]
fn a_child_may_write_again_after_the_end() {
    let mut a = fragment(task("a", TaskKind::Command, 0, 10));
    a.writes.push(file("/p/x", Some("2"), 5, 30));
    let mut r = fragment(task("r", TaskKind::Command, 15, 20));
    r.reads.push(file("/p/x", Some("1"), 16, 16));
    assert_eq!(edges(&graph(&[a, r])), [one("a", "r", "/p/x")]);
}

#[test]
fn equal_content_elsewhere_and_own_files_are_no_edge() {
    let mut a = fragment(task("a", TaskKind::Command, 0, 10));
    a.writes.push(file("/p/x", Some(""), 5, 6));
    a.reads.push(file("/p/x", Some(""), 7, 7));
    let mut r = fragment(task("r", TaskKind::Command, 11, 20));
    r.reads.push(file("/p/y", Some(""), 12, 12));
    assert!(edges(&graph(&[a, r])).is_empty());
}

#[test]
fn an_ephemeral_file_that_was_read_is_shown_as_missing() {
    let mut a = fragment(task("a", TaskKind::Command, 0, 10));
    let seen = |path: &str| Ephemeral {
        path: path.into(),
        version: None,
        object: None,
        first: 2,
        last: 8,
    };
    a.ephemerals = vec![seen("/p/t"), seen("/p/u")];
    let mut r = fragment(task("r", TaskKind::Command, 1, 20));
    r.reads.push(file("/p/t", None, 5, 5));
    r.reads.push(file("/p/u", None, 9, 9));
    let graph = graph(&[a, r]);
    assert_eq!(edges(&graph), [one("a", "r", "/p/t")]);
    let writes = &graph.dag().nodes[0].writes;
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].state, FileState::Missing);
}

#[test]
fn another_host_is_a_producer_only_with_the_same_version() {
    let mut a = fragment(task("a", TaskKind::RayTask, 0, 10));
    a.writes.push(FileUse {
        version: version(7),
        ..file("/s/x", None, 5, 6)
    });
    a.writes.push(file("/s/y", None, 5, 6));
    let mut r = fragment(task("r", TaskKind::RayTask, 11, 20));
    (r.task.host, r.task.boot) = ("other".into(), "c".into());
    let remote = FileVersion {
        dev: 9,
        ..version(7).unwrap()
    };
    r.reads.push(FileUse {
        version: Some(remote),
        ..file("/s/x", None, 1, 1)
    });
    r.reads.push(file("/s/y", None, 12, 12));
    assert_eq!(edges(&graph(&[a, r])), [one("a", "r", "/s/x")]);
}

#[test]
fn a_driver_and_its_tasks_are_a_cycle_by_start_and_fit_the_schema() {
    let ray = |func: &str| RayIds {
        job_id: "01".into(),
        task_id: Some("t".into()),
        attempt: 0,
        actor_id: None,
        node_id: None,
        worker_id: None,
        func: Some(func.into()),
        session: None,
    };
    let mut driver = fragment(task("d", TaskKind::Command, 0, 100));
    driver.writes.push(file("/p/in", None, 1, 1));
    driver.reads.push(file("/p/out", None, 50, 50));
    let mut work = fragment(task("w", TaskKind::RayTask, 10, 20));
    work.task.ray = Some(ray("m.f"));
    work.reads.push(file("/p/in", None, 11, 11));
    work.writes.push(file("/p/out", Some("o"), 12, 12));
    let mut own = fragment(task("k", TaskKind::Worker, 5, 90));
    own.reads.push(file("/p/cfg", None, 6, 6));
    let graph = graph(&[own, work, driver]);
    let dag = graph.dag();
    let ids: Vec<_> = dag.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["d", "w"]);
    assert_eq!(dag.nodes[0].kind, TaskKind::RayDriver);
    assert_eq!(dag.nodes[0].ray.as_ref().unwrap().task_id, None);
    assert_eq!(dag.nodes[1].parent.as_deref(), Some("d"));
    assert_eq!(dag.edges.len(), 2);
    assert_eq!(dag.coverage.gaps[0].kind, GapKind::Unattributed);
    let json = serde_json::to_value(&dag).unwrap();
    assert_eq!(json["nodes"][0]["reads"][0]["path"], "/p/out");
    assert_eq!(json["edges"][0]["via"], "file");
    assert!(matches!(
        graph.show(b"@2", b"/p").unwrap().found,
        Found::Task { .. }
    ));
    assert!(matches!(
        graph.show(b"../p/out", b"/p").unwrap().found,
        Found::File { .. }
    ));
    assert_eq!(
        graph.show(b"@3", b"/p").unwrap_err(),
        NotFound::NoSuchStep(2)
    );
}

#[test]
fn objects_join_their_maker_to_every_attempt_that_received_them() {
    let ray_task = |name: &str, byte: u8, attempt: u32, started: u64| {
        let mut task = task(name, TaskKind::RayTask, started, started + 5);
        task.ray = Some(RayIds {
            job_id: "01000000".into(),
            task_id: Some(hex(&id(byte))),
            attempt,
            actor_id: None,
            node_id: None,
            worker_id: None,
            func: None,
            session: Some("s".into()),
        });
        fragment(task)
    };
    let used = |object: [u8; 28], receiver: Option<u8>, size| ObjectUse {
        session: "s".into(),
        object: ObjectId(object),
        receiver: receiver.map(id),
        size,
    };
    let mut driver = fragment(task("driver", TaskKind::Command, 0, 100));
    driver.drives.push(DrivenJob {
        session: "s".into(),
        job_id: "01000000".into(),
    });
    let mut failed = ray_task("failed", 1, 0, 10);
    failed.task.status = Status::Failed;
    let made = ray_task("made", 1, 1, 20);
    let mut user = ray_task("user", 2, 0, 30);
    let again = ray_task("again", 2, 1, 40);
    let other = {
        let mut other = ray_task("other", 1, 0, 25);
        other.task.ray.as_mut().unwrap().session = Some("t".into());
        other
    };
    driver.objects.push(used(object(id(1), 1), Some(2), None));
    driver.objects.push(used(object(id(2), 1), None, Some(3)));
    user.objects.push(used(object(id(1), 1), None, Some(7)));
    let mut driver_id = [0xff; 24];
    driver_id[20..].copy_from_slice(&[1, 0, 0, 0]);
    driver_id[0] = 0;
    user.objects
        .push(used(object(driver_id, 100_000_001), None, None));
    let mut put = id(1);
    put[0] = 0;
    user.objects
        .push(used(object(put, 100_000_002), None, None));
    let graph = graph(&[driver, failed, made, user, again, other]);
    let dag = graph.dag();
    let mut found: Vec<_> = dag
        .edges
        .iter()
        .map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.via, edge.size))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("again", "driver", "object", Some(3)),
            ("driver", "user", "object", None),
            ("made", "again", "object", None),
            ("made", "user", "object", None),
            ("made", "user", "object", Some(7)),
        ]
    );
}

/// A task's id, outside of any actor.
fn id(byte: u8) -> crate::object::RayTaskId {
    let mut id = [0xff; 24];
    id[..8].fill(byte);
    id[20..].copy_from_slice(&[1, 0, 0, 0]);
    id
}

fn object(maker: crate::object::RayTaskId, index: u32) -> [u8; 28] {
    let mut object = [0; 28];
    object[..24].copy_from_slice(&maker);
    object[24..].copy_from_slice(&index.to_le_bytes());
    object
}
