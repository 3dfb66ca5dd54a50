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
from conftest import PYTHON, RAY, TOKEN, environment, graph, roar, wait_for

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
