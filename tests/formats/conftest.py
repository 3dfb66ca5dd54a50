"""A project with commands and a local Ray, whose session the exports are about."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROAR = Path(os.environ["ROAR_BIN_DIR"]) / "roar"
RAY_PYTHON = os.environ["ROAR_TEST_PYTHON"]

RAY_PROGRAM = """\
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

@ray.remote
def part(name):
    with open(f"parts/{name}", "w") as file:
        file.write(name)
    return name

@ray.remote
def whole(names):
    texts = [open(f"parts/{name}").read() for name in names]
    with open("whole", "w") as file:
        file.write("".join(texts))

@ray.remote(max_retries=0)
def fails():
    open("in").read()
    raise ValueError("no")

names = ray.get([part.remote(name) for name in "ab"])
ray.get(whole.remote(names))
try:
    ray.get(fails.remote())
except ValueError:
    pass
"""


class Project:
    """A directory with a session."""

    def __init__(self, path):
        self.path = path

    def roar(self, *arguments):
        """What a command prints."""
        done = subprocess.run(
            [ROAR, *arguments], cwd=self.path, capture_output=True, timeout=300
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def run(self, *command, status=0):
        """Records a command."""
        done = subprocess.run(
            [ROAR, "run", "-q", "--", *command], cwd=self.path, capture_output=True, timeout=300
        )
        assert done.returncode == status, done.stderr.decode()

    def export(self, name):
        """An export, the same within roar's own document."""
        text = self.roar("export", name)
        whole = json.loads(self.roar("export", name, "--json"))
        assert (whole["schema"], whole["format"]) == ("roar.export/1", name)
        if name != "dvc":
            assert json.loads(text) == whole["document"]
        return text

    def dag(self):
        """The graph, with tasks and files by what they are called."""
        return json.loads(self.roar("dag", "--json"))


def commands(path):
    """A session of commands alone."""
    project = Project(path)
    (path / "in").write_text("x")
    (path / "odd näme #1 ${X}").write_text("y")
    (path / "below").mkdir()
    project.run("bash", "-c", "cat in > out")
    project.run("bash", "-c", "cat in in > out")
    project.run("bash", "-c", 'cat out "odd näme #1 \\${X}" > "a <final>"')
    return project


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """Commands that can be run again."""
    return commands(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Commands, one of which failed, and a Ray with objects and files between its tasks."""
    project = commands(tmp_path_factory.mktemp("project"))
    (project.path / "parts").mkdir()
    project.run("bash", "-c", "cat out > partial; exit 3", status=3)
    (project.path / "job.py").write_text(RAY_PROGRAM)
    project.run(RAY_PYTHON, "job.py")
    return project
