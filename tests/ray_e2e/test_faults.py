"""What goes wrong on a cluster, and much at once: the job is as it would be, the record says so."""

import os
import re
import signal
import tempfile
import time

import pytest
from conftest import (
    HERE, PYTHON, RAY, ROAR, Beside, Cluster, graph, roar, run, wait_for,
)

JOB = os.path.join(HERE, "workloads", "faults.py")
MIB, GIB = 1 << 20, 1 << 30


def command(cluster, *arguments):
    return (
        ROAR, "run", RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        "--", PYTHON, JOB, *map(str, arguments),
    )


class Job(Beside):
    """A submitted job that goes on while the test does something."""

    def __init__(self, cluster, project, *arguments):
        super().__init__(*command(cluster, *arguments), cwd=project)

    def wait_for(self, path):
        wait_for(lambda: os.path.exists(path) or self.has_ended(), 90, path)

    def has_ended(self):
        if self.process.poll() is not None:
            print(*self.process.communicate())
            raise AssertionError("it has ended")
        return False

    def end(self):
        """The job's output, when it has ended well."""
        output, errors = self.process.communicate(timeout=150)
        assert self.process.returncode == 0, (output, errors)
        return output, errors


def of_tasks(document, out):
    """Name, status and written files of the nodes but the driver's."""
    return sorted(
        (node["name"], node["status"],
         tuple(sorted(os.path.relpath(file["path"], out) for file in node["writes"])))
        for node in document["nodes"] if node["kind"] != "ray_driver"
    )


def gaps(document):
    return sorted((gap["kind"], gap["detail"]) for gap in document["coverage"]["gaps"])


def below_tmp():
    """A directory with a short path: sockets lie below it."""
    return tempfile.TemporaryDirectory(
        prefix="roar-faults-", dir="/tmp", ignore_cleanup_errors=True,
    )


@pytest.fixture
def own_directory():
    with below_tmp() as directory:
        yield directory


def test_what_rays_memory_monitor_kills_was_killed_for_memory(project, own_directory):
    from ray._private.utils import get_used_memory
    from ray._common.utils import get_system_memory

    total = get_system_memory()
    # Another cluster may come or go meanwhile: it has some 2 GiB. The greedy task stops in
    # time should nobody stop it.
    assert total - get_used_memory() > 10 * GIB, "this test needs 10 GiB of free memory"
    threshold = (get_used_memory() + 6 * GIB) / total
    own = Cluster(
        os.path.join(own_directory, "ray"), RAY_memory_usage_threshold="%.4f" % threshold,
        RAY_memory_monitor_refresh_ms="100",
    )
    out = os.path.join(project, "out")
    try:
        done = run(*command(own, "out_of_memory", out, 9 * GIB), cwd=project)
    finally:
        own.stop()
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "OutOfMemoryError" in done.stdout, done.stdout
    document = graph(project)
    assert of_tasks(document, out) == [
        ("before", "completed", ("before",)),
        ("beside", "completed", ("beside-first", "beside-last")),
        ("greedy", "killed", ("greedy",)),
    ]
    details = {node["name"]: node["status_detail"] for node in document["nodes"]}
    assert details.pop("greedy").startswith("out of memory: "), details
    assert set(details.values()) == {None}, details
    assert document["coverage"] == {"complete": True, "gaps": []}


def status(pid):
    with open("/proc/%d/stat" % pid) as stat:
        state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
    return state, int(parent)


def is_ours(pid):
    try:
        # It may be a copy that the job brought along.
        return os.path.basename(os.readlink("/proc/%d/exe" % pid)) == "roar-worker"
    except OSError:
        return False


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def supervisor_of(worker):
    """The supervisor of a worker: of our processes the one that has a pidfd of it and a log."""
    for pid in filter(is_ours, processes()):
        try:
            fds = os.listdir("/proc/%d/fd" % pid)
            names = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in fds]
            told = [open("/proc/%d/fdinfo/%s" % (pid, fd)).read() for fd in fds]
        except OSError:
            continue
        if any(name.endswith(".roarlog") for name in names) and any(
            re.search(r"^Pid:\s+%d$" % worker, text, re.M) for text in told
        ):
            return pid
    raise AssertionError("nobody watches %d" % worker)


def guardian_of(supervisor):
    """A supervisor's guardian, when it has one that runs."""
    for pid in processes():
        try:
            state, parent = status(pid)
        except OSError:
            continue
        if parent == supervisor and state != "Z" and is_ours(pid):
            return pid


STEPS = tuple(sorted("step-%d" % step for step in range(20)))


def in_steps(cluster, project, trouble):
    """Runs the job of many steps, and has `trouble` with its worker in the middle."""
    out = os.path.join(project, "out")
    with Job(cluster, project, "steps", out) as job:
        job.wait_for(os.path.join(out, "pid"))
        wait_for(lambda: open(os.path.join(out, "pid")).read(), what="the worker's id")
        trouble(int(open(os.path.join(out, "pid")).read()))
        open(os.path.join(out, "go"), "w").close()
        output, errors = job.end()
    assert "the total is 190" in output
    assert {name: open(os.path.join(out, name)).read() for name in STEPS} == {
        name: name.split("-")[1] for name in STEPS
    }
    return graph(project), out, errors


def test_a_killed_guardian_is_replaced_and_the_record_is_complete(cluster, project):
    def trouble(worker):
        supervisor = supervisor_of(worker)
        first = wait_for(lambda: guardian_of(supervisor), what="the guardian")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: guardian_of(supervisor) not in (None, first), what="another guardian")
        assert supervisor_of(worker) == supervisor

    document, out, _ = in_steps(cluster, project, trouble)
    assert of_tasks(document, out) == [("in_steps", "completed", tuple(sorted(STEPS + ("pid",))))]
    assert document["coverage"] == {"complete": True, "gaps": []}
    (task,) = [node for node in document["nodes"] if node["name"] == "in_steps"]
    assert {file["state"] for file in task["writes"]} == {"exact"}


def remove_logs(cluster, document):
    """What dead supervisors left: other tests wait until no log is there."""
    (job,) = {node["job"] for node in document["nodes"]}
    for name in os.listdir(cluster.fragments):
        if name.startswith(job) and name.endswith(".roarlog"):
            os.remove(os.path.join(cluster.fragments, name))


def test_a_killed_supervisor_leaves_what_it_saw_and_a_gap(cluster, project):
    def trouble(worker):
        os.kill(supervisor_of(worker), signal.SIGKILL)

    document, out, errors = in_steps(cluster, project, trouble)
    remove_logs(cluster, document)
    seen = sorted(["pid", *("step-%d" % step for step in range(10))])
    assert of_tasks(document, out) == [("in_steps", "completed", tuple(seen))]
    assert not document["coverage"]["complete"]
    assert [kind for kind, _ in gaps(document)] == ["supervisor_died"], gaps(document)
    said = [line for line in errors.splitlines() if "not complete" in line]
    assert said == [
        "roar: the record is not complete: the supervisor did not complete the record"
        " (killed, or no space?) (2)"
    ], errors


def test_every_one_of_many_tasks_has_its_file(project):
    count = 10_000
    out = os.path.join(project, "out")
    began = time.monotonic()
    roar("run", "-q", PYTHON, JOB, "tasks", out, str(count), cwd=project, timeout=300)
    ran = time.monotonic()
    document = graph(project, timeout=120)
    print("%d tasks: run %.1f s, graph %.1f s" % (count, ran - began, time.monotonic() - ran))
    expected = [("writes", "completed", ("of-%05d" % number,)) for number in range(count)]
    assert of_tasks(document, out) == expected
    ids = {node["id"] for node in document["nodes"]}
    assert len(ids) == len(document["nodes"]) == count + 1
    assert {kind for kind, _ in gaps(document)} <= {"still_running"}


def proportional(pid):
    """Resident memory of a process, with its share of what others use too (bytes)."""
    with open("/proc/%d/smaps_rollup" % pid) as rollup:
        (kib,) = re.findall(r"^Pss:\s+(\d+) kB$", rollup.read(), re.M)
    return int(kib) * 1024


def test_what_watches_a_worker_is_small(cluster, project):
    """As many workers as ROAR_TEST_WORKERS says."""
    count = int(os.environ.get("ROAR_TEST_WORKERS", "8"))
    out = os.path.join(project, "out")
    with Job(cluster, project, "workers", out, count) as job:
        job.wait_for(os.path.join(out, "pids"))
        workers = list(map(int, open(os.path.join(out, "pids")).read().split()))
        supervisors = [supervisor_of(worker) for worker in workers]
        pairs = [
            proportional(pid) + proportional(wait_for(lambda pid=pid: guardian_of(pid)))
            for pid in supervisors
        ]
        open(os.path.join(out, "measured"), "w").close()
        job.end()
    print("MiB of each pair:", sorted(round(pair / MIB, 1) for pair in pairs))
    assert len(set(supervisors)) == count
    assert max(pairs) < 20_000_000, sorted(pairs)
    expected = sorted("table-%d-%d" % (number, turn) for number in range(count) for turn in range(5))
    document = graph(project)
    assert of_tasks(document, out) == sorted(
        [("Analyst.imports", "completed", ()), ("Analyst.pid", "completed", ())] * count
        + [("Analyst.writes", "completed", (name,)) for name in expected]
    )
    assert document["coverage"] == {"complete": True, "gaps": []}


def test_native_pools_work_for_the_task_that_runs(project):
    out = os.path.join(project, "out")
    roar("run", "-q", PYTHON, JOB, "tables", out, cwd=project)
    document = graph(project)

    def names(files):
        return tuple(sorted(os.path.relpath(file["path"], out) for file in files
                            if file["path"].startswith(out)))

    found = sorted((node["name"], names(node["reads"]), names(node["writes"]))
                   for node in document["nodes"] if node["kind"] == "ray_task")
    expected = []
    for turn in "12":
        polars, arrow = "polars-%s-%%s.parquet" % turn, "pyarrow-" + turn
        parts = tuple("%s/%d/part-0.parquet" % (arrow, part) for part in range(3))
        expected += [
            ("by_polars", ("given.parquet",), (polars % "a", polars % "b")),
            ("by_pyarrow", ("given.parquet",), (arrow + ".parquet", *parts)),
            ("counts", (polars % "b", *parts), ()),
        ]
    assert found == sorted(
        (name, tuple(sorted(reads)), tuple(sorted(writes))) for name, reads, writes in expected
    )
    assert {kind for kind, _ in gaps(document)} <= {"still_running"}


class SmallDisk:
    """A cluster whose node keeps records on a disk of their own, of 4 MiB."""

    def __init__(self, directory):
        self.cluster = Cluster(os.path.join(directory, "ray"), as_user=("unshare", "--mount"))
        self.do('mkdir -p "$1" && mount -t tmpfs -o size=4m tmpfs "$1"')

    def do(self, script):
        pid = str(self.cluster.process.pid)
        there = ("nsenter", "--mount", "--target", pid, "sh", "-c", script, "sh")
        done = run(*there, self.cluster.fragments, cwd="/")
        assert done.returncode == 0, done.stderr

    def fill(self):
        self.do('head -c 8388608 /dev/zero > "$1/filler" 2>/dev/null || true')

    def empty(self):
        self.do('rm "$1/filler"')

    def clear(self):
        self.do('rm -rf "$1"/* "$1"/.[!.]*')


@pytest.fixture(scope="module")
def small_disk():
    if os.getuid() != 0:
        pytest.skip("needs root to mount a file system")
    with below_tmp() as directory:
        made = SmallDisk(directory)
        try:
            yield made
        finally:
            made.cluster.stop()


HALVES = {half: ["%s-%03d" % (half, number) for number in range(400)] for half in "ab"}


def on_small_disk(disk, project, after_half=None, after_all=None):
    """Runs the job that writes many files; the graph, its one task, and roar's lines."""
    out = os.path.join(project, "out")
    with Job(disk.cluster, project, "files", out, 400) as job:
        for asked, told, do in (("half", "go", after_half), ("all", "end", after_all)):
            job.wait_for(os.path.join(out, asked))
            if do:
                do()
            open(os.path.join(out, told), "w").close()
        output, errors = job.process.communicate(timeout=150)
    disk.clear()
    # The driver exits with 3, which Ray's command makes 1.
    assert job.process.returncode == 1, (output, errors)
    assert "files: 800" in output
    for half, names in HALVES.items():
        assert {open(os.path.join(out, name)).read() for name in names} == {half}
    document = graph(project)
    ((name, status, writes),) = of_tasks(document, out)
    assert (name, status) == ("many_files", "completed")
    return document, set(writes), errors


def test_a_disk_that_was_full_for_a_while_costs_no_record(small_disk, project):
    fill, empty = small_disk.fill, small_disk.empty
    document, writes, _ = on_small_disk(small_disk, project, fill, empty)
    assert writes == {"half", "all", *HALVES["a"], *HALVES["b"]}
    assert document["coverage"] == {"complete": True, "gaps": []}


def test_a_disk_that_fills_leaves_what_was_recorded_before_and_a_gap(small_disk, project):
    document, writes, errors = on_small_disk(small_disk, project, small_disk.fill)
    assert set(HALVES["a"]) < writes < {"half", "all", *HALVES["a"], *HALVES["b"]}
    assert not document["coverage"]["complete"]
    assert "supervisor_died" in {kind for kind, _ in gaps(document)}
    assert "the supervisor did not complete the record (killed, or no space?)" in errors


def test_a_disk_that_is_full_leaves_a_gap(small_disk, project):
    small_disk.fill()
    document, writes, errors = on_small_disk(small_disk, project)
    assert writes == set()
    kinds = {kind for kind, _ in gaps(document)}
    assert kinds == {"lost_records", "untraced_worker"}, gaps(document)
    empty = [detail for kind, detail in gaps(document) if kind == "lost_records"]
    # Of the driver's worker and of the task's.
    assert len(empty) == 2, empty
    assert all(detail.endswith("it is empty (has its node no space left?)") for detail in empty)
    assert not document["coverage"]["complete"]
    assert "has its node no space left?" in errors
