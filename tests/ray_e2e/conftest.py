"""Ray clusters of the tests: on loopback, with ports and directories of their own."""

import atexit
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import jsonschema
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXAMPLES = os.path.join(ROOT, "examples")
PYTHON = sys.executable
sys.path[:0] = [HERE, EXAMPLES, os.path.dirname(HERE)]

BIN = os.environ.get("ROAR_BIN_DIR") or os.path.join(ROOT, "target", "debug")
ROAR, WORKER = (os.path.join(BIN, name) for name in ("roar", "roar-worker"))
RAY = os.path.join(os.path.dirname(PYTHON), "ray")
S3S = os.environ.get("ROAR_TEST_S3S") or os.path.join(ROOT, ".cache", "s3s", "bin", "s3s-fs")
NODE_IP = "127.0.0.1"
# Clusters ask for it, from the Ray that has tokens on; a later one would otherwise put one
# into the user's home.
TOKEN = secrets.token_hex(32)
# Here a local Ray says where it is, and the next joins it: not that of tests that run beside
# these.
LOCAL = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
os.chmod(LOCAL, 0o1777)
atexit.register(shutil.rmtree, LOCAL, ignore_errors=True)
PORTS = (
    "port",
    "dashboard-port",
    "ray-client-server-port",
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)


def environment(**extra):
    """The environment of everything that the tests run."""
    names = ("PATH", "HOME", "LANG", "TMPDIR", "ROAR_TEST_PYTHON")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env["PATH"] = os.path.dirname(PYTHON) + os.pathsep + env.get("PATH", "")
    env["RAY_USAGE_STATS_ENABLED"] = "0"
    env["RAY_AUTH_MODE"] = "token"
    env["RAY_AUTH_TOKEN"] = TOKEN
    env["RAY_TMPDIR"] = LOCAL
    env["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["PYTHONUNBUFFERED"] = "1"
    env.update(extra)
    return env


def run(*command, cwd, timeout=150, as_user=(), **extra):
    """Runs a command to its end; its output is on the result, as text."""
    return subprocess.run(
        [*as_user, *command], cwd=cwd, env=environment(**extra), timeout=timeout,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def roar(*arguments, cwd, code=0, **extra):
    """A command of roar that must end with that status."""
    done = run(ROAR, *arguments, cwd=cwd, **extra)
    if done.returncode != code:
        print(*arguments, done.stdout, done.stderr, sep="\n")
    assert done.returncode == code
    return done


def document(text):
    """What a command printed as JSON, checked against its schema."""
    found = json.loads(text)
    path = os.path.join(ROOT, "docs", "schema", found["schema"].replace("/", ".") + ".json")
    with open(path) as schema:
        jsonschema.validate(found, json.load(schema))
    return found


def graph(cwd, **extra):
    return document(roar("dag", "--json", cwd=cwd, **extra).stdout)


def wait_for(condition, seconds=30, what="it"):
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for %s" % what)
        time.sleep(0.1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def terminate(process):
    """Ends a server that may have ended already."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def supervisors(log):
    """Who holds the log open, and the processes that it has a pidfd of, a line each."""
    lines = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fds = os.listdir("/proc/%s/fd" % pid)
            if log not in [os.readlink("/proc/%s/fd/%s" % (pid, fd)) for fd in fds]:
                continue
            lines.append(described(pid))
            for fd in fds:
                with open("/proc/%s/fdinfo/%s" % (pid, fd)) as info:
                    lines += ["  " + described(of) for of in re.findall(r"(?m)^Pid:\s+(\d+)$", info.read())]
        except OSError:
            continue
    return lines


def described(pid):
    """The process's number, state and command."""
    with open("/proc/%s/stat" % pid) as stat, open("/proc/%s/cmdline" % pid) as command:
        state = stat.read().rpartition(")")[2].split()[0]
        return "%s %s %s" % (pid, state, command.read().replace("\0", " ")[:150])


class Beside:
    """A command that goes on while the test does something, and not longer."""

    def __init__(self, *command, cwd, stderr=subprocess.PIPE):
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


class Cluster:
    """`ray start --head --block`, which takes its cluster along when it is ended."""

    def __init__(self, directory, as_user=(), options=(), **extra):
        ports = dict(zip(PORTS, free_ports(len(PORTS))))
        self.temp = directory
        self.gcs = "%s:%d" % (NODE_IP, ports["port"])
        self.address = "http://127.0.0.1:%d" % ports["dashboard-port"]
        self.client_port = ports["ray-client-server-port"]
        self.before = set()
        options = [*options, *("--%s=%d" % pair for pair in ports.items())]
        command = [
            *as_user, RAY, "start", "--head", "--block", "--node-ip-address=" + NODE_IP,
            "--num-cpus=4", "--temp-dir=" + self.temp, "--dashboard-host=127.0.0.1",
            "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0",
            "--disable-usage-stats", "--include-dashboard=true", *options,
        ]
        self.log = open(os.path.join(os.path.dirname(directory), "ray-start.log"), "w")
        self.process = subprocess.Popen(
            command, env=environment(**extra), cwd="/", stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            wait_for(self.is_up, 90, "the cluster")
        except BaseException:
            self.stop()
            raise

    def ask(self, path, timeout=2):
        """What the dashboard answers (bytes)."""
        request = urllib.request.Request(self.address + path)
        request.add_header("Authorization", "Bearer " + TOKEN)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read()

    def is_up(self):
        assert self.process.poll() is None, open(self.log.name).read()
        try:
            for path in ("/api/jobs/", "/api/v0/nodes"):
                text = self.ask(path)
        except OSError:
            return False
        return b'"ALIVE"' in text

    @property
    def fragments(self):
        return os.path.join(self.temp, "session_latest", "logs", "roar")

    def records(self):
        """The names of the records that are there, and were not when the test began."""
        names = os.listdir(self.fragments) if os.path.isdir(self.fragments) else []
        return set(names) - self.before

    def wait_sealed(self):
        """Waits until no supervisor of the test's jobs has anything left to write."""
        def is_sealed():
            names = self.records()
            return (not any(name.endswith(".roarlog") for name in names)
                    and any(name.endswith(".roarfrag") for name in names))

        try:
            wait_for(is_sealed, 40, "the fragments in " + self.fragments)
        except AssertionError:
            for name in sorted(self.records()):
                print(name, *supervisors(os.path.join(self.fragments, name)), sep="\n  ")
            raise

    def submit(self, runtime_env, *command, cwd, code=0, options=(), **extra):
        """`ray job submit`; returns what it printed."""
        done = run(
            RAY, "job", "submit", "--address", self.address, "--log-color=false",
            "--runtime-env-json", json.dumps(runtime_env), *options, "--", *command,
            cwd=cwd, **extra,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def stop(self):
        terminate(self.process)
        self.log.close()


@pytest.fixture(scope="session")
def shared_cluster():
    # Short: the paths of sockets lie below it.
    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    started = Cluster(os.path.join(directory, "ray"))
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def cluster(shared_cluster):
    """One cluster for all tests that need nothing special of it.

    A job may leave processes: Ray does not always end those of a pool that it kills the worker of.
    """
    shared_cluster.before = set()
    shared_cluster.before = shared_cluster.records()
    return shared_cluster


@pytest.fixture
def project(tmp_path):
    """A directory with a project of its own and the example pipeline in it."""
    return make_project(str(tmp_path))


def make_project(directory):
    # Whatever project there may be above it.
    os.mkdir(os.path.join(directory, ".roar"))
    shutil.copy(os.path.join(EXAMPLES, "pipeline.py"), directory)
    return directory
