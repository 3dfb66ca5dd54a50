"""The example pipeline gives the expected graph, however it is run."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import compare
import pytest
from conftest import (
    EXAMPLES, PYTHON, RAY, ROAR, WORKER, Cluster, document, graph, make_project, roar,
)

NOBODY = 65534
EXPECTED = os.path.join(EXAMPLES, "expected-graph.json")
BY_HAND = {"py_executable": WORKER + " --"}


def check(project, **extra):
    """The project's graph is the expected one; returns it."""
    whole = graph(project, **extra)
    out = os.path.join(project, "pipeline-out")
    found = compare.normal_form(whole, out)
    lines = compare.differences(found, compare.expected(EXPECTED))
    assert not lines, "\n".join(lines)
    return whole


def gaps(document):
    return {gap["kind"] for gap in document["coverage"]["gaps"]}


def test_a_local_ray(project):
    done = roar("run", PYTHON, "pipeline.py", cwd=project)
    assert "600 rows, the largest is" in done.stdout
    found = check(project)
    assert gaps(found) <= {"still_running"}

    def files(*question):
        return document(roar(*question, "--json", cwd=project).stdout)["files"]

    assert [os.path.basename(file["path"]) for file in files("inputs")] == ["pipeline.py"]
    verdicts = {file["verdict"] for file in files("verify")}
    assert verdicts == {"same"}, verdicts
    steps = {node["step"]: node for node in found["nodes"]}
    shards = [step for step, node in steps.items() if node["name"] == "make_shard"]
    compared = files("diff", *("@%d" % step for step in shards[:2]))
    assert {file["verdict"] for file in compared} == {"only_a", "only_b"}
    refused = roar("run", "@%d" % shards[0], cwd=project, code=125)
    assert "hint: `roar run @1` runs that again" in refused.stderr


def test_a_job_submitted_through_roar(cluster, project):
    done = roar(
        "run", RAY, "job", "submit", "--address", cluster.address, "--working-dir", ".", "--",
        PYTHON, "pipeline.py", os.path.join(project, "pipeline-out"), cwd=project,
    )
    assert "roar: 11 tasks recorded" in done.stderr, done.stderr
    document = check(project)
    assert document["coverage"]["complete"], document["coverage"]
    assert len({node["job"] for node in document["nodes"]}) == 1


def test_a_job_submitted_by_hand_and_merged_twice(cluster, project):
    out = os.path.join(project, "pipeline-out")
    cluster.submit(BY_HAND, PYTHON, "pipeline.py", out, cwd=project, options=("--working-dir", "."))
    cluster.wait_sealed()
    roar("merge", cluster.fragments, cwd=project)
    document = graph(project)
    last = max(document["nodes"], key=lambda node: node["started_at"])["job"]
    # The cluster has seen other jobs too.
    keep = {node["id"] for node in document["nodes"] if node["job"] == last}
    document["nodes"] = [node for node in document["nodes"] if node["id"] in keep]
    document["edges"] = [edge for edge in document["edges"] if edge["to"] in keep]
    found = compare.normal_form(document, out)
    lines = compare.differences(found, compare.expected(EXPECTED))
    assert not lines, "\n".join(lines)

    before = graph(project)
    again = json.loads(roar("merge", "--json", cluster.fragments, cwd=project).stdout)
    assert again["taken"] == 0 and again["known"] > 0
    assert graph(project) == before


def test_an_ordinary_user(tmp_path):
    """Both topologies again, as nobody; needs root to become that user."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user; the other tests have run as one")
    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    project = os.path.join(directory, "project")
    os.mkdir(project)
    make_project(project)
    become = another_user(directory)
    for top, directories, files in os.walk(project):
        for path in (top, *(os.path.join(top, name) for name in files)):
            os.chown(path, NOBODY, NOBODY)
    os.chown(directory, NOBODY, NOBODY)
    user = {"as_user": become, "HOME": directory}
    try:
        roar("run", PYTHON, "pipeline.py", cwd=project, **user)
        check(project, **user)
        assert os.stat(os.path.join(project, "pipeline-out")).st_uid == NOBODY
        shutil.rmtree(os.path.join(project, ".roar"))
        own = Cluster(os.path.join(directory, "ray"), **user)
        try:
            done = roar(
                "run", RAY, "job", "submit", "--address", own.address, "--working-dir", ".", "--",
                PYTHON, "pipeline.py", os.path.join(project, "pipeline-out"), cwd=project, **user,
            )
            assert "roar: 11 tasks recorded" in done.stderr, done.stderr
            check(project, **user)
        finally:
            own.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def another_user(directory):
    """What to put before a command, for nobody to run it.

    Python or roar may lie in somebody's private home: in a mount namespace of the
    command's own, an overlay opens the way there, and nothing else changes.
    """
    needed = (sys.base_prefix, os.path.dirname(PYTHON), os.path.dirname(ROAR), EXAMPLES)
    ancestors = {str(a) for path in needed for a in pathlib.Path(path).resolve().parents}
    private = sorted(a for a in ancestors if not os.stat(a).st_mode & 0o001)
    front = os.path.join(directory, "open")
    os.mkdir(front)
    os.chmod(front, 0o755)
    mounts = ["mount -t overlay overlay -o lowerdir=%s:%s %s" % (front, a, a) for a in private]
    script = " && ".join([*mounts, 'exec setpriv --reuid=%d --regid=%d --clear-groups -- "$@"'])
    become = ("unshare", "--mount", "sh", "-c", script % (NOBODY, NOBODY), "sh")
    for command in ([PYTHON, "-c", "import ray, os; print(os.getuid())"], [ROAR, "--version"]):
        done = subprocess.run([*become, *command], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, (become, command, done.stderr)
    return become
