//! Laws of the accumulator, for whatever sequence of events.

use proptest::prelude::*;
use roar_lineage::accumulate::{Accumulator, Versions};
use roar_lineage::event::{Access, Event};
use roar_lineage::fragment::Fragment;
use roar_lineage::model::{FileState, FileVersion, How, Job, Status, Task, TaskKind, Tracer};
use roar_lineage::s3::{ObjectAccess, ObjectAction, ObjectVersion};

const PATHS: [&str; 4] = ["/p/a", "/p/b", "/p/c", "/p/d.py"];

fn version(ino: u64) -> FileVersion {
    FileVersion {
        dev: 1,
        ino,
        size: ino % 3,
        mtime: 1,
        ctime: 1,
    }
}

fn job() -> Job {
    let tracer = Tracer {
        version: "0".into(),
        backend: "notify".into(),
        accel: false,
        kernel: "6".into(),
    };
    Job {
        id: "job".into(),
        command: Vec::new(),
        cwd: "/p".into(),
        root: "/p".into(),
        started_at: 0,
        ended_at: None,
        exit_code: None,
        signal: None,
        tracer,
        git: None,
    }
}

fn task(no: u32) -> Task {
    Task {
        id: format!("task-{no}"),
        parent: None,
        kind: TaskKind::RayTask,
        name: "t".into(),
        status: Status::Running,
        status_detail: None,
        exit_code: None,
        signal: None,
        started_at: 0,
        ended_at: None,
        started: 0,
        ended: None,
        host: "h".into(),
        boot: "b".into(),
        pid: None,
        ray: None,
    }
}

fn begin() -> Accumulator {
    let mut state = Accumulator::default();
    state.apply(&Event::Began {
        observer: "o".into(),
        job: job(),
    });
    for no in 0..2 {
        state.apply(&Event::Task { no, task: task(no) });
    }
    state
}

fn path() -> impl Strategy<Value = bstr::BString> {
    prop::sample::select(&PATHS[..]).prop_map(bstr::BString::from)
}

fn access() -> impl Strategy<Value = Access> {
    let read = (path(), 1u64..6).prop_map(|(path, ino)| Access::Read {
        path,
        version: version(ino),
        how: How::Open,
        via: None,
        inferred: false,
    });
    let write =
        (path(), prop::option::of(1u64..6), any::<bool>()).prop_map(|(path, before, truncates)| {
            Access::Write {
                path,
                before: before.map(version),
                how: if truncates { How::Open } else { How::Modify },
                truncates,
                reads: !truncates,
                via: None,
            }
        });
    let rename = (path(), path(), 1u64..6, prop::option::of(1u64..6))
        .prop_filter("two names", |(from, to, ..)| from != to)
        .prop_map(|(from, to, moved, replaced)| Access::Rename {
            from,
            to,
            moved: version(moved),
            replaced: replaced.map(version),
        });
    let exchange = (path(), path(), 1u64..6, 1u64..6)
        .prop_filter("two names", |(a, b, ..)| a != b)
        .prop_map(|(a, b, a_ino, b_ino)| Access::Exchange {
            a,
            a_version: version(a_ino),
            b,
            b_version: version(b_ino),
        });
    let link = (path(), path(), 1u64..6)
        .prop_filter("two names", |(from, to, _)| from != to)
        .prop_map(|(from, to, ino)| Access::Link {
            from: Some(from),
            to,
            version: version(ino),
        });
    let unlink = (path(), 1u64..6).prop_map(|(path, ino)| Access::Unlink {
        path,
        version: version(ino),
    });
    prop_oneof![4 => read, 4 => write, 2 => rename, 1 => exchange, 1 => link, 2 => unlink]
}

fn object_version() -> impl Strategy<Value = ObjectVersion> {
    let etag = prop::option::of(0u8..3);
    let id = prop::option::weighted(0.2, 0u8..3);
    (etag, id, prop::option::of(0u64..2)).prop_map(|(etag, id, size)| ObjectVersion {
        etag: etag.map(|etag| format!("e{etag}")),
        version_id: id.map(|id| format!("v{id}")),
        size,
        ..ObjectVersion::default()
    })
}

fn object_access() -> impl Strategy<Value = ObjectAccess> {
    let range = prop::option::of((0u64..50, 0u64..9));
    let get = range
        .prop_map(|range| ObjectAction::Get(range.map(|(first, length)| (first, first + length))));
    let action = prop_oneof![
        4 => get,
        2 => Just(ObjectAction::Put),
        1 => Just(ObjectAction::Copy),
        1 => Just(ObjectAction::Multipart),
        2 => Just(ObjectAction::Delete),
        1 => Just(ObjectAction::Look),
    ];
    let url = prop::sample::select(&["s3://b/x", "s3://b/y"][..]);
    (url, action, object_version()).prop_map(|(url, action, version)| ObjectAccess {
        url: url.into(),
        action,
        version,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let used = (0u32..2, access()).prop_map(|(task, access)| Event::Access {
        task,
        stamp: 0,
        access,
    });
    let left = (0u32..2, path(), prop::option::of(1u64..6)).prop_map(|(task, path, left)| {
        let version = left.map(version);
        Event::Left {
            task,
            path,
            version,
            last: 0,
        }
    });
    let object = (0u32..2, object_access()).prop_map(|(task, access)| Event::S3 {
        task,
        stamp: 0,
        access,
    });
    let event = prop_oneof![8 => used, 2 => left, 6 => object];
    prop::collection::vec(event, 0..60).prop_map(|mut events| {
        for (event, at) in events.iter_mut().zip(1u64..) {
            if let Event::Access { stamp, .. } | Event::S3 { stamp, .. } = event {
                // Far enough apart that every repeated write is logged.
                *stamp = at * 1_000_000_000;
            }
        }
        events
    })
}

/// The fragments without what repeated reads may move: the time of the last one.
fn facts(state: &Accumulator) -> Vec<Fragment> {
    let mut fragments = state.fragments(0);
    for fragment in &mut fragments {
        for file in &mut fragment.reads {
            file.last = 0;
        }
    }
    fragments
}

proptest! {
    #[test]
    fn what_was_logged_tells_all(events in events()) {
        let (mut whole, mut logged) = (begin(), begin());
        for event in &events {
            if whole.apply(event) {
                logged.apply(event);
            }
        }
        prop_assert_eq!(facts(&whole), facts(&logged));
    }

    #[test]
    fn no_path_is_both_written_and_deleted(events in events()) {
        let mut state = begin();
        for event in &events {
            state.apply(event);
        }
        for fragment in state.fragments(0) {
            for deleted in &fragment.deletes {
                prop_assert!(!fragment.writes.iter().any(|file| file.path == deleted.path));
            }
        }
    }

    #[test]
    fn what_is_to_be_hashed_can_be_walked_in_parts(events in events(), from in 0usize..8) {
        let mut state = begin();
        for event in &events {
            state.apply(event);
        }
        for no in 0..3 {
            for versions in [Versions::Left, Versions::Read, Versions::Replaced] {
                let mut all: Vec<_> = state.unhashed_from(no, versions, 0).collect();
                let rest = state.unhashed_from(no, versions, from);
                all.retain(|(place, ..)| *place >= from);
                prop_assert_eq!(rest.collect::<Vec<_>>(), all);
            }
            let mut all: Vec<_> = state.written(no, true, 0).collect();
            let rest = state.written(no, true, from);
            all.retain(|(place, _)| *place >= from);
            prop_assert_eq!(rest.collect::<Vec<_>>(), all);
        }
    }

    #[test]
    fn an_open_that_is_notified_twice_counts_once(events in events(), again in access()) {
        prop_assume!(matches!(again, Access::Read { .. } | Access::Write { .. }));
        let mut state = begin();
        for event in &events {
            state.apply(event);
        }
        let stamp = 1_000_000_000_000;
        let event = Event::Access { task: 0, stamp, access: again };
        state.apply(&event);
        let once = facts(&state);
        state.apply(&event);
        prop_assert_eq!(once, facts(&state));
    }

    #[test]
    fn created_and_deleted_leaves_only_a_count(path in path(), ino in 1u64..6) {
        let mut state = begin();
        let create = Access::Write {
            path: path.clone(),
            before: None,
            how: How::Open,
            truncates: true,
            reads: false,
            via: None,
        };
        for (stamp, access) in [(1, create), (2, Access::Unlink { path, version: version(ino) })] {
            state.apply(&Event::Access { task: 0, stamp, access });
        }
        let fragment = state.fragment(0, 0).unwrap();
        prop_assert_eq!(fragment.ephemeral, 1);
        prop_assert!(fragment.reads.is_empty());
        prop_assert!(fragment.writes.is_empty() && fragment.deletes.is_empty());
    }
}

/// What one task recorded of requests for `s3://b/x`.
fn requested(actions: &[(ObjectAction, Option<&str>)]) -> Fragment {
    let mut state = begin();
    for (&(action, etag), stamp) in actions.iter().zip(1..) {
        let version = ObjectVersion {
            etag: etag.map(str::to_owned),
            ..ObjectVersion::default()
        };
        let access = ObjectAccess {
            url: "s3://b/x".into(),
            action,
            version,
        };
        let task = 0;
        state.apply(&Event::S3 {
            task,
            stamp,
            access,
        });
    }
    state.fragments(0).remove(0)
}

#[test]
fn gets_of_one_version_are_one_read_with_its_ranges() {
    let get = |range| (ObjectAction::Get(range), Some("e"));
    let read = requested(&[get(Some((0, 9))), get(Some((20, 29))), get(Some((10, 14)))]);
    assert_eq!(read.reads.len(), 1);
    let object = read.reads[0].object.as_ref().unwrap();
    assert_eq!(object.ranges, [(0, 14), (20, 29)]);
    assert_eq!(object.etag.as_deref(), Some("e"));
    assert_eq!((read.reads[0].first, read.reads[0].last), (1, 3));
    let whole = requested(&[get(Some((0, 9))), get(None), get(Some((3, 4)))]);
    assert!(whole.reads[0].object.as_ref().unwrap().ranges.is_empty());
    let two = requested(&[get(None), (ObjectAction::Get(None), Some("f"))]);
    assert_eq!(two.reads.len(), 2);
}

#[test]
fn what_a_task_wrote_itself_is_no_input_and_what_another_wrote_since_is() {
    let put = (ObjectAction::Put, Some("e"));
    let own = requested(&[put, (ObjectAction::Get(None), Some("e"))]);
    assert_eq!((own.reads.len(), own.writes.len()), (0, 1));
    let unnamed = requested(&[put, (ObjectAction::Get(None), None)]);
    assert!(unnamed.reads.is_empty());
    let other = requested(&[put, (ObjectAction::Get(None), Some("f"))]);
    assert_eq!((other.reads.len(), other.writes.len()), (1, 1));
    let again = requested(&[put, (ObjectAction::Multipart, Some("g-2"))]);
    let left = again.writes[0].object.as_ref().unwrap();
    assert_eq!(left.etag.as_deref(), Some("g-2"));
    assert_eq!(again.writes[0].how, [How::Put, How::Multipart].into());
    let replaced = again.ephemerals[0].object.as_ref().unwrap();
    assert_eq!((replaced.etag.as_deref(), again.ephemeral), (Some("e"), 0));
}

#[test]
fn a_deleted_object_is_ephemeral_if_the_task_made_it_and_else_a_delete() {
    let (put, get) = (ObjectAction::Put, ObjectAction::Get(None));
    let delete = (ObjectAction::Delete, None);
    let own = requested(&[(put, Some("e")), delete, delete]);
    assert!(own.writes.is_empty() && own.deletes.is_empty());
    assert_eq!((own.ephemeral, own.ephemerals.len()), (1, 1));
    let found = requested(&[delete]);
    assert_eq!(found.deletes[0].state, FileState::Missing);
    let read = requested(&[(get, Some("d")), (put, Some("e")), delete]);
    assert_eq!((read.ephemeral, read.deletes.len()), (0, 1));
    let rewritten = requested(&[delete, (put, Some("e"))]);
    assert!(rewritten.deletes.is_empty());
    assert_eq!(rewritten.writes.len(), 1);
}

#[test]
fn a_client_of_s3_is_a_gap_only_where_no_request_was_seen() {
    let client = Event::Access {
        task: 0,
        stamp: 1,
        access: Access::Read {
            path: "/v/botocore/data/s3/2006-03-01/service-2.json.gz".into(),
            version: version(1),
            how: How::Open,
            via: None,
            inferred: false,
        },
    };
    let look = Event::S3 {
        task: 0,
        stamp: 2,
        access: ObjectAccess {
            url: "s3://b/".into(),
            action: ObjectAction::Look,
            version: ObjectVersion::default(),
        },
    };
    let mut state = begin();
    state.apply(&client);
    assert_eq!(state.fragment(0, 0).unwrap().coverage.gaps.len(), 1);
    assert!(state.apply(&look) && !state.apply(&look));
    let fragment = state.fragment(0, 0).unwrap();
    assert!(fragment.coverage.gaps.is_empty() && fragment.reads.len() == 1);
}

#[test]
fn a_read_that_is_told_after_the_write_is_an_input_if_it_came_before() {
    let access = |stamp, access| Event::Access {
        task: 0,
        stamp,
        access,
    };
    let read = |at, ino| {
        let (path, version, how) = (PATHS[0].into(), version(ino), How::Open);
        let (via, inferred) = (None, false);
        let read = Access::Read {
            path,
            version,
            how,
            via,
            inferred,
        };
        access(at, read)
    };
    let write = Access::Write {
        path: PATHS[0].into(),
        before: Some(version(1)),
        how: How::Open,
        truncates: true,
        reads: false,
        via: None,
    };
    for (late, expected) in [(read(5, 1), 1), (read(15, 1), 0), (read(5, 2), 0)] {
        let mut state = begin();
        for event in [access(10, write.clone()), late] {
            state.apply(&event);
        }
        let reads = state.fragment(0, 1).unwrap().reads;
        assert_eq!(reads.len(), expected);
    }
}

#[test]
fn what_is_at_a_path_is_what_its_last_writer_left() {
    let write = |no, stamp| Event::Access {
        task: no,
        stamp,
        access: Access::Write {
            path: PATHS[0].into(),
            before: None,
            how: How::Open,
            truncates: true,
            reads: false,
            via: None,
        },
    };
    let left = |no, ino| Event::Left {
        task: no,
        path: PATHS[0].into(),
        version: Some(version(ino)),
        last: 0,
    };
    let written = |state: &Accumulator, no, again| -> Vec<_> {
        let written = state.written(no, again, 0);
        written.map(|(_, path)| path.clone()).collect()
    };
    let mut state = begin();
    state.apply(&write(0, 10));
    assert_eq!(written(&state, 0, false), [PATHS[0]]);
    state.apply(&left(0, 1));
    assert_eq!(written(&state, 0, true), [PATHS[0]]);
    state.apply(&write(1, 20));
    assert_eq!(written(&state, 0, true), [""; 0]);
    assert_eq!(written(&state, 1, false), [PATHS[0]]);

    // Nobody looked in time.
    state.apply(&write(0, 30));
    assert_eq!(written(&state, 1, false), [""; 0]);
    let states = |no| {
        let writes = state.fragment(no, 0).unwrap().writes;
        writes
            .iter()
            .map(|file| (file.version, file.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(1), [(None, FileState::Superseded)]);
    assert_eq!(states(0), [(None, FileState::Skipped)]);
}
