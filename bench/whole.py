"""What a user waits for: a whole `roar run` with digests and recording, and one BLAKE3 pass."""

import os
import shutil
import statistics
import subprocess

import fixtures
import ways
import workloads

OWN_RUN = "roar run"
ALL_THREADS = "all threads"
ONE_THREAD = "one thread"
PASS = """
import sys, time
from blake3 import blake3
path, threads = sys.argv[1], sys.argv[2]
began = time.perf_counter()
if threads == "all threads":
    blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()
else:
    hasher = blake3()
    with open(path, "rb") as opened:
        while block := opened.read(1 << 20):
            hasher.update(block)
    hasher.hexdigest()
print(time.perf_counter() - began)
"""


def pipeline(directory):
    """A project of one step, committed, which the peer asks for."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    shutil.copy(os.path.join(workloads.PROGRAMS, "step.py"), directory)
    with open(os.path.join(directory, "input.txt"), "w") as made:
        made.writelines("line %d of the input\n" % line for line in range(10_000))
    with open(os.path.join(directory, ".gitignore"), "w") as made:
        made.write(".roar/\noutput.json\n")
    fixtures.git(directory, "init", "--quiet")
    fixtures.git(directory, "add", ".")
    fixtures.git(directory, "commit", "--quiet", "-m", "step")
    return directory


def inside(directory, *prefix):
    return ways.prefixed(shutil.which("env"), "-C", directory, *prefix)


def runs(roar, peer_roar, scratch, env):
    """The workload of a short step, and the ways of running it, each in its own project.

    Each has run once when this returns: what is measured is no first time.
    """
    command = [workloads.PYTHON, "step.py", "input.txt", "output.json"]
    workload = workloads.Workload(workloads.RUN, "a short Python program", command)
    found = {ways.NATIVE: ()}
    found[OWN_RUN] = (roar, "run", "-q", "--")
    if peer_roar:
        found[ways.PEER_RUN] = (peer_roar, "run", "-q")
    for number, (way, prefix) in enumerate(list(found.items())):
        directory = pipeline(os.path.join(scratch, "pipeline%d" % number))
        found[way] = inside(directory, *prefix)
        quiet = {"env": env, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                 "stderr": subprocess.DEVNULL}
        if prefix:
            subprocess.run([prefix[0], "init"], cwd=directory, **quiet)
            fixtures.git(directory, "add", ".")
            fixtures.git(directory, "commit", "--quiet", "--allow-empty", "-m", "init")
        subprocess.run(found[way](command), **quiet)
    return workload, found


def blake3_pass(cache, python, program, mebibytes, scratch, rounds):
    """Seconds of reading and digesting a file of that size, by number of threads."""
    venv = os.path.join(cache, "blake3")
    if not ways.installed(venv, python, "blake3"):
        return {}
    path = os.path.join(scratch, "digested")
    subprocess.run([program, path, str(mebibytes)], check=True)
    found = {ALL_THREADS: [], ONE_THREAD: []}
    for _ in range(rounds):
        for threads, seconds in found.items():
            done = subprocess.run(
                [os.path.join(venv, "bin", "python"), "-c", PASS, path, threads], check=True,
                text=True, stdout=subprocess.PIPE)
            seconds.append(float(done.stdout))
    os.unlink(path)
    return {threads: statistics.median(seconds) for threads, seconds in found.items()}
