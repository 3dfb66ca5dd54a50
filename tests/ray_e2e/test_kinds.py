"""Every kind of work is its own node, with exactly its own reads and writes."""

import json
import os
import shutil
from collections import Counter

import pytest
from conftest import HERE, PYTHON, RAY, ROAR, graph, run

WORKLOADS = os.path.join(HERE, "workloads")


class Expected:
    """Nodes, each as function, attempt, status, kind, reads and writes.

    A word stands for both the file read, `in/WORD`, and the one written, `out/WORD`;
    `<WORD` and `>WORD` for one of them.
    """

    def __init__(self):
        self.nodes = Counter()
        self.names = set()

    def node(self, func, files, kind="ray_task", attempt=0, status="completed"):
        reads, writes = set(), set()
        for word in files.split():
            if word[0] == "<":
                reads.add(word[1:])
            elif word[0] == ">":
                writes.add(word[1:])
            else:
                reads.add("in/" + word)
                writes.add("out/" + word)
        self.names |= {read[3:] for read in reads if read.startswith("in/")}
        self.nodes[func, attempt, status, kind, show(reads), show(writes)] += 1

    def init(self, func, files, **how):
        self.node(func + ".__init__", files, kind="ray_actor_init", **how)

    def method(self, func, files, **how):
        self.node(func, files, kind="ray_actor_method", **how)


def show(names):
    return " ".join(sorted(names))


def prepare(project, expected):
    """Makes the workloads' directory of data, and returns it."""
    data = os.path.join(project, "data")
    for name in ("in", "out", "asked"):
        os.makedirs(os.path.join(data, name))
    for name in expected.names:
        with open(os.path.join(data, "in", name), "w") as source:
            source.write("content of %s\n" % name)
    shutil.copytree(WORKLOADS, os.path.join(project, "workloads"))
    return data


def found(document, data):
    """The tasks of the graph, as `Expected` has them."""
    def below(files):
        names = (os.path.relpath(file["path"], data) for file in files)
        return show(name for name in names if name.startswith(("in/", "out/")))

    nodes = Counter()
    for node in document["nodes"]:
        touched = below(node["reads"]), below(node["writes"])
        if not node["ray"] or not node["ray"]["func"]:
            if touched != ("", ""):
                nodes[(node["kind"], *touched)] += 1
            continue
        func = node["ray"]["func"]
        assert func.endswith(node["name"]), node
        func = func.split(".", 1)[1]
        attempt = node["ray"]["attempt"]
        if func == "Restarts.method":
            # Ray counts those that found the actor not there yet, of which it may make several.
            attempt = min(attempt, 1)
        nodes[func, attempt, node["status"], node["kind"], *touched] += 1
    return nodes


def check(document, data, expected):
    nodes = found(document, data)
    wrong = ["unexpected: %s" % (node,) for node in sorted((nodes - expected.nodes).elements(), key=str)]
    wrong += ["missing: %s" % (node,) for node in sorted((expected.nodes - nodes).elements(), key=str)]
    assert not wrong, "\n".join(wrong)
    ids = Counter(node["id"] for node in document["nodes"])
    assert max(ids.values()) == 1, ids


def local(project, script, expected, *arguments, **extra):
    """Runs a workload with a Ray of its own, and checks its graph."""
    data = prepare(project, expected)
    extra["KINDS_DATA"] = data
    command = [ROAR, "run", "-q", PYTHON, "workloads/" + script, *arguments]
    done = run(*command, cwd=project, timeout=240, **extra)
    print(done.stdout, done.stderr)  # shown only if the test fails
    assert done.returncode == 0
    check(graph(project), data, expected)
    return done


def test_tasks_and_what_they_start(project):
    expected = Expected()
    task, method = expected.node, expected.method
    task("plain", "plain")
    task("reads_only", "<in/reads_only")
    task("nothing", "")
    task("outer", "outer-before outer-after")
    for name in ("inner", "placed", "spread", "affine"):
        task(name, name)
    task("loads", "loads loads-function")
    task("loads_not", "loads-not", status="failed")
    expected.init("Loads", "loads-class")
    method("Loads.method", "loads-method")
    for attempt in range(3):
        status = "failed" if attempt < 2 else "completed"
        task("raises", "raises-%d" % attempt, attempt=attempt, status=status)
    task("dies", "dies-0", status="killed")
    task("dies", "dies-1", attempt=1)
    task("cancelled", "cancelled", status="failed")
    task("cancelled_by_force", "cancelled_by_force", status="killed")
    task("system_exit", "system_exit", status="failed")
    for number in range(4):
        task("after_cancel", "after_cancel-%d" % number)
    task("streaming", "streaming-0 streaming-1 streaming-2 streaming-end")
    for number in range(3):
        task("consumes", "consumes-%d" % number)
    task("dynamic", "dynamic-0 dynamic-1 dynamic-2")
    task("threads", "thread timer pool-0 pool-1 pool-2 threadpool-0 threadpool-1")
    task("forks", "fork")
    task("shells", "subprocess scrubbed system spawned popen")
    method("Lingers.starts", "lingers-starts lingers-thread")
    method("Lingers.next", "lingers-next lingers-joined")
    for name in "ab":
        method("Pools.use", "pools-thread-" + name)
        for start in ("fork", "spawn", "forkserver"):
            method("Processes.use", "{0}-{1} {0}-{1}-0 {0}-{1}-1".format(start, name))
        for start in ("fork", "spawn"):
            method("ProcessPool.use", "%s-pool-%s" % (start, name))
        method("MultiprocessingPool.use", "mp-%s-0 mp-%s-1" % (name, name))
    task("daemon", "daemon")
    task("after_daemon", "after-daemon")
    task("sqlite", ">out/table.db")
    task("sqlite_reads", "<out/table.db")
    task("arrays", ">out/array.npy >out/mapped")
    task("arrays_read", "<out/array.npy <out/mapped")
    for name in ("a", "b"):
        task("tables", ">out/%s.parquet" % name)
        method("Tables.read", "<out/%s.parquet" % name)
    local(project, "tasks.py", expected)


def asynchronous():
    """What the async actor of `actors.py` does."""
    expected = Expected()

    def method(name, *files, **how):
        for number in range(3):
            words = " ".join("%s-%d%s" % (name, number, file) for file in files)
            expected.method("Async." + name, words, **how)

    expected.init("Async", "async-loads async-init")
    expected.method("Async.start", "")
    method("awaits", "-first", "-0", "-1", "-2", "-locked")
    method("gathers", "-0-0", "-0-1", "-0-2", "-1-0", "-1-1", "-1-2", "-last")
    method("groups", "-0-0", "-0-1", "-0-2", "-1-0", "-1-1", "-1-2")
    method("creates", "", "-later")
    expected.method("Async.wait", "wait")
    method("to_thread", "", "-after")
    method("executor", "-own", "-default", "-0", "-callback")
    method("argument", "", "-loads")
    for name in "ab":
        expected.method("Async.pool_thread", "pool_thread-{0}-0 pool_thread-{0}-callback".format(name))
    expected.method("Async.context", "")
    expected.names |= {"context"}
    method("call_later", "", "-soon", "-at")
    method("from_thread", "-thread", "-0", "-1", "-callback")
    method("reader", "")
    method("managed", "-in", "", "-out")
    method("generates", "-0", "-1", "-2", "-end")
    method("processes", "-exec", "-shell")
    method("callbacks", "-0", "-done")
    method("times_out", "", "-cancelled")
    method("fails", "", status="failed")
    expected.method("Async.cancelled", "cancelled cancelled-finally", status="failed")
    expected.method("Async.sync", "sync")
    expected.method("AsyncGroups.io", "agroup-io-a")
    expected.method("AsyncGroups.io", "agroup-io-c")
    expected.method("AsyncGroups.default", "agroup-default-b")
    return expected


def coroutines(project, loop, **extra):
    done = local(project, "actors.py", asynchronous(), "async", **extra)
    assert "the loop is of " + loop in done.stdout
    gaps = graph(project)["coverage"]["gaps"]
    # What was read and written in a context that says nothing.
    assert [gap["count"] for gap in gaps if gap["kind"] == "unattributed"] == [2], gaps


def test_interleaved_coroutines(project):
    coroutines(project, "asyncio")


def installed(tmp_path_factory, package):
    """A directory to import a package from."""
    directory = str(tmp_path_factory.mktemp(package))
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--target", directory, package]
    done = run(*pip, cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="session")
def uvloop(tmp_path_factory):
    return installed(tmp_path_factory, "uvloop")


@pytest.fixture(scope="session")
def anyio(tmp_path_factory):
    return installed(tmp_path_factory, "anyio")


def test_interleaved_coroutines_of_uvloop(project, uvloop):
    coroutines(project, "uvloop", PYTHONPATH=uvloop)


def test_actors(project):
    expected = Expected()
    expected.init("Counter", "counter-init")
    expected.init("Counter", "counter-other")
    expected.method("Counter.method", "counter-first")
    expected.method("Counter.method", "counter-second")
    expected.method("Counter.fails", "counter-fails", status="failed")
    expected.method("Counter.leaves", "counter-leaves")
    expected.method("Counter.exits", "counter-exits")
    expected.node("of_second", "of_second")
    expected.method("Untouched.method", "untouched-method")
    expected.init("Restarts", "restarts-init-0")
    expected.init("Restarts", "restarts-init-1", attempt=1)
    expected.method("Restarts.method", "restarts-method-0", status="killed")
    expected.method("Restarts.method", "restarts-method-1", attempt=1)
    for number in range(3):
        files = "threaded-{0}-a threaded-{0}-b threaded-{0}-c threaded-{0}-thread threaded-{0}-child"
        expected.method("Threaded.method", files.format(number))
    for group, name in (("one", "a"), ("one", "b"), ("other", "c"), ("other", "d")):
        expected.method("Groups." + group, "group-{0}-a group-{0}-b".format(name))
    # What the pool does once both have work in it is nobody's.
    expected.method("SharedPool.one", "shared-first")
    expected.method("SharedPool.other", "shared-second")
    expected.names |= {"shared-late", "shared-other"}
    for name in "ab":
        files = "threadpool-{0}-0 threadpool-{0}-1 threadpool-{0}-2 threadpool-{0}-3"
        files += " threadpool-{0}-iterable threadpool-{0}-callback"
        expected.method("ThreadPool.use", files.format(name))
    local(project, "actors.py", expected, "others")
    gaps = graph(project)["coverage"]["gaps"]
    assert [gap["count"] for gap in gaps if gap["kind"] == "unattributed"] == [4], gaps


def test_threads_and_coroutines_that_serve_several_methods(project, anyio):
    expected = Expected()
    for name in "abc":
        expected.method("Endpoints.use", "endpoint-" + name)
    # What is taken from a queue where another method has put it is nobody's.
    expected.init("Queue", "queue-init")
    expected.method("Batches.start", "batch-start")
    for name in "bc":
        expected.method("Queue.put", "")
        expected.method("Batches.put", "")
        expected.names |= {"queue-" + name, "batch-" + name}
    local(project, "served.py", expected, PYTHONPATH=anyio)
    gaps = graph(project)["coverage"]["gaps"]
    assert [gap["count"] for gap in gaps if gap["kind"] == "unattributed"] == [8], gaps


def test_an_object_that_is_made_again(project):
    expected = Expected()
    expected.node("makes", "makes-0")
    expected.node("makes", "makes-1", attempt=1)
    expected.node("uses", "uses")
    local(project, "lost.py", expected)


def test_a_job_submitted_through_roar(cluster, project):
    expected = Expected()
    expected.node("dies", "dies-0", status="killed")
    expected.node("dies", "dies-1", attempt=1)
    expected.node("starts", "thread shell fork")
    expected.node("dynamic", "dynamic-0 dynamic-1 dynamic-2")
    expected.init("Threaded", "threaded")
    for name in "ab":
        expected.method("Pool.use", "pool-" + name)
    for number in range(3):
        expected.method("Async.method", "async-{0}-0 async-{0}-1 async-{0}-2 async-{0}-thread".format(number))
    for number in range(2):
        expected.method("Threaded.method", "threaded-%d" % number)
    data = prepare(project, expected)
    runtime_env = {"env_vars": {"KINDS_DATA": data}}
    done = run(
        ROAR, "run", "-q", RAY, "job", "submit", "--address", cluster.address, "--working-dir",
        "workloads", "--runtime-env-json", json.dumps(runtime_env), "--", PYTHON, "submitted.py",
        cwd=project,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    check(graph(project), data, expected)
