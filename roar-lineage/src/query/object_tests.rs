use proptest::prelude::*;

use super::tests::{edges, file, fragment, graph, one, task};
use crate::fragment::{Ephemeral, Fragment};
use crate::model::{FileState, FileUse, TaskKind};
use crate::s3::ObjectInfo;

const URL: &str = "s3://b/x";

/// A use of one version: its ETag and version id.
fn used(etag: Option<&str>, id: Option<&str>, at: u64) -> FileUse {
    FileUse {
        object: Some(Box::new(ObjectInfo {
            etag: etag.map(str::to_owned),
            version_id: id.map(str::to_owned),
            ..ObjectInfo::default()
        })),
        ..file(URL, None, at, at)
    }
}

/// A task on a host of its own, from `started` for 10.
fn on_host(id: &str, started: u64) -> Fragment {
    let mut task = task(id, TaskKind::RayTask, started, started + 10);
    (task.host, task.boot) = (format!("h-{id}"), format!("b-{id}"));
    fragment(task)
}

fn writer(id: &str, at: u64, etag: Option<&str>, version: Option<&str>) -> Fragment {
    let mut writer = on_host(id, at - 1);
    writer.writes.push(used(etag, version, at));
    writer
}

fn reader(at: u64, etag: Option<&str>, version: Option<&str>) -> Fragment {
    let mut reader = on_host("r", at - 1);
    reader.reads.push(used(etag, version, at));
    reader
}

fn producers(fragments: &[Fragment]) -> Vec<String> {
    let edges = edges(&graph(fragments));
    edges.into_iter().map(|(from, ..)| from).collect()
}

#[test]
fn a_reader_follows_the_writer_of_its_version_and_nobody_if_that_is_unknown() {
    let (e, f) = (Some("e"), Some("f"));
    let writers = [writer("a", 10, e, None), writer("b", 30, f, None)];
    let with = |read| producers(&[&writers[..], &[read]].concat());
    assert_eq!(with(reader(50, f, None)), ["b"]);
    // By a cache, or a clock that is late.
    assert_eq!(with(reader(50, e, None)), ["a"]);
    assert_eq!(with(reader(5, e, None)), ["a"]);
    assert!(with(reader(50, Some("other"), None)).is_empty());
    // What does not say which version it is follows the clock.
    assert_eq!(with(reader(50, None, None)), ["b"]);
    assert_eq!(with(reader(20, None, None)), ["a"]);
    assert!(with(reader(5, None, None)).is_empty());
}

#[test]
fn an_etag_that_was_left_twice_is_the_last_writers_before_the_read() {
    let e = Some("e");
    let writers = [writer("a", 10, e, None), writer("b", 30, e, None)];
    let with = |read| producers(&[&writers[..], &[read]].concat());
    assert_eq!(with(reader(20, e, None)), ["a"]);
    assert_eq!(with(reader(50, e, None)), ["b"]);
}

#[test]
fn a_version_id_counts_more_than_an_etag() {
    let (e, v, w) = (Some("e"), Some("v"), Some("w"));
    let writers = [writer("a", 10, e, v), writer("b", 30, e, w)];
    let with = |read| producers(&[&writers[..], &[read]].concat());
    assert_eq!(with(reader(50, e, v)), ["a"]);
    assert_eq!(with(reader(50, e, w)), ["b"]);
    assert!(with(reader(50, e, Some("x"))).is_empty());
    assert_eq!(with(reader(50, e, None)), ["b"]);
}

#[test]
fn a_key_that_was_deleted_is_nobodys_until_it_is_written_again() {
    let e = Some("e");
    let first = writer("a", 10, e, None);
    let mut delete = on_host("d", 20);
    delete.deletes.push(FileUse {
        state: FileState::Missing,
        ..used(None, None, 22)
    });
    let again = writer("b", 30, e, None);
    let found = [first.clone(), delete.clone(), reader(50, None, None)];
    assert!(producers(&found).is_empty());
    let early = [first.clone(), delete.clone(), reader(15, None, None)];
    assert_eq!(producers(&early), ["a"]);
    for etag in [None, e] {
        let all = [
            first.clone(),
            delete.clone(),
            again.clone(),
            reader(50, etag, None),
        ];
        assert_eq!(producers(&all), ["b"]);
    }
}

#[test]
fn a_version_that_its_writer_replaced_or_deleted_is_still_its() {
    let mut a = writer("a", 10, Some("e"), None);
    a.ephemerals.push(Ephemeral {
        path: URL.into(),
        version: None,
        object: used(Some("d"), None, 0).object,
        first: 2,
        last: 4,
    });
    assert_eq!(producers(&[a, reader(50, Some("d"), None)]), ["a"]);
}

#[test]
fn a_reader_of_a_part_gets_the_writers_digest() {
    let mut a = on_host("a", 1);
    a.writes.push(FileUse {
        object: used(Some("e"), None, 0).object,
        ..file(URL, Some("1"), 2, 2)
    });
    let mut r = on_host("r", 20);
    let mut part = used(Some("e"), None, 21);
    part.object.as_mut().unwrap().ranges = vec![(0, 9)];
    part.size = None;
    r.reads.push(part);
    let graph = graph(&[r, a]);
    assert_eq!(edges(&graph), [one("a", "r", URL)]);
    let dag = serde_json::to_value(graph.dag()).unwrap();
    let (edge, read) = (&dag["edges"][0], &dag["nodes"][1]["reads"][0]);
    assert_eq!(edge["via"], "s3");
    assert!(edge["digest"].is_string());
    assert_eq!(edge["digest"], read["digest"]);
    assert_eq!(
        (&read["state"], &read["etag"]),
        (&"exact".into(), &"e".into())
    );
    assert_eq!(read["ranges"], serde_json::json!([[0, 9]]));
    assert!(read.get("node").is_none() && read.get("version_id").is_none());
    let shown = serde_json::to_value(graph.show(URL.as_bytes(), b"/p").unwrap()).unwrap();
    assert_eq!(shown["uses"][1]["file"]["etag"], "e");
}

/// One task's uses of one URL, each by its role, ETag, version id and time.
fn user(no: usize, uses: &[(u8, u8, u8, u64)]) -> Fragment {
    let mut user = on_host(&no.to_string(), 1);
    for &(role, etag, id, at) in uses {
        let name = |letter: char, number: u8| (number > 0).then(|| format!("{letter}{number}"));
        let (etag, id) = (name('e', etag), name('v', id));
        let used = used(etag.as_deref(), id.as_deref(), at);
        match role {
            0 => user.writes.push(used),
            1 => user.deletes.push(used),
            _ => user.reads.push(used),
        }
    }
    user
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn edges_join_no_two_versions_and_do_not_depend_on_the_order_of_merging(
        tasks in prop::collection::vec(
            prop::collection::vec((0u8..5, 0u8..3, 0u8..3, 1u64..20), 0..3),
            1..6,
        ),
        rotation in any::<prop::sample::Index>(),
    ) {
        let fragments: Vec<Fragment> =
            tasks.iter().enumerate().map(|(no, uses)| user(no, uses)).collect();
        let mut other = fragments.clone();
        other.reverse();
        other.rotate_left(rotation.index(fragments.len()));
        let graph = graph(&fragments);
        prop_assert_eq!(edges(&graph), edges(&super::tests::graph(&other)));
        for edge in &graph.edges {
            let [write, read] = edge.uses().unwrap().map(|index| &graph.recorded.uses[index].file);
            let [write, read] = [write, read].map(|file| file.object.as_ref().unwrap());
            prop_assert_ne!(write.identity(None).is(read.identity(None)), Some(false));
            prop_assert_ne!(edge.from, edge.to);
        }
    }
}
