use super::tests::{file, fragment, graph, task};
use super::{Found, NotFound};
use crate::digest::Digest;
use crate::fragment::Fragment;
use crate::model::{FileState, TaskKind};

/// A task that began and ended then.
fn during(id: &str, started: u64, ended: u64) -> Fragment {
    fragment(task(id, TaskKind::Command, started, ended))
}

/// What should be at `/p/x`, by these: its digest, if it is known; `None` if nothing should be.
fn standing(fragments: &[Fragment]) -> Option<Option<String>> {
    let standing = graph(fragments).standing(None, b"/").unwrap();
    let one = standing.into_iter().next()?;
    Some(one.file.digest)
}

fn of(content: &str) -> Option<Option<String>> {
    Some(Some(Digest::of(content.as_bytes()).to_string()))
}

#[test]
fn what_was_left_or_seen_last_stands() {
    let mut a = during("a", 0, 10);
    a.writes.push(file("/p/x", Some("1"), 2, 3));
    // What a task left it left at its end: not what was seen while it ran.
    let mut seen = during("seen", 4, 6);
    seen.reads.push(file("/p/x", Some("half"), 5, 5));
    assert_eq!(standing(&[a.clone(), seen.clone()]), of("1"));
    // What somebody has changed since.
    let mut later = during("later", 11, 20);
    later.reads.push(file("/p/x", Some("2"), 12, 12));
    assert_eq!(standing(&[later.clone(), a.clone(), seen]), of("2"));
    later.reads[0].state = FileState::Skipped;
    later.reads[0].digest = None;
    assert_eq!(standing(&[later, a.clone()]), Some(None));
    // What another has overwritten meanwhile.
    a.task.ended = Some(30);
    a.task.ended_at = Some(1_000_030);
    a.writes[0].state = FileState::Superseded;
    a.writes[0].digest = None;
    let mut b = during("b", 11, 20);
    b.writes.push(file("/p/x", Some("3"), 12, 13));
    assert_eq!(standing(&[a, b]), of("3"));
}

#[test]
fn what_was_taken_away_does_not() {
    let mut a = during("a", 0, 10);
    a.writes.push(file("/p/x", Some("1"), 2, 3));
    let mut b = during("b", 11, 20);
    b.deletes.push(file("/p/x", Some("1"), 12, 12));
    assert_eq!(standing(&[a.clone(), b.clone()]), None);
    let mut c = during("c", 21, 30);
    c.writes.push(file("/p/x", Some("2"), 22, 23));
    assert_eq!(standing(&[a.clone(), b, c]), of("2"));
    a.writes[0].state = FileState::Missing;
    a.writes[0].digest = None;
    assert_eq!(standing(&[a]), None);
}

#[test]
fn what_begins_a_task_and_a_digest_is_ambiguous() {
    let hex = Digest::of(b"1").hex();
    let mut one = fragment(task(
        &format!("{}ffff", &hex[..6]),
        TaskKind::Command,
        10,
        20,
    ));
    one.writes = vec![file("/p/a", Some("1"), 15, 15)];
    let graph = graph(&[one]);
    let found = |text: &str| graph.show(text.as_bytes(), b"/p").map(|show| show.found);
    assert!(matches!(found(&hex[..6]), Err(NotFound::Ambiguous(2))));
    assert!(matches!(found(&hex[..9]), Ok(Found::File { .. })));
    let marked = format!("blake3:{}", &hex[..6]);
    assert!(matches!(found(&marked), Ok(Found::File { .. })));
}
