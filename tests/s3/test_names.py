"""Objects whose bucket is in the host's name, and those that nobody can name."""

import os
import subprocess

import pytest
from check import objects
from conftest import PYTHON, ROAR, WORKLOADS, document, environment
from project import graph, new_project
from servers import S3s, free_port

SCRIPT = os.path.join(WORKLOADS, "names.py")


class Program:
    """The workload in a directory, with the URL of a store that it is given."""

    def __init__(self, url, cwd, env):
        self.url, self.cwd, self.env = url, cwd, {**env, "HOME": cwd}

    def run(self, *before, use, stdin=""):
        done = subprocess.run(
            [*before, PYTHON, SCRIPT, self.url, use], cwd=self.cwd, env=self.env, input=stdin,
            capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def report(self, verb, use, stdin=""):
        """What one task did, and the kinds of gaps."""
        if verb == "run":
            self.run(ROAR, "run", "-q", use=use, stdin=stdin)
            found = graph(self.cwd)
            (task,) = found["nodes"]
        else:
            path = os.path.join(self.cwd, "report.json")
            self.run(ROAR, "trace", "-q", "--json", path, "--", use=use, stdin=stdin)
            with open(path) as file:
                found = document(file.read())
            (task,) = found["tasks"]
        return task, {gap["kind"] for gap in found["coverage"]["gaps"]}


class Named(Program):
    """A server that takes buckets from its host's name, whose address is in the environment."""

    def __init__(self, directory):
        port = free_port()
        domain = "store.test:%d" % port
        self.server = S3s(
            os.path.join(directory, "server"), port=port, options=("--domain", domain))
        cwd = new_project(os.path.join(directory, "project"))
        super().__init__("http://" + domain, cwd, environment(self.server.url))
        os.makedirs(os.path.join(self.server.root, "data", "in"))
        os.makedirs(os.path.join(self.server.root, "data", "out"))
        for name, text in (("a", "content of a"), ("b", "of b"), ("c", "of c")):
            with open(os.path.join(self.server.root, "data", "in", name), "w") as file:
                file.write(text)
        with open(os.path.join(self.cwd, "given"), "w") as file:
            file.write("given")


@pytest.fixture
def named(tmp_path):
    made = Named(str(tmp_path))
    try:
        yield made
    finally:
        made.server.stop()


def test_a_bucket_before_the_stores_name(named):
    task, gaps = named.report("run", "boto")
    reads, writes = objects(task["reads"]), objects(task["writes"])
    assert set(reads) == {"s3://data/in/a", "s3://data/in/b"}
    assert set(writes) == {"s3://data/out/x", "s3://data/data/x", "s3://data/out/copy"}
    assert None not in {reads["s3://data/in/a"]["digest"], writes["s3://data/data/x"]["digest"]}
    assert "s3_uncaptured" not in gaps


def test_a_bucket_in_a_url_that_was_signed_for_another_program(named):
    task, gaps = named.report("run", "curl")
    assert set(objects(task["reads"])) == {"s3://data/in/a"}
    assert set(objects(task["writes"])) == {"s3://data/out/x"}
    assert "s3_uncaptured" not in gaps


@pytest.mark.parametrize("use", ["boto", "given"])
def test_a_host_that_may_be_a_buckets_or_the_stores_is_a_gap(named, use):
    """Below `roar trace` no client tells."""
    url = named.run(use="sign")
    task, gaps = named.report("trace", use, stdin=url)
    assert not objects(task["reads"]) and not objects(task["writes"])
    assert "s3_uncaptured" in gaps


def test_a_backend_that_sees_no_connections_says_so(named):
    command = ["trace", "-q", "--backend", "ptrace", "--json", "-", "--"]
    curl = ["curl", "-s", named.server.url + "/data/in/a", "-o", "got"]
    done = subprocess.run([ROAR, *command, *curl], cwd=named.cwd, env=named.env,
                          capture_output=True, text=True, timeout=60)
    gaps = document(done.stdout)["coverage"]["gaps"]
    assert "s3_uncaptured" in {gap["kind"] for gap in gaps}


def test_an_upload_by_a_form_is_a_gap(named):
    task, gaps = named.report("run", "form")
    assert not objects(task["writes"])
    assert "s3_uncaptured" in gaps


def test_a_url_that_was_signed_tells_where_the_store_is(place):
    """An endpoint in code, and no request by whom it was told."""
    place.prepare(("small",))
    place.store.client.put_object(Bucket="data", Key="in/a", Body=b"a")
    program = Program(place.server.url, place.cwd, environment())
    task, gaps = program.report("run", "child")
    assert set(objects(task["reads"])) == {"s3://data/in/a"}
    assert set(objects(task["writes"])) == {"s3://data/out/x"}
    assert "s3_uncaptured" not in gaps


CONFIGURED = {
    "option": """
configure given.conf "$ENDPOINT_IN_CODE"
rclone --config given.conf copyto mine:data/in/small taken
""",
    "changed": """
export RCLONE_CONFIG=$PWD/own.conf
configure own.conf http://127.0.0.1:1
rclone --retries 1 --low-level-retries 1 lsf mine:data/in 2> /dev/null || true
configure own.conf "$ENDPOINT_IN_CODE"
rclone copyto mine:data/in/small taken
""",
}
CONFIGURE = """
set -e
configure() { printf '[mine]\\ntype = s3\\nprovider = Other\\nenv_auth = true\\nendpoint = %s\\n' "$2" > "$1"; }
"""


@pytest.mark.parametrize("how", CONFIGURED)
def test_a_configuration_file_is_read_as_it_is_when_its_program_begins(place, how):
    command = ["bash", "-c", CONFIGURE + CONFIGURED[how]]
    outcome, report = place.trace(command, in_code=True, RCLONE_CONFIG_S3_ENDPOINT="")
    assert outcome.code == 0, outcome.stderr
    (task,) = report["tasks"]
    reads = {file["path"] for file in task["reads"] if file["path"].startswith("s3://")}
    assert reads == {"s3://data/in/small"}
