"""Programs that use S3, untraced and traced, on servers of the tests' own."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import jsonschema
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORKLOADS = os.path.join(HERE, "workloads")
PYTHON = os.environ.get("ROAR_TEST_PYTHON") or sys.executable
BIN = os.environ.get("ROAR_BIN_DIR") or os.path.join(ROOT, "target", "debug")
ROAR = os.path.join(BIN, "roar")
sys.path[:0] = [HERE, WORKLOADS, os.path.dirname(HERE)]

import store  # noqa: E402
from faulty import Proxy  # noqa: E402
from servers import KEY, SECRET, SERVERS  # noqa: E402

BUCKET = "data"


def environment(endpoint=None, in_code=False, **extra):
    """The environment of everything that the tests run."""
    env = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    env["PATH"] = os.path.dirname(PYTHON) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env.update(
        AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION="us-east-1",
        AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", AWS_ALLOW_HTTP="true",
        AWS_CONFIG_FILE="/nonexistent", AWS_SHARED_CREDENTIALS_FILE="/nonexistent",
        PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1", RAY_USAGE_STATS_ENABLED="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RCLONE_CONFIG="",
        RCLONE_CONFIG_S3_TYPE="s3", RCLONE_CONFIG_S3_PROVIDER="Other",
        RCLONE_CONFIG_S3_ENV_AUTH="true",
    )
    if endpoint:
        env["ENDPOINT_IN_CODE" if in_code else "AWS_ENDPOINT_URL"] = endpoint
        env["RCLONE_CONFIG_S3_ENDPOINT"] = endpoint
    env.update(extra)
    return env


def run(*command, cwd, env, timeout=120):
    """Runs a command to its end; its output is on the result, as text."""
    return subprocess.run(
        command, cwd=cwd, env={**env, "HOME": cwd}, timeout=timeout, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def document(text):
    """What a command printed as JSON, checked against its schema."""
    found = json.loads(text)
    path = os.path.join(ROOT, "docs", "schema", found["schema"].replace("/", ".") + ".json")
    with open(path) as schema:
        jsonschema.validate(found, json.load(schema))
    return found


def program(name, *arguments):
    """The command of a workload: `boto.put` is `put` of workloads/boto.py."""
    file, _, function = name.partition(".")
    if file == "programs":
        return ["bash", os.path.join(WORKLOADS, "programs.sh"), function, *arguments]
    return [PYTHON, os.path.join(WORKLOADS, file + ".py"), function, *arguments]


def tree(directory):
    """Name and digest of every file below it."""
    found = {}
    for top, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(top, name)
            with open(path, "rb") as opened:
                found[os.path.relpath(path, directory)] = hashlib.sha256(opened.read()).hexdigest()
    return found


class Outcome:
    """What a program did that anyone could see, and what the server was asked."""

    def __init__(self, done, proxy, files, objects):
        self.code = done.returncode
        # The address differs from run to run, and messages have it.
        self.stdout, self.stderr = (
            text.replace(proxy.url, "http://SERVER") for text in (done.stdout, done.stderr))
        self.files, self.objects, self.requests = files, objects, list(proxy.requests)

    def visible(self):
        objects = {key: (one["etag"], one["size"], one["digest"])
                   for key, one in self.objects.items()}
        return {"code": self.code, "stdout": self.stdout, "stderr": self.stderr,
                "files": self.files, "objects": objects}


class Place:
    """A bucket, a working directory, and the address through which programs reach the server."""

    def __init__(self, server, directory):
        self.server = server
        self.directory = directory
        self.store = store.Store(server, BUCKET)

    def prepare(self, seeds=("small",)):
        """Everything as it was: the same objects, and a directory with the same files."""
        self.objects = self.store.refill(seeds)
        self.cwd = os.path.join(self.directory, "work")
        shutil.rmtree(self.cwd, ignore_errors=True)
        os.makedirs(os.path.join(self.cwd, ".roar"))
        with open(os.path.join(self.cwd, "given"), "wb") as given:
            given.write(store.SEEDS["large"])

    def files(self):
        return {name: digest for name, digest in tree(self.cwd).items()
                if not name.startswith((".roar/", ".aws/", ".cache/"))}

    def run(self, command, before=(), seeds=("small",), in_code=False, faults=(), meanwhile=None,
            timeout=120, **extra):
        """Runs it on a fresh bucket, below `before`; `meanwhile` gets its process and the proxy."""
        self.prepare(seeds)
        with Proxy(self.server.port) as proxy:
            proxy.faults += faults
            env = {**environment(proxy.url, in_code, **extra), "HOME": self.cwd}
            process = subprocess.Popen(
                [*before, *command], cwd=self.cwd, env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )
            try:
                if meanwhile:
                    meanwhile(process, proxy)
                stdout, stderr = process.communicate(timeout=timeout)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
            done = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
            return Outcome(done, proxy, self.files(), self.store.objects())

    def trace(self, command, options=(), **others):
        """The same below `roar trace`: what it did, and the report."""
        path = os.path.join(self.directory, "report.json")
        if os.path.exists(path):
            os.remove(path)
        outcome = self.run(
            command, before=(ROAR, "trace", "-q", "--json", path, *options, "--"), **others)
        with open(path) as report:
            return outcome, document(report.read())


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """The servers by name, each started when it is first asked for."""
    running = {}

    def start(name):
        if name not in running:
            running[name] = SERVERS[name](str(tmp_path_factory.mktemp(name)))
        return running[name]

    try:
        yield start
    finally:
        for server in running.values():
            server.stop()


@pytest.fixture
def place(servers, tmp_path):
    return Place(servers("s3s"), str(tmp_path))


@pytest.fixture(scope="session")
def cluster():
    from cluster import Cluster

    # Short: the paths of sockets lie below it.
    directory = tempfile.mkdtemp(prefix="roar-s3-", dir="/tmp")
    started = None
    try:
        started = Cluster(directory)
        yield started
    finally:
        if started:
            started.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def untraced(servers, tmp_path_factory):
    """What a case does untraced; run once on each server."""
    known = {}

    def outcome(server, case):
        if (server, case.id) not in known:
            place = Place(servers(server), str(tmp_path_factory.mktemp("untraced")))
            known[server, case.id] = place.run(
                program(case.name, BUCKET), seeds=case.seeds, in_code=case.in_code)
        return known[server, case.id]

    return outcome
