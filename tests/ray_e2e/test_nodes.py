"""Two nodes that share nothing but one directory; needs root to make them.

Each node has its own network, mount, process and host name space on this machine: a
session directory, a data directory and `/dev/shm` of its own. The client is in a third
network namespace, with the bridge that joins the two.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import PYTHON, RAY, S3S, TOKEN, environment, graph, roar, wait_for

NODES = {"ra": "10.77.0.1", "rb": "10.77.0.2"}
CLIENT = "10.77.0.254"

WORKLOAD = '''
import os, sys
import ray

ray.init()
local, shared = sys.argv[1:]


def on(node):
    return {"resources": {node: 1}}


@ray.remote
def make():
    with open(local, "w") as out:
        out.write("of ra")
    return b"x" * 300_000


@ray.remote
def use(data):
    with open(local) as source:
        text = source.read()
    with open(shared, "w") as out:
        out.write("%d %s" % (len(data), text))


@ray.remote
def collect(_):
    with open(shared) as source:
        return source.read(), open(local).read()


made = make.options(**on("ra")).remote()
used = use.options(**on("rb")).remote(made)
print(ray.get(collect.options(**on("ra")).remote(used)))
'''


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL)


class TwoNodes:
    def __init__(self, directory):
        self.directory = directory
        self.names = {node: "%s-%d" % (node, os.getpid()) for node in [*NODES, "rc"]}
        self.processes = []
        for name in self.names.values():
            ip("netns", "add", name)
        client = self.names["rc"]
        ip("-n", client, "link", "add", "bridge", "type", "bridge")
        ip("-n", client, "addr", "add", CLIENT + "/24", "dev", "bridge")
        ip("-n", client, "link", "set", "bridge", "up")
        ip("-n", client, "link", "set", "lo", "up")
        for node, address in NODES.items():
            name = self.names[node]
            ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", node,
               "netns", client)
            ip("-n", name, "addr", "add", address + "/24", "dev", "eth0")
            ip("-n", client, "link", "set", node, "master", "bridge")
            for where, link in ((name, "lo"), (name, "eth0"), (client, node)):
                ip("-n", where, "link", "set", link, "up")
        self.session, self.data = (os.path.join(directory, part) for part in ("s", "data"))
        os.mkdir(self.session)
        os.mkdir(self.data)
        self.address = "http://%s:8265" % NODES["ra"]
        self.start("ra", [
            "--head", "--port=6379", "--temp-dir=" + self.session,
            "--dashboard-host=" + NODES["ra"], "--dashboard-port=8265",
        ])
        wait_for(lambda: self.alive() >= 1, 90, "the head")
        self.start("rb", ["--address=%s:6379" % NODES["ra"]])
        wait_for(lambda: self.alive() == 2, 90, "the second node")

    def start(self, node, options):
        prepare = (
            'hostname "$1" && for d in /dev/shm "$2" "$3"; do mount -t tmpfs tmpfs "$d" || exit; '
            'done && echo "of $1" > "$3/local.txt" && shift 3 && exec "$@"'
        )
        command = [
            RAY, "start", "--node-ip-address=" + NODES[node], "--num-cpus=2", "--block",
            "--object-store-memory=100000000", "--disable-usage-stats",
            '--resources={"%s":10}' % node, *options,
        ]
        log = open(os.path.join(self.directory, node + ".log"), "w")
        self.processes.append(subprocess.Popen(
            ["ip", "netns", "exec", self.names[node], "unshare", "--mount", "--uts", "--pid",
             "--fork", "--mount-proc", "--kill-child", "sh", "-c", prepare, "sh", node,
             self.session, self.data, *command],
            env=environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        ))

    def client(self):
        return ("ip", "netns", "exec", self.names["rc"])

    def alive(self):
        code = (
            "import sys, urllib.request as u; "
            "r = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}); "
            "print(u.urlopen(r, timeout=3).read().decode().count('\"ALIVE\"'))"
        )
        url = self.address + "/api/v0/nodes"
        done = subprocess.run(
            [*self.client(), PYTHON, "-c", code, url, TOKEN], capture_output=True, text=True,
        )
        return int(done.stdout or 0)

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def nodes():
    if os.getuid() != 0:
        pytest.skip("needs root to make network namespaces")
    directory = tempfile.mkdtemp(prefix="rn-", dir="/tmp")
    made = None
    try:
        made = TwoNodes(directory)
        yield made
    finally:
        if made is not None:
            made.stop()
        shutil.rmtree(directory, ignore_errors=True)


def test_every_node_brings_its_part_and_only_what_is_shared_joins(nodes, project):
    with open(os.path.join(project, "job.py"), "w") as script:
        script.write(WORKLOAD)
    local = os.path.join(nodes.data, "local.txt")
    shared = os.path.join(project, "shared.txt")
    roar(
        "run", RAY, "job", "submit", "--address", nodes.address, "--working-dir", ".", "--",
        PYTHON, "job.py", local, shared, cwd=project, as_user=nodes.client(),
    )
    document = graph(project)
    by_name = {node["name"]: node for node in document["nodes"]}
    assert {name: node["host"] for name, node in by_name.items()} == {
        "make": "ra", "use": "rb", "collect": "ra", "python": "ra",
    }
    names = {node["id"]: node["name"] for node in document["nodes"]}
    edges = {
        (names[edge["from"]], names[edge["to"]], edge["via"],
         os.path.basename(edge["path"]) if edge["via"] == "file" else None)
        for edge in document["edges"]
    }
    assert edges == {
        ("make", "collect", "file", "local.txt"),
        ("use", "collect", "file", "shared.txt"),
        ("make", "use", "object", None),
        ("use", "collect", "object", None),
        ("collect", "python", "object", None),
    }
    assert open(shared).read() == "300000 of rb\n"
    every = json.loads(roar("dag", "--json", "--all", cwd=project).stdout)
    (use,) = (node for node in every["nodes"] if node["name"] == "use")
    assert [file["node"] for file in use["reads"] if file["path"] == local] == ["rb"]


PIPELINE = '''
import os, sys
import boto3
import ray

ray.init()


def get(key):
    return boto3.client("s3").get_object(Bucket="data", Key=key)["Body"].read()


def put(key, data):
    boto3.client("s3").put_object(Bucket="data", Key=key, Body=data)


@ray.remote
def process(number):
    put("processed/%d" % number, get("raw/%d" % number).upper())


@ray.remote
def train(*_):
    put("model", b"".join(get("processed/%d" % number) for number in range(3)))


@ray.remote
def report(_):
    put("report", get("model")[::-1])


def on(node):
    return {"resources": {node: 1}}


processed = [process.options(**on("rb" if n == 1 else "ra")).remote(n) for n in range(3)]
model = train.options(**on("rb")).remote(*processed)
ray.get(report.options(**on("ra")).remote(model))
'''


def test_objects_in_s3_join_tasks_of_all_nodes(nodes, project):
    store = os.path.join(nodes.directory, "store")
    for key in range(3):
        os.makedirs(os.path.join(store, "data", "raw"), exist_ok=True)
        with open(os.path.join(store, "data", "raw", str(key)), "w") as shard:
            shard.write("shard %d" % key)
    nodes.processes.append(subprocess.Popen(
        [*nodes.client(), S3S, "--host", CLIENT, "--port", "9000",
         "--access-key", "key", "--secret-key", "secret", store],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    with open(os.path.join(project, "job.py"), "w") as script:
        script.write(PIPELINE)
    variables = {
        "AWS_ENDPOINT_URL": "http://%s:9000" % CLIENT, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }
    roar(
        "run", RAY, "job", "submit", "--address", nodes.address, "--working-dir", ".",
        "--runtime-env-json", json.dumps({"env_vars": variables}), "--", PYTHON, "job.py",
        cwd=project, as_user=nodes.client(),
    )
    document = graph(project)
    used = {
        (node["name"], node["host"], *(
            tuple(sorted(f["path"] for f in node[way] if f["path"].startswith("s3://")))
            for way in ("reads", "writes")))
        for node in document["nodes"] if node["kind"] == "ray_task"
    }
    at = "s3://data/"
    processed = [at + "processed/%d" % number for number in range(3)]
    assert used == {
        *(("process", "rb" if n == 1 else "ra", (at + "raw/%d" % n,), (processed[n],))
          for n in range(3)),
        ("train", "rb", tuple(processed), (at + "model",)),
        ("report", "ra", (at + "model",), (at + "report",)),
    }
    names = {node["id"]: node["name"] for node in document["nodes"]}
    edges = sorted((names[edge["from"]], names[edge["to"]], edge["path"])
                   for edge in document["edges"] if edge["via"] == "s3")
    assert edges == [*(("process", "train", path) for path in processed),
                     ("train", "report", at + "model")]
    assert all(edge["digest"] for edge in document["edges"] if edge["via"] == "s3")
