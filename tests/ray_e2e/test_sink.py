"""Records in S3 outlive the cluster that they were made on."""

import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import (
    PYTHON, RAY, ROAR, S3S, Cluster, document, environment, graph, roar, terminate, wait_for,
)

KEY, SECRET = "AKROARTESTKEY", "roar-test-secret-5f2b8c"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

JOB = '''
import sys, time
import ray

ray.init()
out = sys.argv[1]


@ray.remote
def make():
    with open(out + "/made", "w") as made:
        made.write("of make")


@ray.remote
def use(_):
    with open(out + "/made") as made, open(out + "/used", "w") as used:
        used.write(made.read())


ray.get(use.remote(make.remote()))
time.sleep(120)
'''


class Server:
    """s3s-fs with one bucket, which is a directory."""

    def __init__(self, directory):
        self.bucket = os.path.join(directory, "records")
        os.mkdir(self.bucket)
        log = os.path.join(directory, "log")
        with open(log, "w") as out:
            self.process = subprocess.Popen(
                [S3S, "--host", "127.0.0.1", "--port", "0", "--access-key", KEY,
                 "--secret-key", SECRET, directory],
                stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                env={"RUST_LOG": "s3s_fs=info"},
            )

        def url():
            with open(log) as text:
                return [word for word in text.read().split() if word.startswith("http://")]

        self.url = wait_for(url, 10, "the server")[0]

    def content(self):
        """All that is in the bucket (bytes)."""
        parts = []
        for directory, _, names in os.walk(self.bucket):
            for name in names:
                with open(os.path.join(directory, name), "rb") as piece:
                    parts.append(piece.read())
        return b"".join(parts)


@pytest.fixture
def server(tmp_path_factory):
    assert os.path.isfile(S3S), "`make .cache/s3s/bin/s3s-fs` makes it"
    started = Server(str(tmp_path_factory.mktemp("s3")))
    yield started
    terminate(started.process)


@pytest.fixture
def lost(server):
    """A cluster that the test takes away with its disk."""
    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    started = Cluster(os.path.join(directory, "ray"), **CREDENTIALS)
    yield started
    take_away(started)
    started.stop()


def of_cluster(cluster):
    """The processes that were started with its directory, or have something in it open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as command:
                words = command.read().decode(errors="replace")
            fds = os.listdir("/proc/%s/fd" % pid)
            links = [os.readlink("/proc/%s/fd/%s" % (pid, fd)) for fd in fds]
        except OSError:
            continue
        if int(pid) != os.getpid() and any(cluster.temp in text for text in [words, *links]):
            yield int(pid)


def take_away(cluster):
    def is_gone():
        left = list(of_cluster(cluster))
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left

    wait_for(is_gone, 30, "the end of the cluster")
    shutil.rmtree(os.path.dirname(cluster.temp), ignore_errors=True)


@pytest.fixture
def submission(server, lost, project):
    """`roar run` of a job that goes on when its tasks have ended, with a sink in S3."""
    with open(os.path.join(project, "job.py"), "w") as script:
        script.write(JOB)
    roar("config", "set", "ray.sink", "s3://records/of/roar", cwd=project)

    def command(*options):
        return (
            "run", RAY, "job", "submit", "--address", lost.address, "--log-color=false",
            "--working-dir", project, *options, "--", PYTHON, "job.py", project,
        )
    return command


def wait_for_record(server, project):
    used = os.path.join(project, "used").encode()
    wait_for(lambda: used in server.content(), 90, "the record in the bucket")


def joined(project):
    """Names of the tasks, and which joins which by what file."""
    found = graph(project)
    names = {node["id"]: node["name"] for node in found["nodes"]}
    edges = {
        (names[edge["from"]], names[edge["to"]], os.path.basename(edge["path"]))
        for edge in found["edges"] if edge["via"] == "file"
    }
    return set(names.values()), edges, {gap["kind"] for gap in found["coverage"]["gaps"]}


def holds_no_secret(directory, *texts):
    for below, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(below, name), "rb") as file:
                texts += (file.read().decode(errors="replace"),)
    assert not any(SECRET in text for text in texts)


def test_a_job_is_fetched_when_its_cluster_is_gone(server, lost, submission, project, tmp_path):
    # The cluster's address of the server is not this machine's.
    done = roar(
        *submission("--no-wait"), cwd=project, AWS_ENDPOINT_URL="http://127.0.0.1:1",
        ROAR_CLUSTER_AWS_ENDPOINT_URL=server.url,
    )
    (id,) = re.findall("`roar ray fetch (.*)`", done.stderr)
    wait_for_record(server, project)
    holds_no_secret(lost.fragments)
    take_away(lost)
    here = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}
    fetch = ("ray", "fetch", "--address", lost.address, id)
    fetched = roar(*fetch, "--json", cwd=project, **here)
    assert document(fetched.stdout)["status"] == "UNKNOWN"
    names, edges, _ = joined(project)
    assert names >= {"make", "use"}
    assert ("make", "use", "made") in edges

    other = os.path.join(str(tmp_path), "other")
    os.makedirs(os.path.join(other, ".roar"))
    document(roar("merge", "--json", "s3://records/of/roar/", cwd=other, **here).stdout)
    assert joined(other)[:2] == (names, edges)
    wrong = {**here, "AWS_SECRET_ACCESS_KEY": "wrong"}
    refused = roar(*fetch, cwd=project, code=1, **wrong)
    assert "roar: warning: cannot read s3://records/of/roar/ (Sig" in refused.stderr
    holds_no_secret(project, done.stderr, fetched.stderr, refused.stderr)


def test_a_job_that_is_waited_for_comes_from_the_sink(server, lost, submission, project):
    here = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}
    here["ROAR_CLUSTER_AWS_ENDPOINT_URL"] = server.url
    job = subprocess.Popen(
        [ROAR, *submission()], cwd=project, env=environment(**here), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        wait_for_record(server, project)
        take_away(lost)
        output, errors = job.communicate(timeout=120)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()
    assert job.returncode != 0
    names, edges, gaps = joined(project)
    assert names >= {"make", "use"}, errors
    assert ("make", "use", "made") in edges
    assert "lost_records" in gaps
    holds_no_secret(project, output, errors)
