"""A Docker of the tests' own, whose containers have Python and Ray, and nothing of ours.

It has a socket, directories and a bridge of its own, and leaves the machine's firewall
alone. There is no registry: the one image is a root of empty directories, and what runs in
it is this machine's, read-only.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

from conftest import PYTHON, RAY, environment, terminate, wait_for

SUBNET = "10.78.%d" % (os.getpid() % 250)
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc")
HAS = SYSTEM + ("/dev", "/proc", "/sys", "/tmp")
PASSED_ON = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED",
             "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


class Docker:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="rd-", dir="/tmp")
        self.bridge = "roar%d" % os.getpid()
        self.socket = "unix://" + os.path.join(self.directory, "socket")
        self.log = open(os.path.join(self.directory, "log"), "w")
        self.daemon = None
        self.containers = []
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", SUBNET + ".1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        data, state, pid = (os.path.join(self.directory, n) for n in ("data", "exec", "pid"))
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", data, "--exec-root", state, "--pidfile", pid,
             "--host", self.socket, "--bridge", self.bridge, "--iptables=false",
             "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )
        wait_for(self.is_up, 60, "dockerd")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in HAS:
                entry = tarfile.TarInfo(name[1:])
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "/tmp" else 0o755
                archive.addfile(entry)
        self.docker("import", "-", "bare", input=packed.getvalue())

    def is_up(self):
        assert self.daemon.poll() is None, open(self.log.name).read()
        return self.client("version").returncode == 0

    def client(self, *words, **options):
        # A configuration of the user's could name proxies.
        command = ["docker", "--config", self.directory, "--host", self.socket, *words]
        return subprocess.run(command, capture_output=True, timeout=150, **options)

    def docker(self, *words, **options):
        done = self.client(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()

    def words(self, rights, *mounts):
        """Options of a container. Stock rights, but for what it is to have less."""
        env = environment()
        env["PATH"] = os.pathsep.join([os.path.dirname(PYTHON), "/usr/bin", "/bin"])
        env["HOME"] = "/tmp"
        given = ["--env=%s=%s" % (name, env[name]) for name in ("PATH", "HOME", *PASSED_ON)]
        python = {sys.prefix, os.path.realpath(sys.prefix), sys.base_prefix}
        shown = [path for path in (*SYSTEM, *sorted(python)) if os.path.isdir(path)]
        bound = ["%s:%s:ro" % (path, path) for path in shown] + list(mounts)
        # What is installed beside this Python, if roar is.
        bound += ["/dev/null:%s:ro" % os.path.join(directory, name)
                  for prefix in python for directory in [os.path.join(prefix, "bin")]
                  for name in os.listdir(directory) if name.startswith("roar")]
        volumes = [word for volume in bound for word in ("--volume", volume)]
        return [*given, *volumes, "--tmpfs", "/tmp:exec", "--shm-size=512m", *rights]

    def container(self, rights, *command):
        """Starts one; its id."""
        id = self.docker("run", "--detach", *self.words(rights), "bare", *command).strip()
        self.containers.append(id)
        return id

    def cluster(self, rights):
        """A container with a head node: its id, and the dashboard's address."""
        id = self.container(
            rights, RAY, "start", "--head", "--block", "--dashboard-host=0.0.0.0", "--num-cpus=4",
            "--object-store-memory=100000000", "--disable-usage-stats",
        )
        # With their own network the usual ports are free.
        code = (
            "import os, urllib.request as u; r = u.Request('http://127.0.0.1:8265/api/v0/nodes', "
            "headers={'Authorization': 'Bearer ' + os.environ['RAY_AUTH_TOKEN']}); "
            "print(u.urlopen(r, timeout=3).read().decode())"
        )

        def is_up():
            running = self.docker("inspect", "--format", "{{.State.Running}}", id).strip()
            assert running == "true", self.client("logs", id)
            return b'"ALIVE"' in self.client("exec", id, PYTHON, "-c", code).stdout

        wait_for(is_up, 90, "the cluster in the container")
        address = "{{.NetworkSettings.IPAddress}}"
        return id, "http://%s:8265" % self.docker("inspect", "--format", address, id).strip()

    def remove(self, id):
        self.client("rm", "--force", id)
        self.containers.remove(id)

    def stop(self):
        for id in list(self.containers):
            self.remove(id)
        if self.daemon is not None:
            terminate(self.daemon)
        self.log.close()
        subprocess.run(["ip", "link", "del", self.bridge], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL)
