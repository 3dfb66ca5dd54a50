"""Debuggers work in a traced task as they do in any other."""

import json
import os
import socket
import subprocess

import pytest
from conftest import HERE, PYTHON, RAY, ROAR, Beside, free_ports, graph, wait_for

PAUSES = os.path.join(HERE, "workloads", "pauses.py")


@pytest.fixture(scope="module")
def debugpy(tmp_path_factory):
    """A directory to import debugpy from."""
    directory = str(tmp_path_factory.mktemp("debugpy"))
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--target", directory, "debugpy"]
    subprocess.run(pip, check=True)
    return directory


class Job(Beside):
    """The workload as a submitted job that waits for its debugger."""

    def __init__(self, cluster, project, env):
        self.out = os.path.join(project, "out")
        self.project = project
        os.mkdir(self.out)
        super().__init__(
            ROAR, "run", RAY, "job", "submit", "--address", cluster.address,
            "--log-color=false", "--runtime-env-json", json.dumps({"env_vars": env}), "--",
            PYTHON, PAUSES, self.out, cwd=project, stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        wait_for(lambda: os.path.exists(os.path.join(self.out, "before")), 60, "the task")
        return self

    def check(self, answer):
        """The job ended well, with what the debugger made of it, and is recorded whole."""
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0 and "returned %s\n" % answer in output, output
        document = graph(self.project)
        assert document["coverage"] == {"complete": True, "gaps": []}
        (task,) = (node for node in document["nodes"] if node["kind"] == "ray_task")
        writes = sorted(os.path.relpath(file["path"], self.out) for file in task["writes"])
        assert (task["name"], task["status"], writes) == ("pauses", "completed", ["after", "before"])


def connected(port, host="127.0.0.1"):
    def connect():
        try:
            return socket.create_connection((host, port), timeout=30)
        except OSError:
            return None

    return wait_for(connect, 30, "the debugger at %s:%d" % (host, port))


def test_rays_own_debugger(cluster, project):
    (port,) = free_ports(1)
    env = {"RAY_DEBUG": "legacy", "REMOTE_PDB_PORT": str(port)}
    with Job(cluster, project, env) as job:
        with connected(port) as debugger, debugger.makefile("rw") as lines:
            lines.write("!answer += 1\np 'it is', answer\nc\n")
            lines.flush()
            assert "('it is', 42)" in lines.read()
        job.check(42)


class DebugAdapter:
    """A client of debugpy (the Debug Adapter Protocol)."""

    def __init__(self, connection):
        self.file = connection.makefile("rwb")
        self.number = 0
        self.events = []

    def send(self, command, **arguments):
        self.number += 1
        message = {
            "seq": self.number, "type": "request", "command": command, "arguments": arguments,
        }
        body = json.dumps(message).encode()
        self.file.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.file.flush()
        return self.number

    def receive(self):
        length = 0
        while (line := self.file.readline()) not in (b"\r\n", b""):
            length = int(line.split(b":")[1])
        return json.loads(self.file.read(length))

    def answer_to(self, number):
        while True:
            message = self.receive()
            if message["type"] == "event":
                self.events.append(message)
            elif message.get("request_seq") == number:
                assert message["success"], message
                return message.get("body")

    def ask(self, command, **arguments):
        return self.answer_to(self.send(command, **arguments))

    def wait(self, event):
        while True:
            for message in self.events:
                if message["event"] == event:
                    self.events.remove(message)
                    return message.get("body")
            message = self.receive()
            if message["type"] == "event":
                self.events.append(message)


def test_debugpy(cluster, project, debugpy):
    def place():
        answer = json.loads(cluster.ask("/api/v0/workers?detail=1&limit=1000", timeout=10))
        places = [(w["debugger_port"], w["ip"]) for w in answer["data"]["result"]["result"]]
        return next((place for place in places if place[0]), None)

    with Job(cluster, project, {"PYTHONPATH": debugpy}) as job:
        with connected(*wait_for(place, 30, "a worker that waits for a debugger")) as connection:
            adapter = DebugAdapter(connection)
            adapter.ask("initialize", adapterID="test", clientID="test")
            attached = adapter.send("attach", justMyCode=False)
            adapter.wait("initialized")
            adapter.ask("configurationDone")
            adapter.answer_to(attached)
            thread = adapter.wait("stopped")["threadId"]
            frame = adapter.ask("stackTrace", threadId=thread)["stackFrames"][0]
            assert frame["name"] == "pauses", frame
            adapter.ask("evaluate", expression="answer += 1", frameId=frame["id"], context="repl")
            adapter.ask("continue", threadId=thread)
            adapter.ask("disconnect")
        job.check(42)
