use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;
use crate::fragment::{Ephemeral, Fragment, RAY_OBSERVER};
use crate::model::*;
use crate::object::{DrivenJob, ObjectId, ObjectUse};
use crate::s3::ObjectInfo;

/// The fragment of one key and revision: equal keys are equal fragments.
pub(super) fn fragment(task: u8, observer: u8, revision: u64) -> Fragment {
    let seed = u64::from(task) * 7 + u64::from(observer) * 3 + revision * 5;
    let file = |n: u64| FileUse {
        path: format!("/p/{}", (seed + n) % 5).into(),
        digest: n
            .is_multiple_of(2)
            .then(|| crate::digest::Digest::of(&[(seed % 3) as u8])),
        size: Some(n),
        state: if n.is_multiple_of(2) {
            FileState::Exact
        } else {
            FileState::Superseded
        },
        category: Category::Data,
        how: [How::Open, How::Exec].into(),
        via: None,
        unchanged: false,
        inferred: false,
        version: Some(FileVersion {
            dev: u64::MAX,
            ino: seed,
            size: n,
            mtime: -1,
            ctime: 2,
        }),
        object: n.is_multiple_of(3).then(|| {
            Box::new(ObjectInfo {
                etag: Some(format!("e{n}")),
                version_id: seed.is_multiple_of(2).then(|| format!("v{seed}")),
                checksums: [("sha256".to_owned(), format!("{seed}=="))].into(),
                ranges: vec![(0, n), (u64::MAX - 1, u64::MAX)],
            })
        }),
        first: seed,
        last: seed + n,
    };
    let statuses = [
        Status::Running,
        Status::Completed,
        Status::Failed,
        Status::Killed,
    ];
    Fragment {
        observer: match observer {
            0 => RAY_OBSERVER.to_owned(),
            _ => format!("o{observer}"),
        },
        revision,
        job: Job {
            id: format!("j{}", task % 2),
            command: vec!["x".into()],
            cwd: "/".into(),
            root: "/".into(),
            started_at: (seed % 4) as i64,
            ended_at: seed.is_multiple_of(3).then_some(seed as i64),
            exit_code: seed.is_multiple_of(2).then_some(1),
            signal: None,
            tracer: Tracer {
                version: "0".into(),
                backend: "notify".into(),
                accel: true,
                kernel: "6".into(),
            },
            git: None,
        },
        task: Task {
            id: format!("t{task}"),
            parent: None,
            kind: TaskKind::RayTask,
            name: "f".into(),
            status: statuses[(seed % 4) as usize],
            status_detail: seed.is_multiple_of(2).then(|| format!("d{seed}")),
            exit_code: None,
            signal: None,
            started_at: (seed % 3) as i64,
            ended_at: None,
            started: seed,
            ended: None,
            host: format!("h{}", seed % 2),
            boot: "b".into(),
            pid: Some(observer.into()),
            ray: None,
        },
        reads: (0..seed % 4).map(file).collect(),
        writes: (4..4 + seed % 3).map(file).collect(),
        deletes: vec![],
        ephemeral: 1,
        ephemerals: vec![Ephemeral {
            path: "/p/e".into(),
            version: None,
            object: None,
            first: 1,
            last: 2,
        }],
        packages: vec![Package {
            name: "n".into(),
            version: seed.to_string(),
        }],
        processes: vec![],
        coverage: Coverage {
            events: seed,
            ..Coverage::default()
        },
        objects: vec![ObjectUse {
            session: "s".into(),
            object: ObjectId([task; 28]),
            receiver: (observer > 0).then_some([observer; 24]),
            size: Some(revision),
        }],
        drives: vec![DrivenJob {
            session: "s".into(),
            job_id: format!("{task:08x}"),
        }],
    }
}

/// Everything in the store, without row numbers.
pub(super) fn dump(store: &Store) -> Vec<String> {
    let tables = [
        "SELECT id, record FROM job",
        "SELECT task.id, job.id, task.record, ray_task, actor FROM task JOIN job ON job.n = job",
        "SELECT task.id, observer, revision, claim, ephemeral, coverage FROM fragment JOIN task ON task.n = task",
        "SELECT host, path FROM location",
        "SELECT digest FROM artifact",
        "SELECT task.id, observer, host, path, role, digest, size, state, category, how, ino, mtime, first, last,
         object
         FROM use JOIN fragment ON fragment.n = fragment JOIN task ON task.n = task
         JOIN location ON location.n = location LEFT JOIN artifact ON artifact.n = artifact",
        "SELECT task.id, observer, name, version FROM package JOIN fragment ON fragment.n = fragment
         JOIN task ON task.n = task",
        "SELECT task.id, observer, session, object.id, receiver, size FROM object
         JOIN fragment ON fragment.n = fragment JOIN task ON task.n = task",
        "SELECT task.id, observer, session, job_id FROM driven JOIN fragment ON fragment.n = fragment
         JOIN task ON task.n = task",
    ];
    let check = "SELECT count(*) FROM pragma_foreign_key_check";
    let dangling = store.connection.query_row(check, [], |row| row.get(0));
    assert_eq!(dangling, Ok(0));
    let mut lines = Vec::new();
    for sql in tables {
        let mut statement = store.connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|n| row.get(n).unwrap()).collect();
            lines.push(format!("{sql} {values:?}"));
        }
    }
    lines.sort();
    lines
}

pub(super) fn merged(groups: &[Vec<Fragment>]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    for group in groups {
        store.merge(group).unwrap();
    }
    dump(&store)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_order_duplicates_and_grouping_give_the_same_store(
        keys in prop::collection::vec((0u8..3, 0u8..3, 1u64..4), 1..12),
        shuffle in any::<prop::sample::Index>(),
        size in 1usize..5,
    ) {
        let fragments: Vec<_> = keys.iter().map(|&(t, o, r)| fragment(t, o, r)).collect();
        let mut other = fragments.clone();
        other.reverse();
        let at = shuffle.index(other.len());
        other.rotate_left(at);
        other.extend_from_slice(&fragments[..at]);
        let groups: Vec<_> = other.chunks(size).map(<[Fragment]>::to_vec).collect();
        prop_assert_eq!(merged(&[fragments]), merged(&groups));
    }
}

#[test]
fn what_is_no_store_or_a_newer_one_is_refused_and_the_owner_alone_reads() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open_existing(directory.path()),
        Err(StoreError::Missing(_))
    ));
    let store = Store::open(directory.path()).unwrap();
    let mode = std::fs::metadata(store.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    store
        .connection
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(store);
    assert!(matches!(
        Store::open(directory.path()),
        Err(StoreError::Newer { found: 99, .. })
    ));
    let other = tempfile::tempdir().unwrap();
    std::fs::write(
        other.path().join(FILE_NAME),
        "no database at all".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Store::open(other.path()),
        Err(StoreError::Damaged(_))
    ));
}

#[test]
fn what_only_ray_tells_of_is_untraced_until_a_record_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut ray = fragment(0, 0, 1);
    (ray.reads, ray.writes) = (Vec::new(), Vec::new());
    (ray.task.status, ray.task.status_detail) = (Status::Killed, Some("out of memory".into()));
    ray.coverage = Coverage::default();
    ray.coverage.add_gap(GapKind::UntracedWorker, "image", 1);
    let mut own = fragment(0, 1, 1);
    (own.task.status, own.task.pid) = (Status::Running, Some(7));
    own.coverage = Coverage::default();

    store.merge(std::slice::from_ref(&ray)).unwrap();
    let gaps = |store: &Store| -> Vec<GapKind> {
        let recorded = store.recorded(false).unwrap();
        let all = recorded.coverage.iter().flat_map(|(_, part)| &part.gaps);
        all.map(|gap| gap.kind).collect()
    };
    assert_eq!(gaps(&store), [GapKind::UntracedWorker]);

    store.merge(&[own.clone(), ray]).unwrap();
    assert_eq!(gaps(&store), []);
    let joined = store.recorded(false).unwrap().tasks.remove(0).task;
    assert_eq!(joined.status, Status::Killed);
    assert_eq!(joined.status_detail.as_deref(), Some("out of memory"));
    assert_eq!(
        (joined.started_at, joined.pid),
        (own.task.started_at, own.task.pid)
    );
}

#[test]
fn uses_come_back_as_they_were_and_an_older_store_gets_what_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let older = Connection::open(&path).unwrap();
    for step in &schema::MIGRATIONS[..2] {
        older.execute_batch(step).unwrap();
    }
    older.pragma_update(None, "user_version", 2).unwrap();
    drop(older);
    let mut store = Store::open(directory.path()).unwrap();
    let whole = fragment(1, 1, 3);
    store.merge(std::slice::from_ref(&whole)).unwrap();
    let recorded = store.recorded(true).unwrap();
    let loaded = |role: Role| -> Vec<FileUse> {
        let uses = recorded.uses.iter().filter(|used| used.role == role);
        uses.map(|used| used.file.clone()).collect()
    };
    let by_path = |mut files: Vec<FileUse>| {
        files.sort_by(|a, b| (&a.path, a.first, a.last).cmp(&(&b.path, b.first, b.last)));
        files
    };
    assert_eq!(loaded(Role::Read), by_path(whole.reads));
    assert_eq!(loaded(Role::Write), by_path(whole.writes));
}

/// The digests of a version's uses, each given as version id, ETag and content.
fn shared(uses: &[(Option<&str>, Option<&str>, Option<&str>)]) -> Vec<Option<bool>> {
    let template = fragment(0, 0, 1).reads[0].clone();
    let file = |&(id, etag, content): &(Option<&str>, Option<&str>, Option<&str>)| FileUse {
        path: "s3://b/x".into(),
        digest: content.map(|content| crate::digest::Digest::of(content.as_bytes())),
        size: content.map(|_| 1),
        state: match content {
            Some(_) => FileState::Exact,
            None => FileState::Skipped,
        },
        object: Some(Box::new(ObjectInfo {
            etag: etag.map(str::to_owned),
            version_id: id.map(str::to_owned),
            ..ObjectInfo::default()
        })),
        ..template.clone()
    };
    let used = |file| Use {
        task: 0,
        location: 0,
        role: Role::Read,
        file,
    };
    let mut uses: Vec<Use> = uses.iter().map(file).map(used).collect();
    let mut reversed: Vec<Use> = uses.iter().rev().cloned().collect();
    objects::share_digests(&mut uses);
    objects::share_digests(&mut reversed);
    let digests = |uses: Vec<Use>| uses.into_iter().map(|used| used.file.digest).collect();
    let (digests, mut other): (Vec<_>, Vec<_>) = (digests(uses), digests(reversed));
    other.reverse();
    assert_eq!(digests, other);
    let expected = crate::digest::Digest::of(b"1");
    let is_expected = |digest: Option<crate::digest::Digest>| digest.map(|d| d == expected);
    digests.into_iter().map(is_expected).collect()
}

#[test]
fn a_digest_holds_for_all_uses_of_the_version_and_of_no_other() {
    let (v, w, e, f, one) = (Some("v"), Some("w"), Some("e"), Some("f"), Some("1"));
    let same = Some(true);
    assert_eq!(shared(&[(None, e, one), (None, e, None)]), [same, same]);
    assert_eq!(shared(&[(None, e, one), (None, f, None)]), [same, None]);
    assert_eq!(shared(&[(v, None, one), (v, e, None)]), [same, same]);
    assert_eq!(shared(&[(v, e, one), (w, e, None)]), [same, None]);
    assert_eq!(shared(&[(v, e, one), (None, e, None)]), [same, same]);
    assert_eq!(shared(&[(None, e, one), (v, e, None)]), [same, same]);
    assert_eq!(
        shared(&[(None, None, one), (None, None, None)]),
        [same, None]
    );
    let differ = [(None, e, one), (None, e, Some("2")), (None, e, None)];
    assert_eq!(shared(&differ)[2], None);
    let suspended = Some("null");
    assert_eq!(
        shared(&[(suspended, e, one), (suspended, f, None)]),
        [same, None]
    );
}

#[test]
fn tasks_of_an_older_store_are_found_by_rays_ids_too() {
    let directory = tempfile::tempdir().unwrap();
    let older = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    for step in &schema::MIGRATIONS[..3] {
        older.execute_batch(step).unwrap();
    }
    older.pragma_update(None, "user_version", 3).unwrap();
    let rest = "INSERT INTO session VALUES (1, 's', 0); INSERT INTO job VALUES (1, 'j', 1, '{}')";
    older.execute_batch(rest).unwrap();
    let ids = [Some("01ab"), None];
    let kinds = [
        TaskKind::RayTask,
        TaskKind::RayActorInit,
        TaskKind::RayActorMethod,
    ];
    let mut tasks: Vec<Task> = Vec::new();
    for (kind, task_id) in kinds.into_iter().flat_map(|kind| ids.map(|id| (kind, id))) {
        let mut task = fragment(tasks.len() as u8, 1, 1).task;
        task.kind = kind;
        task.ray = Some(RayIds {
            job_id: "01".into(),
            task_id: task_id.map(str::to_owned),
            attempt: 0,
            actor_id: (kind != TaskKind::RayTask).then(|| "cd".into()),
            node_id: None,
            worker_id: None,
            func: None,
            session: Some("ray".into()),
        });
        tasks.push(task);
    }
    tasks.push(fragment(tasks.len() as u8, 1, 1).task);
    for task in &tasks {
        let row = (&task.id, serde_json::to_string(task).unwrap());
        let insert = "INSERT INTO task (id, job, record) VALUES (?, 1, ?)";
        older.execute(insert, row).unwrap();
    }
    drop(older);
    let store = Store::open(directory.path()).unwrap();
    for task in &tasks {
        let sql = "SELECT ray_task, actor FROM task WHERE id = ?";
        let found = store
            .connection
            .query_row(sql, [&task.id], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(found, Ok(neighbours::ids(task)), "{task:?}");
    }
    let ids = neighbours::ids(&tasks[2]);
    assert_eq!(ids, (Some("ray/ab".to_owned()), Some("init/cd".to_owned())));
}
