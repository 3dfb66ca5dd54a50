"""What was not traced, and what Ray knows better, is told."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import (
    HERE, NODE_IP, PYTHON, RAY, ROAR, Cluster, environment, free_ports, graph, roar,
    wait_for,
)

JOBS = os.path.join(HERE, "view_jobs.py")


def submit(cluster, project, *arguments, **extra):
    return roar(
        "run", RAY, "job", "submit", "--address", cluster.address, "--log-color=false", "--",
        PYTHON, JOBS, *arguments, cwd=project, **extra,
    )


def start(cluster, project, *arguments):
    command = [
        ROAR, "run", RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        "--", PYTHON, JOBS, *arguments,
    ]
    return subprocess.Popen(
        command, cwd=project, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )


def finish(job):
    try:
        output, errors = job.communicate(timeout=120)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    return output, errors


def gaps(document):
    return {(gap["kind"], gap["detail"], gap["count"]) for gap in document["coverage"]["gaps"]}


def of_tasks(document, out):
    """Name, attempt, status, detail and written files of all nodes but the driver."""
    return sorted(
        (node["name"], node["ray"]["attempt"], node["status"], node["status_detail"],
         tuple(os.path.relpath(file["path"], out) for file in node["writes"]))
        for node in document["nodes"] if node["kind"] != "ray_driver"
    )


def lines_of_ours(errors):
    return [line for line in errors.splitlines() if line.startswith("roar: ")]


def test_a_job_that_is_traced_as_a_whole_is_complete(cluster, project):
    out = os.path.join(project, "out")
    os.makedirs(out)
    at_once = os.path.join(out, "go")
    open(at_once, "w").close()
    done = submit(cluster, project, "two_steps", out)
    document = graph(project)
    assert document["coverage"] == {"complete": True, "gaps": []}
    assert of_tasks(document, out) == [
        ("writes", 0, "completed", None, ("first",)),
        ("writes", 0, "completed", None, ("second",)),
    ]
    assert lines_of_ours(done.stderr) == ["roar: 3 tasks recorded; `roar dag` shows them"]


def test_tasks_with_an_executable_of_their_own_are_named(cluster, project):
    out = os.path.join(project, "out")
    done = submit(cluster, project, "untraced", out)
    document = graph(project)
    cause = "untraced work: a py_executable of its own (%s)" % PYTHON
    assert gaps(document) == {("untraced_worker", cause, 2)}
    assert not document["coverage"]["complete"]
    assert of_tasks(document, out) == [
        ("writes", 0, "completed", None, ()),
        ("writes", 0, "completed", None, ()),
        ("writes", 0, "completed", None, ("traced",)),
    ]
    assert lines_of_ours(done.stderr) == [
        "roar: 2 tasks recorded; `roar dag` shows them",
        "roar: the record is not complete: %s (2)" % cause,
    ]
    # The records are there as well: the order in which they are taken in is no matter.
    roar("merge", cluster.fragments, cwd=project)
    assert gaps(graph(project)) >= {("untraced_worker", cause, 2)}


def test_a_daemon_that_outlives_its_worker_is_a_gap_of_its_task_until_it_ends(cluster, project):
    out = os.path.join(project, "out")
    done = submit(cluster, project, "outlived", out)
    with open(os.path.join(out, "daemon")) as file:
        daemon = int(file.read())
    try:
        outlived = ("still_running", "processes went on after their worker had ended", 1)
        assert gaps(graph(project)) == {outlived}
    finally:
        os.kill(daemon, signal.SIGKILL)
    (id,) = re.findall(r"Job '(\S+)' succeeded", done.stdout + done.stderr)
    cluster.wait_sealed()
    roar("ray", "fetch", "--address", cluster.address, id, cwd=project)
    assert graph(project)["coverage"] == {"complete": True, "gaps": []}


# Stands for NVIDIA's profiler, which is no package: what Ray does with it is the same.
PROFILER = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
until [ "${1##*/}" = python ]; do shift; done
exec "$@"
"""


def test_work_under_a_profiler_runs_as_it_would_and_is_named(project, tmp_path):
    directory = tempfile.mkdtemp(prefix="roar-view-", dir="/tmp")
    profiler = os.path.join(str(tmp_path), "nsys")
    with open(profiler, "w") as script:
        script.write(PROFILER)
    os.chmod(profiler, 0o755)
    path = os.pathsep.join([str(tmp_path), os.path.dirname(PYTHON), "/usr/bin:/bin"])
    cluster = Cluster(os.path.join(directory, "ray"), PATH=path)
    try:
        out = os.path.join(project, "out")
        submit(cluster, project, "profiled", out)
        assert sorted(os.listdir(out)) == ["profiled", "traced"]
        with open(os.path.join(str(tmp_path), "calls")) as calls:
            assert "default_worker.py" in calls.read()
        document = graph(project)
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)
    assert gaps(document) == {("untraced_worker", "untraced work: the profiler nsight", 1)}
    assert of_tasks(document, out) == [
        ("writes", 0, "completed", None, ()),
        ("writes", 0, "completed", None, ("traced",)),
    ]


def test_a_cluster_without_the_launcher_leaves_gaps_and_no_record(project, tmp_path):
    # Python's directory may have a launcher in it.
    directory = tempfile.mkdtemp(prefix="roar-view-", dir="/tmp")
    bare = Cluster(os.path.join(directory, "ray"), PATH="/usr/bin:/bin")
    try:
        without_launcher(bare, project, tmp_path)
    finally:
        bare.stop()
        shutil.rmtree(directory, ignore_errors=True)


def without_launcher(cluster, project, tmp_path):
    out = os.path.join(project, "out")
    bare = os.path.join(str(tmp_path), "bin")
    os.mkdir(bare)
    alone = shutil.copy(ROAR, bare)
    os.makedirs(out)
    open(os.path.join(out, "go"), "w").close()
    done = subprocess.run(
        [alone, "run", RAY, "job", "submit", "--address", cluster.address, "--",
         PYTHON, JOBS, "two_steps", out],
        cwd=project, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    document = graph(project)
    ((kind, detail, count),) = gaps(document)
    assert (kind, count) == ("untraced_worker", 3), document["coverage"]
    assert detail.startswith("untraced work: roar-worker is missing on node "), detail
    nodes = sorted((n["name"], n["kind"], n["status"], n["writes"]) for n in document["nodes"])
    assert nodes == [
        (os.path.basename(PYTHON), "ray_driver", "completed", []),
        ("writes", "ray_task", "completed", []),
        ("writes", "ray_task", "completed", []),
    ]


def test_how_a_task_ended_is_rays_word(cluster, project):
    out = os.path.join(project, "out")
    submit(cluster, project, "deaths", out)
    document = graph(project)
    found = {
        (name, status, (detail or "").split(":")[0], wrote)
        for name, _, status, detail, wrote in of_tasks(document, out)
    }
    assert found == {
        ("dies", "killed", "worker died", ("dies",)),
        ("waits", "failed", "task cancelled", ("cancelled",)),
        ("waits", "killed", "task cancelled", ("forced",)),
        ("Actor.waits", "killed", "actor died", ("actor",)),
    }
    details = {name: detail for name, _, _, detail, _ in of_tasks(document, out)}
    assert "ray.kill" in details["Actor.waits"]
    # What never began is no work that was missed.
    assert document["coverage"] == {"complete": True, "gaps": []}


@pytest.mark.parametrize("made", ["import", "client"])
def test_a_task_that_makes_an_s3_client_has_a_gap(cluster, project, made):
    submit(cluster, project, "object_store", os.path.join(project, "out"), made)
    wanted = {("s3_uncaptured", "a client of pyarrow was made for S3, and no request of it was seen", 1)}
    document = graph(project)
    assert gaps(document) == (wanted if made == "client" else set())
    assert document["coverage"]["complete"] == (made == "import")


@pytest.fixture
def own_cluster():
    directory = tempfile.mkdtemp(prefix="roar-view-", dir="/tmp")
    started = Cluster(os.path.join(directory, "ray"), RAY_health_check_period_ms="500",
                      RAY_health_check_failure_threshold="3")
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)


def descendants(pid):
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as stat:
                parents.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
        except OSError:
            continue
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def command_of(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as command:
            return command.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_a_dashboard_that_dies_leaves_what_was_collected(own_cluster, project):
    out = os.path.join(project, "out")
    job = start(own_cluster, project, "two_steps", out)
    try:
        wait_for(lambda: os.path.exists(os.path.join(out, "first")), 60, "the first task")
        # Collections are three seconds apart.
        wait_for(lambda: sealed(own_cluster), 30, "its record")
        with pytest.raises(subprocess.TimeoutExpired):
            job.wait(8)
        dashboards = [
            pid for pid in descendants(own_cluster.process.pid)
            if "dashboard/dashboard.py" in command_of(pid) or "ray-dashboard" in command_of(pid).lower()
        ]
        assert dashboards
        for pid in dashboards:
            os.kill(pid, signal.SIGKILL)
    finally:
        open(os.path.join(out, "go"), "w").close()
        output, errors = finish(job)
    plain = [line for line in lines_of_ours(errors) if "not complete" in line]
    assert len(plain) == 1, errors
    assert "the cluster could not be asked at the job's end" in plain[0]
    document = graph(project)
    assert not document["coverage"]["complete"]
    assert ("writes", 0, "completed", None, ("first",)) in of_tasks(document, out)
    # That of Ray's command, which has lost its job as well.
    assert job.returncode == 1, (output, errors)


def sealed(cluster):
    names = os.listdir(cluster.fragments) if os.path.isdir(cluster.fragments) else []
    return [name for name in names if name.endswith(".roarfrag")]


def test_a_node_that_dies_leaves_what_was_collected_and_a_gap(project):
    directory = tempfile.mkdtemp(prefix="roar-view-", dir="/tmp")
    quick = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3",
             "RAY_health_check_initial_delay_ms": "500"}
    head = Cluster(os.path.join(directory, "ray"), options=('--resources={"home": 1}',), **quick)
    try:
        second = Second(head, os.path.join(directory, "second"), **quick)
        try:
            two_nodes(head, second, project)
        finally:
            second.stop()
    finally:
        head.stop()
        shutil.rmtree(directory, ignore_errors=True)


def two_nodes(head, second, project):
    out = os.path.join(project, "out")
    job = start(head, project, "on_two_nodes", out)
    try:
        wait_for(lambda: os.path.exists(os.path.join(out, "waiting-away")), 90, "the task away")
        with pytest.raises(subprocess.TimeoutExpired):
            job.wait(10)
        second.kill()
    finally:
        open(os.path.join(out, "go"), "w").close()
        output, errors = finish(job)
    assert job.returncode == 0, (output, errors)
    document = graph(project)
    found = {
        (name, status, (detail or "").split(":")[0], wrote)
        for name, _, status, detail, wrote in of_tasks(document, out)
    }
    assert ("writes", "completed", "", ("finished-away",)) in found, found
    assert ("writes", "completed", "", ("home",)) in found, found
    (lost,) = [task for task in found if task[0] == "waits"]
    assert lost[1] == "killed" and "died" in lost[2] and lost[3] == ("waiting-away",), found
    assert len(found) == 3, found
    assert any(
        kind == "lost_records" and detail.startswith("lost node %s" % second.id())
        for kind, detail, _ in gaps(document)
    ), gaps(document)


class Second:
    """A second node on this machine: `ray start --address`."""

    def __init__(self, head, directory, **extra):
        names = ("node-manager-port", "object-manager-port", "dashboard-agent-listen-port",
                 "dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port")
        options = ["--%s=%d" % pair for pair in zip(names, free_ports(len(names)))]
        self.head = head
        self.known = self.nodes()
        self.log = open(directory + ".log", "w")
        self.process = subprocess.Popen(
            [RAY, "start", "--address", head.gcs, "--block", "--node-ip-address=" + NODE_IP,
             "--num-cpus=2", '--resources={"away": 1}', "--object-store-memory=100000000",
             "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats", *options],
            env=environment(**extra), cwd="/", stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )
        wait_for(lambda: len(self.nodes()) == 2, 60, "the second node")

    def nodes(self):
        answer = json.loads(self.head.ask("/api/v0/nodes", timeout=10))
        return {node["node_id"] for node in answer["data"]["result"]["result"]}

    def id(self):
        (own,) = self.nodes() - self.known
        return own

    def kill(self):
        """As if the machine had gone: all that belongs to the node."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def stop(self):
        self.kill()
        self.process.wait()
        self.log.close()
