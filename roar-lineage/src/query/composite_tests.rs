use proptest::prelude::*;

use super::tests::{file, fragment, graph, task};
use super::{Composite, Found};
use crate::fragment::Fragment;
use crate::model::TaskKind;

/// A task of a job of its own, which read and wrote these files: path and content.
fn of_job(
    job: &str,
    id: &str,
    at: u64,
    reads: &[&str],
    writes: &[(&str, Option<&str>)],
) -> Fragment {
    let mut fragment = fragment(task(id, TaskKind::Command, at, at + 5));
    fragment.job.id = job.to_owned();
    for (path, content) in writes {
        fragment.writes.push(file(path, *content, at + 1, at + 1));
    }
    for path in reads {
        fragment.reads.push(file(path, None, at + 1, at + 1));
    }
    fragment
}

/// Two tasks of one job write the shards of a dataset, a task of another reads them.
fn pipeline() -> Vec<Fragment> {
    let (one, two) = (Some("1"), Some("2"));
    let left = [("/p/d/part-0", one), ("/p/d/_SUCCESS", Some(""))];
    vec![
        of_job("j", "a", 10, &["/p/raw/x", "/p/raw/y"], &left),
        of_job("j", "b", 10, &[], &[("/p/d/part-1", two), ("/p/log", one)]),
        of_job(
            "k",
            "c",
            30,
            &["/p/d/part-0", "/p/d/part-1"],
            &[("/p/out", one)],
        ),
    ]
}

fn composites(fragments: &[Fragment]) -> Vec<Composite> {
    graph(fragments).dag().composites
}

#[test]
fn shards_of_several_tasks_are_one_artifact() {
    let found = composites(&pipeline());
    let [dataset, raw] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(dataset.path.bytes(), "/p/d/");
    assert_eq!((dataset.components, dataset.size), (3, Some(3)));
    assert_eq!(dataset.producers, ["a", "b"]);
    assert_eq!(dataset.consumers, ["c"]);
    assert!(dataset.digest.is_some());
    assert_eq!(raw.path.bytes(), "/p/raw/");
    assert_eq!((&raw.producers[..], &raw.digest), (&[][..], &None));
    assert_eq!(raw.consumers, ["a"]);
}

#[test]
fn a_composite_is_found_by_its_path_and_its_digest() {
    let graph = graph(&pipeline());
    let digest = graph.dag().composites[0].digest.clone().unwrap();
    for reference in ["d", "d/", "/p/d/", &digest, &digest[..20]] {
        let show = graph.show(reference.as_bytes(), b"/p").unwrap();
        let Found::Composite { composites } = show.found else {
            panic!("{reference}");
        };
        let files: Vec<_> = composites[0]
            .files
            .iter()
            .map(|file| file.path.bytes())
            .collect();
        assert_eq!(files, ["/p/d/_SUCCESS", "/p/d/part-0", "/p/d/part-1"]);
    }
    assert!(graph.show(b"elsewhere/", b"/p").is_err());
}

#[test]
fn equal_directories_have_one_digest_wherever_they_are() {
    let (one, two) = (Some("1"), Some("2"));
    let local = [("/q/d/x", one), ("/q/d/y", two)];
    let remote = [("s3://b/k/x", one), ("s3://b/k/y", two)];
    let written = [
        of_job("j", "a", 1, &[], &local),
        of_job("k", "b", 9, &[], &remote),
    ];
    let found = composites(&written);
    assert_eq!(found.len(), 2);
    assert!(found[0].digest.is_some());
    assert_eq!(found[0].digest, found[1].digest);
}

#[test]
fn what_a_job_wrote_twice_counts_once_and_what_it_deleted_not_at_all() {
    let first = [
        ("/p/d/x", Some("1")),
        ("/p/d/y", Some("1")),
        ("/p/d/z", Some("1")),
    ];
    let a = of_job("j", "a", 10, &[], &first);
    let mut b = of_job("j", "b", 20, &[], &[("/p/d/x", Some("2"))]);
    b.deletes.push(file("/p/d/z", None, 22, 22));
    let found = composites(&[a, b]);
    let left = [("/p/d/x", Some("2")), ("/p/d/y", Some("1"))];
    let expected = composites(&[of_job("j", "a", 10, &[], &left)]);
    assert_eq!((found.len(), found[0].components), (1, 2));
    assert_eq!(found[0].digest, expected[0].digest);
}

#[test]
fn two_jobs_that_leave_the_same_are_producers_of_one_and_else_of_two() {
    let same = [("/p/d/x", Some("1")), ("/p/d/y", Some("1"))];
    let other = [("/p/d/x", Some("1")), ("/p/d/y", None)];
    let jobs = |second: &[(&str, Option<&str>)]| {
        composites(&[
            of_job("j", "a", 10, &[], &same),
            of_job("k", "b", 20, &[], second),
        ])
    };
    assert_eq!(jobs(&same).len(), 1);
    assert_eq!(jobs(&same)[0].producers, ["a", "b"]);
    assert_eq!(jobs(&other).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn composites_do_not_depend_on_the_order_of_merging(
        order in Just(vec![0usize, 1, 2, 0]).prop_shuffle(),
    ) {
        let fragments = pipeline();
        let shuffled: Vec<Fragment> = order.iter().map(|&at| fragments[at].clone()).collect();
        let text = |found: Vec<Composite>| serde_json::to_string(&found).unwrap();
        prop_assert_eq!(text(composites(&shuffled)), text(composites(&fragments)));
    }
}

#[test]
fn those_of_many_jobs_are_found_quickly() {
    let job = |n: u64| {
        let raw = [format!("/p/raw/{n}"), format!("/p/raw/{}", n + 1)];
        let reads = raw.each_ref().map(String::as_str);
        of_job(&format!("j{n}"), &format!("t{n}"), n * 10, &reads, &[])
    };
    let fragments: Vec<Fragment> = (1..=20_000).map(job).collect();
    let graph = graph(&fragments);
    let start = std::time::Instant::now();
    assert_eq!(graph.composites().len(), 20_000);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
