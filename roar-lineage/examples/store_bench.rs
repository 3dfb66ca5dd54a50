//! Measures the store: merging many fragments, and the lineage of one artifact of many.
//!
//!     store_bench [TASKS [EVENTS]]        (default: 10000 tasks of 100 events)
//!
//! An event is a recorded use of a file or a process: what the store has a row for.
//! Prints one line for each figure: name, value, unit. CPU time is the process's own.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use roar_lineage::digest::Digest;
use roar_lineage::fragment::{Ephemeral, Fragment};
use roar_lineage::model::{
    Category, Coverage, FileState, FileUse, FileVersion, How, Job, Package, Process, Status, Task,
    TaskKind, Tracer, task_id,
};
use roar_lineage::query::{Artifact, Direction, Graph, lineage};
use roar_lineage::store::Store;

/// Tasks of one stage of a pipeline, and its stages.
const WIDTH: usize = 10;
const DEPTH: usize = 10;
/// How often a question is asked; the quickest answer counts.
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (tasks, events) = (number(10_000)?, number(100)?);
    merge(tasks, events)?;
    graph(tasks, events)
}

/// One round of work: its wall and CPU seconds.
fn timed<T>(work: impl FnOnce() -> T) -> Result<(T, f64, f64), Box<dyn Error>> {
    let (start, before) = (Instant::now(), cpu()?);
    let result = work();
    Ok((result, start.elapsed().as_secs_f64(), cpu()? - before))
}

fn cpu() -> Result<f64, nix::Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let spent = usage.user_time() + usage.system_time();
    Ok(spent.num_microseconds() as f64 / 1e6)
}

/// Most memory that was resident so far (MiB).
fn peak() -> Result<f64, nix::Error> {
    Ok(getrusage(UsageWho::RUSAGE_SELF)?.max_rss() as f64 / 1024.0)
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name:<44} {value:>12.1} {unit}");
}

fn merge(tasks: usize, events: usize) -> Result<(), Box<dyn Error>> {
    let fragments: Vec<Fragment> = (0..tasks).map(|n| traced(n, events)).collect();
    let count: usize = fragments.iter().map(events_of).sum();
    let directory = tempfile::tempdir()?;
    let before = peak()?;
    let mut store = Store::open(directory.path())?;
    let (merged, wall, cpu) = timed(|| store.merge(&fragments))?;
    assert_eq!(merged?.taken, tasks);
    print("merge: events", count as f64, "");
    print("merge: wall", count as f64 / wall, "events/s");
    print("merge: CPU", count as f64 / cpu, "events/s");
    print(
        "merge: memory beside the fragments",
        peak()? - before,
        "MiB",
    );
    let size = std::fs::metadata(store.path())?.len();
    print("merge: store", size as f64 / (1 << 20) as f64, "MiB");
    let (merged, wall, _) = timed(|| store.merge(&fragments))?;
    assert_eq!(merged?.known, tasks);
    print("merge again: wall", count as f64 / wall, "events/s");
    let newer = newer(&fragments[..tasks / 10]);
    let count: usize = newer.iter().map(events_of).sum();
    let (merged, wall, _) = timed(|| store.merge(&newer))?;
    assert_eq!(merged?.taken, newer.len());
    print(
        "merge of newer revisions: wall",
        count as f64 / wall,
        "events/s",
    );
    Ok(())
}

fn graph(tasks: usize, reads: usize) -> Result<(), Box<dyn Error>> {
    let mut fragments = vec![prepare(reads)];
    fragments.extend((0..tasks).map(|n| stage(n, reads)));
    let directory = tempfile::tempdir()?;
    let mut store = Store::open(directory.path())?;
    store.merge(&fragments)?;
    drop(fragments);
    let (graph, wall, cpu) = timed(|| Graph::load(&store, false))?;
    print("whole graph: edges", graph?.status().edges as f64, "");
    print("whole graph: wall", wall * 1e3, "ms");
    print("whole graph: CPU", cpu * 1e3, "ms");
    let last = output(WIDTH * DEPTH - 1, 0);
    let raw = raw(0);
    for (name, path, direction) in [
        ("ancestors of a result", last, Direction::Up),
        (
            "descendants of a middle",
            output(WIDTH * DEPTH / 2, 0),
            Direction::Down,
        ),
        ("descendants of a source: everything", raw, Direction::Down),
    ] {
        related(directory.path(), name, path, direction)?;
    }
    Ok(())
}

/// The lineage of one artifact, as a program that is started for it finds it.
fn related(
    directory: &Path,
    name: &str,
    path: String,
    direction: Direction,
) -> Result<(), Box<dyn Error>> {
    let artifact = Artifact::At(path.into());
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..ROUNDS {
        let store = Store::open_existing(directory)?;
        let (found, wall, cpu) = timed(|| lineage(&store, &artifact, direction, false))?;
        let found = found?;
        if best.is_none() {
            print(&format!("{name}: tasks"), found.tasks.len() as f64, "");
            print(&format!("{name}: edges"), found.edges.len() as f64, "");
        }
        let (least, spent) = best.unwrap_or((wall, cpu));
        best = Some((least.min(wall), spent.min(cpu)));
    }
    if let Some((wall, cpu)) = best {
        print(&format!("{name}: wall"), wall * 1e3, "ms");
        print(&format!("{name}: CPU"), cpu * 1e3, "ms");
    }
    Ok(())
}

fn newer(fragments: &[Fragment]) -> Vec<Fragment> {
    let mut newer = fragments.to_vec();
    for fragment in &mut newer {
        fragment.revision += 1;
    }
    newer
}

fn events_of(fragment: &Fragment) -> usize {
    let files = [&fragment.reads, &fragment.writes, &fragment.deletes];
    let files: usize = files.iter().map(|files| files.len()).sum();
    files + fragment.ephemerals.len() + fragment.processes.len()
}

/// A task as they mostly are: of its `events` a half is libraries and packages, a third its
/// code and what earlier tasks left, and a fifth what it leaves itself.
fn traced(n: usize, events: usize) -> Fragment {
    let mut fragment = fragment(n);
    let at = fragment.task.started;
    let share = |percent: usize| events * percent / 100;
    let system = (0..share(26)).map(|k| {
        let path = format!("/usr/lib/x86_64-linux-gnu/lib{}.so.6", (n + k) % 300);
        file(path, Category::System, How::Open, at)
    });
    let packages = (0..share(20)).map(|k| {
        let (package, module) = ((n * 7 + k) % 40, (n + k) % 50);
        let path = format!("/home/user/.venv/lib/python3.12/site-packages/p{package}/m{module}.py");
        file(path, Category::Package, How::Import, at)
    });
    let code = (0..share(6)).map(|k| {
        let path = format!("/home/user/project/src/module_{}.py", (n + k) % 50);
        hashed(file(path, Category::Code, How::Import, at))
    });
    let data = (0..share(24)).map(|k| {
        let writer = n.saturating_sub(1 + (k * 37) % 400);
        hashed(file(output(writer, k), Category::Data, How::Open, at + 10))
    });
    let writes =
        (0..share(18)).map(|k| hashed(file(output(n, k), Category::Data, How::Open, at + 50)));
    let temporary = |k: usize| format!("/tmp/work-{n}/part-{k}.tmp");
    let deletes = (0..share(1)).map(|k| file(temporary(k), Category::Temp, How::Open, at));
    fragment.reads = system.chain(packages).chain(code).chain(data).collect();
    fragment.writes = writes.collect();
    fragment.deletes = deletes.collect();
    fragment.ephemerals = (0..share(1))
        .map(|k| gone(temporary(100 + k), at))
        .collect();
    let rest = events - events_of(&fragment).min(events);
    fragment.processes = (0..rest).map(|k| process(n, k)).collect();
    fragment
}

fn output(n: usize, k: usize) -> String {
    format!(
        "/home/user/project/data/run-{}/task-{n}/part-{k:05}.parquet",
        n / 100
    )
}

fn raw(k: usize) -> String {
    format!("/home/user/project/data/raw/part-{k:05}.parquet")
}

/// The task that makes what all pipelines begin with.
fn prepare(reads: usize) -> Fragment {
    let mut fragment = fragment(0);
    fragment.task.id = task_id("prepare", "");
    let at = fragment.task.started;
    (fragment.task.started, fragment.task.ended) = (at - 1000, Some(at - 1));
    fragment.writes = (0..reads).map(|k| left(usize::MAX, k, at - 500)).collect();
    fragment
}

/// A task that reads what tasks of the stage before it left, each of its reads an edge.
fn stage(n: usize, reads: usize) -> Fragment {
    let mut fragment = fragment(n);
    let at = fragment.task.started;
    let (pipeline, place) = (n / (WIDTH * DEPTH), n % (WIDTH * DEPTH));
    let stage = place / WIDTH;
    let read = |k: usize| match stage.checked_sub(1) {
        None => left(usize::MAX, k, at + 10),
        Some(before) => {
            let first = pipeline * WIDTH * DEPTH + before * WIDTH;
            left(first + k % WIDTH, k / WIDTH, at + 10)
        }
    };
    fragment.reads = (0..reads).map(read).collect();
    let writes = reads.div_ceil(WIDTH);
    fragment.writes = (0..writes).map(|k| left(n, k, at + 50)).collect();
    fragment
}

fn left(n: usize, k: usize, at: u64) -> FileUse {
    let path = match n {
        usize::MAX => raw(k),
        _ => output(n, k),
    };
    hashed(file(path, Category::Data, How::Open, at))
}

fn fragment(n: usize) -> Fragment {
    let job = n / 1000;
    let at = 1_000_000 + n as u64 * 100;
    let job = Job {
        id: format!("job-{job}"),
        command: vec!["python".into(), "pipeline.py".into()],
        cwd: "/home/user/project".into(),
        root: "/home/user/project".into(),
        started_at: job as i64 * 1_000_000,
        ended_at: Some(job as i64 * 1_000_000 + 900_000),
        exit_code: Some(0),
        signal: None,
        tracer: Tracer {
            version: "0.1.0".into(),
            backend: "notify".into(),
            accel: true,
            kernel: "6.8.0".into(),
        },
        git: None,
    };
    let task = Task {
        id: task_id(&job.id, &n.to_string()),
        parent: None,
        kind: TaskKind::Command,
        name: "transform".into(),
        status: Status::Completed,
        status_detail: None,
        exit_code: Some(0),
        signal: None,
        started_at: 1_700_000_000_000_000_000 + at as i64,
        ended_at: Some(1_700_000_000_000_000_000 + at as i64 + 90),
        started: at,
        ended: Some(at + 90),
        host: "node-1".into(),
        boot: "8f1c0d5e-0000-4000-8000-000000000001".into(),
        pid: Some(1000 + n as u32),
        ray: None,
    };
    Fragment {
        observer: format!("{:016x}", n % 64),
        revision: 1,
        job,
        task,
        reads: Vec::new(),
        writes: Vec::new(),
        deletes: Vec::new(),
        ephemeral: 0,
        ephemerals: Vec::new(),
        packages: (0..3)
            .map(|k| Package {
                name: format!("package-{k}"),
                version: "1.2.3".into(),
            })
            .collect(),
        processes: Vec::new(),
        coverage: Coverage::default(),
        objects: Vec::new(),
        drives: Vec::new(),
    }
}

fn file(path: String, category: Category, how: How, at: u64) -> FileUse {
    let content = Digest::of(path.as_bytes());
    let number = |range: std::ops::Range<usize>| {
        let bytes = content.0.get(range).unwrap_or_default();
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    FileUse {
        path: path.into(),
        digest: None,
        size: None,
        state: FileState::Skipped,
        category,
        how: [how].into(),
        via: None,
        unchanged: false,
        inferred: false,
        version: Some(FileVersion {
            dev: 2049,
            ino: number(0..4),
            size: number(4..6),
            mtime: 1_700_000_000_000_000_000 + number(6..9).cast_signed(),
            ctime: 1_700_000_000_000_000_000 + number(6..9).cast_signed(),
        }),
        object: None,
        first: at,
        last: at + 5,
    }
}

fn hashed(mut file: FileUse) -> FileUse {
    file.digest = Some(Digest::of(&file.path));
    file.size = file.version.map(|version| version.size);
    file.state = FileState::Exact;
    file
}

fn gone(path: String, at: u64) -> Ephemeral {
    let file = file(path, Category::Temp, How::Open, at);
    Ephemeral {
        path: file.path,
        version: file.version,
        object: None,
        first: file.first,
        last: file.last,
    }
}

fn process(n: usize, k: usize) -> Process {
    Process {
        pid: (n * 4 + k) as u32,
        ppid: n as u32,
        start_ticks: (n * 10 + k) as u64,
        exe: Some("/usr/bin/python3.12".into()),
        argv: ["python", "-m", "project.transform", "--part", "7"]
            .map(Into::into)
            .into(),
        started_at: 1_700_000_000_000_000_000,
        ended_at: Some(1_700_000_000_000_000_090),
        exit_code: Some(0),
        signal: None,
    }
}
