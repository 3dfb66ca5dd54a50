"""What goes wrong on a cluster, and much at once: the job is as it would be, the record says so."""

import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import (
    HERE, PYTHON, RAY, ROAR, WORKER, Cluster, environment, graph, roar, run, wait_for,
)

JOB = os.path.join(HERE, "workloads", "faults.py")
GIB = 1 << 30


def command(cluster, *arguments):
    return (
        ROAR, "run", RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        "--", PYTHON, JOB, *map(str, arguments),
    )


class Job:
    """A submitted job that goes on while the test does something."""

    def __init__(self, cluster, project, *arguments):
        self.process = subprocess.Popen(
            command(cluster, *arguments), cwd=project, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    def wait_for(self, path):
        wait_for(lambda: os.path.exists(path) or self.has_ended(), 90, path)

    def has_ended(self):
        assert self.process.poll() is None, self.process.communicate()
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


@pytest.fixture
def own_directory():
    directory = tempfile.mkdtemp(prefix="roar-faults-", dir="/tmp")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def test_what_rays_memory_monitor_kills_was_killed_for_memory(project, own_directory):
    from ray._private.utils import get_used_memory
    from ray._common.utils import get_system_memory

    total = get_system_memory()
    # The greedy task stops in time should nobody stop it.
    assert total - get_used_memory() > 6 * GIB, "this test needs 6 GiB of free memory"
    threshold = (get_used_memory() + 3 * GIB) / total
    own = Cluster(
        os.path.join(own_directory, "ray"), RAY_memory_usage_threshold="%.4f" % threshold,
        RAY_memory_monitor_refresh_ms="100",
    )
    out = os.path.join(project, "out")
    try:
        done = run(*command(own, "out_of_memory", out, 5 * GIB), cwd=project)
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
