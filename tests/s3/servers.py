"""Servers of S3 on loopback: each with a port and a directory of its own, ended by its id."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

KEY = "AKIAROADTESTACCESSKEY"
SECRET = "distinctive/secret+of/the/tests+0123456789"
S3S = os.environ.get("ROAR_TEST_S3S", "s3s-fs")


def free_port(host="127.0.0.1"):
    with socket.socket() as opened:
        opened.bind((host, 0))
        return opened.getsockname()[1]


class Server:
    host = "127.0.0.1"

    def __init__(self, directory, command, **extra):
        self.log = os.path.join(directory, "server.log")
        self.root = os.path.join(directory, "root")
        os.makedirs(self.root)
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, env={**env, **extra}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        try:
            self.port = self.wait()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self):
        return "http://%s:%d" % (self.host, self.port)

    def wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process.poll() is None, open(self.log).read()
            port = self.find_port()
            if port:
                return port
            time.sleep(0.05)
        raise AssertionError("the server does not answer: " + open(self.log).read())

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class S3s(Server):
    """s3s-fs: buckets are directories, and signatures are checked."""

    name = "s3s"

    def __init__(self, directory, host="127.0.0.1", before=(), port=0, options=()):
        self.host = host
        super().__init__(
            directory,
            [*before, S3S, "--host", host, "--port", str(port), "--access-key", KEY,
             "--secret-key", SECRET, *options, "root"],
            RUST_LOG="info", NO_COLOR="1",
        )

    def find_port(self):
        at = r"running at http://%s:(\d+)" % re.escape(self.host)
        found = re.search(at, open(self.log).read())
        return found and int(found[1])


class Moto(Server):
    """moto's server: keeps versions, checks no signatures."""

    name = "moto"

    def __init__(self, directory):
        self.asked = free_port()
        super().__init__(
            directory,
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.asked)],
            S3_IGNORE_SUBDOMAIN_BUCKETNAME="true",
        )

    def find_port(self):
        try:
            urllib.request.urlopen("http://127.0.0.1:%d/moto-api/" % self.asked, timeout=2).close()
        except OSError:
            return None
        return self.asked


SERVERS = {kind.name: kind for kind in (S3s, Moto)}
