use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::tests::{file, fragment, task};
use super::*;
use crate::digest::Digest;
use crate::fragment::{Ephemeral, Fragment};
use crate::model::*;
use crate::object::{DrivenJob, ObjectId, ObjectUse, hex};
use crate::s3::ObjectInfo;

const PATHS: &[&str] = &["/p/a", "/p/b", "/p/c", "s3://b/x"];
const KINDS: &[TaskKind] = &[
    TaskKind::Command,
    TaskKind::Command,
    TaskKind::RayTask,
    TaskKind::RayTask,
    TaskKind::RayActorInit,
    TaskKind::RayActorMethod,
    TaskKind::Worker,
];

/// One use: role, path, content, category, version or ETag, and time.
type Used = (u8, usize, u8, u8, u8, u64);

/// One task: kind, place and start, Ray's id, uses, and objects: maker, index, receiver.
type Made = (usize, (u8, u8, u64), u8, Vec<Used>, Vec<(u8, bool, u8)>);

fn ray_id(byte: u8) -> crate::object::RayTaskId {
    let mut id = [0xff; 24];
    // All ones is the driver's.
    id[..8].fill(if byte == 0 { 0xff } else { byte });
    id[20..].copy_from_slice(&[1, 0, 0, 0]);
    id
}

fn made(no: usize, (kind, (host, boot, start), byte, uses, objects): &Made) -> Fragment {
    let kind = KINDS[*kind];
    let mut task = task(&format!("{no:02}"), kind, *start, start + 6);
    (task.host, task.boot) = (format!("h{host}"), format!("b{host}{boot}"));
    let is_ray = !matches!(kind, TaskKind::Command | TaskKind::Worker);
    let is_actors = matches!(kind, TaskKind::RayActorInit | TaskKind::RayActorMethod);
    task.ray = is_ray.then(|| RayIds {
        job_id: "01000000".into(),
        task_id: (*byte > 0).then(|| hex(&ray_id(*byte))),
        attempt: no as u32,
        actor_id: is_actors.then(|| format!("actor{}", byte % 2)),
        node_id: None,
        worker_id: None,
        func: None,
        session: Some("s".into()),
    });
    let mut made = fragment(task);
    made.observer = format!("o{}", no % 2);
    for &(role, path, content, category, version, at) in uses {
        let path = PATHS[path];
        let name = (content > 0).then(|| content.to_string());
        let mut used = file(path, name.as_deref(), start + at, start + at);
        used.category = [Category::Data, Category::Temp, Category::System][usize::from(category)];
        if path.starts_with('/') {
            used.version = (version > 0).then_some(FileVersion {
                dev: host.to_owned().into(),
                ino: version.into(),
                size: 1,
                mtime: 5,
                ctime: 5,
            });
        } else {
            used.object = Some(Box::new(ObjectInfo {
                etag: (version > 0).then(|| version.to_string()),
                ..ObjectInfo::default()
            }));
        }
        match role {
            0 => made.deletes.push(used),
            1 => made.ephemerals.push(Ephemeral {
                path: used.path,
                version: used.version,
                object: used.object,
                first: used.first,
                last: used.last + 2,
            }),
            2..5 => made.writes.push(used),
            _ => made.reads.push(used),
        }
    }
    for &(maker, was_put, receiver) in objects {
        let mut object = [0; 28];
        object[..24].copy_from_slice(&ray_id(maker));
        object[0] = if was_put && maker > 0 { 0 } else { object[0] };
        let index = if was_put { 100_000_001u32 } else { 1 };
        object[24..].copy_from_slice(&index.to_le_bytes());
        made.objects.push(ObjectUse {
            session: "s".into(),
            object: ObjectId(object),
            receiver: (receiver > 0).then(|| ray_id(receiver)),
            size: was_put.then_some(3),
        });
    }
    if *byte == 0 && kind == TaskKind::Command {
        made.drives.push(DrivenJob {
            session: "s".into(),
            job_id: "01000000".into(),
        });
    }
    made
}

/// The same from the whole graph: ids of tasks, edges, and files by path, node and digest.
fn expected(graph: &Graph, artifact: &Artifact, direction: Direction) -> serde_json::Value {
    let recorded = &graph.recorded;
    let is_meant = |index: usize| match artifact {
        Artifact::At(path) => recorded.uses[index].file.path == *path,
        Artifact::Below(path) => recorded.uses[index].file.path.starts_with(path),
        Artifact::Content(digest) => recorded.uses[index].file.digest == Some(*digest),
    };
    let is_up = direction == Direction::Up;
    let end = |edge: &Edge| if is_up { edge.from } else { edge.to };
    let mut reached = BTreeSet::new();
    for (index, used) in recorded.uses.iter().enumerate() {
        let counts = match used.role {
            Role::Read => !is_up,
            Role::Write | Role::Ephemeral => is_up,
            Role::Delete => false,
        };
        if counts && is_meant(index) && graph.order.contains(&used.task) {
            reached.insert(used.task);
        }
    }
    for edge in &graph.edges {
        if edge
            .uses()
            .is_some_and(|[write, read]| is_meant(if is_up { read } else { write }))
        {
            reached.insert(end(edge));
        }
    }
    loop {
        let before = reached.len();
        for edge in &graph.edges {
            let begin = if is_up { edge.to } else { edge.from };
            if reached.contains(&begin) {
                reached.insert(end(edge));
            }
        }
        if reached.len() == before {
            break;
        }
    }
    let role = if is_up { Role::Read } else { Role::Write };
    let of_tasks = |used: &&Use| used.role == role && reached.contains(&used.task);
    let uses = recorded.uses.iter().filter(of_tasks);
    let shown = uses.filter(|used| graph.all || used.file.category.is_shown());
    let ids: BTreeSet<_> = reached
        .iter()
        .map(|&index| graph.task(index).id.clone())
        .collect();
    let edges = graph.edges.iter();
    let edges = edges.filter(|edge| reached.contains(&edge.from) && reached.contains(&edge.to));
    document(
        ids,
        edges.map(|edge| graph.edge(edge)).collect(),
        shown.map(|used| graph.file(used)).collect(),
    )
}

fn document(
    ids: BTreeSet<String>,
    edges: Vec<EdgeObject>,
    files: Vec<document::File>,
) -> serde_json::Value {
    let edges: BTreeSet<String> = edges.iter().map(|edge| json!(edge).to_string()).collect();
    let name = |file: &document::File| json!([json!(file)["path"], file.node, file.digest]);
    let files: BTreeSet<String> = files.iter().map(|file| name(file).to_string()).collect();
    json!({"tasks": ids, "edges": edges, "files": files})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn lineage_is_a_walk_over_the_whole_graph(
        tasks in prop::collection::vec(
            (
                0..KINDS.len(),
                (0u8..2, 0u8..2, 0u64..30),
                0u8..4,
                prop::collection::vec((0u8..9, 0..PATHS.len(), 0u8..3, 0u8..3, 0u8..3, 0u64..6), 0..5),
                prop::collection::vec((0u8..4, any::<bool>(), 0u8..4), 0..3),
            ),
            1..9,
        ),
        all: bool,
    ) {
        let fragments: Vec<Fragment> =
            tasks.iter().enumerate().map(|(no, task)| made(no, task)).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.merge(&fragments).unwrap();
        let graph = Graph::load(&store, all).unwrap();
        let contents = [b"1", b"2"].map(|content| Artifact::Content(Digest::of(content)));
        let paths = PATHS.iter().map(|&path| Artifact::At(path.into()));
        let directories = ["/p", "s3://b"].map(|path| Artifact::Below(path.into()));
        for artifact in paths.chain(contents).chain(directories) {
            for direction in [Direction::Up, Direction::Down] {
                let found = lineage(&store, &artifact, direction, all).unwrap();
                let ids = found.tasks.into_iter().map(|task| task.id).collect();
                let found = document(ids, found.edges, found.files);
                prop_assert_eq!(
                    found,
                    expected(&graph, &artifact, direction),
                    "{:?} {:?}", artifact, direction
                );
            }
        }
    }
}

#[test]
fn ancestors_of_a_pipelines_result_are_its_steps_and_its_sources() {
    let step = |id: &str, at: u64, read: &str, written: &str| {
        let mut step = fragment(task(id, TaskKind::Command, at, at + 9));
        step.reads.push(file(read, Some(read), at + 1, at + 1));
        step.writes
            .push(file(written, Some(written), at + 5, at + 6));
        step
    };
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let steps = [
        step("a", 0, "/p/raw", "/p/clean"),
        step("b", 10, "/p/clean", "/p/model"),
        step("c", 20, "/p/clean", "/p/plot"),
    ];
    store.merge(&steps).unwrap();
    let of = |path: &str, direction| {
        let found = lineage(&store, &Artifact::At(path.into()), direction, false).unwrap();
        let tasks: Vec<_> = found.tasks.into_iter().map(|task| task.id).collect();
        let files: Vec<_> = found
            .files
            .iter()
            .map(|file| json!(file)["path"].clone())
            .collect();
        (tasks, found.edges.len(), json!(files))
    };
    let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        of("/p/model", Direction::Up),
        (ids(&["a", "b"]), 1, json!(["/p/clean", "/p/raw"]))
    );
    assert_eq!(
        of("/p/raw", Direction::Down),
        (
            ids(&["a", "b", "c"]),
            2,
            json!(["/p/clean", "/p/model", "/p/plot"])
        )
    );
    assert_eq!(of("/p/raw", Direction::Up), (vec![], 0, json!([])));
}
