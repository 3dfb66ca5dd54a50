"""A Ray cluster of the tests, on loopback with ports and directories of its own."""

import os
import signal
import subprocess
import time
import urllib.request

from conftest import PYTHON, environment
from servers import free_port

RAY = os.path.join(os.path.dirname(PYTHON), "ray")
PORTS = (
    "port", "dashboard-port", "node-manager-port", "object-manager-port",
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "metrics-export-port", "runtime-env-agent-port",
)


class Cluster:
    def __init__(self, directory):
        self.temp = os.path.join(directory, "ray")
        ports = {}
        while len(set(ports.values())) < len(PORTS):
            ports = {name: free_port() for name in PORTS}
        self.address = "http://127.0.0.1:%d" % ports["dashboard-port"]
        env = {name: value for name, value in environment().items() if not name.startswith("AWS_")}
        self.log = os.path.join(directory, "ray-start.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2",
                 "--temp-dir=" + self.temp, "--dashboard-host=127.0.0.1",
                 "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0",
                 "--disable-usage-stats", "--include-dashboard=true",
                 *("--%s=%d" % pair for pair in ports.items())],
                env={**env, "HOME": directory}, cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )
        end = time.monotonic() + 90
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError(open(self.log).read())
            time.sleep(0.2)

    def is_up(self):
        try:
            urllib.request.urlopen(self.address + "/api/jobs/", timeout=2).close()
            with urllib.request.urlopen(self.address + "/api/v0/nodes", timeout=2) as answer:
                return b'"ALIVE"' in answer.read()
        except OSError:
            return False

    @property
    def fragments(self):
        return os.path.join(self.temp, "session_latest", "logs", "roar")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
