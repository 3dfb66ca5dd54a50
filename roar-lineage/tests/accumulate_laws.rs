//! Laws of the accumulator, for whatever sequence of events.

use proptest::prelude::*;
use roar_lineage::accumulate::Accumulator;
use roar_lineage::event::{Access, Event};
use roar_lineage::fragment::Fragment;
use roar_lineage::model::{FileVersion, How, Job, Status, Task, TaskKind, Tracer};

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
        }
    });
    prop::collection::vec(prop_oneof![8 => used, 2 => left], 0..40).prop_map(|mut events| {
        for (event, at) in events.iter_mut().zip(1u64..) {
            if let Event::Access { stamp, .. } = event {
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
