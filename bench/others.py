"""Benches that are programs of their own: the store's, Ray's, the start's and the shim's.

Each gives the text it printed, or one line that says why it was left out. A line of the
store's is a name, a figure and its unit.
"""

import os
import re
import statistics
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STORE_BENCH = os.path.join(ROOT, "target", "release", "examples", "store_bench")
VENV_PYTHON = os.path.join(ROOT, ".venv", "bin", "python")


def printed(command, env=None):
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        last = (done.stderr.strip() or "nothing said").splitlines()[-1]
        return "left out: exit %d: %s\n" % (done.returncode, last), False
    return done.stdout, True


def store(scratch):
    """The text, and the figures by name."""
    if not os.path.exists(STORE_BENCH):
        return "left out: there is no target/release/examples/store_bench\n", {}
    text, is_done = printed([STORE_BENCH], {"TMPDIR": scratch})
    figures = {}
    for line in text.splitlines() if is_done else ():
        if found := re.fullmatch(r"(.+?) {2,}([0-9.]+) .*", line):
            figures[found[1]] = float(found[2])
    return text, figures


def has_ray():
    if not os.path.exists(VENV_PYTHON):
        return False
    return subprocess.run(
        [VENV_PYTHON, "-c", "import ray"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0


def ray(roar, rounds, scratch):
    """Trivial tasks, actor calls, and the example pipeline."""
    if not has_ray():
        return "left out: .venv has no Ray\n"
    path = os.path.dirname(roar) + os.pathsep + os.environ["PATH"]
    env = {"ROUNDS": str(rounds), "PYTHON": VENV_PYTHON, "PATH": path}
    tasks, _ = printed([VENV_PYTHON, os.path.join(ROOT, "bench", "ray_tasks.py"), roar], env)
    pipeline, is_done = printed(
        [os.path.join(ROOT, "examples", "bench.sh"), os.path.join(scratch, "ray"), str(rounds)],
        env)
    return tasks + "\n" + (pipeline_table(pipeline) if is_done else pipeline)


def pipeline_table(seconds):
    rows = [[float(figure) for figure in line.split()] for line in seconds.splitlines()[1:]]
    untraced, traced = (statistics.median(column) for column in zip(*rows))
    return (
        "| | untraced wall s | traced wall s | ratio |\n|---|---|---|---|\n"
        "| the example pipeline | %.2f | %.2f | %.2f |\n" % (
            untraced, traced, traced / untraced))


def startup(roar):
    return printed([os.path.join(ROOT, "bench", "startup.py"), roar])[0]


def shim():
    if not has_ray():
        return "left out: .venv has no Ray\n"
    return printed([VENV_PYTHON, os.path.join(ROOT, "bench", "shim.py")])[0]
