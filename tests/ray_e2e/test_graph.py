"""The example pipeline gives the expected graph, however it is run."""

import json
import os
import shutil
import subprocess
import tempfile

import compare
import pytest
from conftest import (
    EXAMPLES, PYTHON, RAY, ROAR, WORKER, Cluster, graph, make_project, roar,
)

EXPECTED = os.path.join(EXAMPLES, "expected-graph.json")
BY_HAND = {"py_executable": WORKER + " --"}


def check(project, **extra):
    """The project's graph is the expected one; returns it."""
    document = graph(project, **extra)
    out = os.path.join(project, "pipeline-out")
    found = compare.normal_form(document, out)
    lines = compare.differences(found, compare.expected(EXPECTED))
    assert not lines, "\n".join(lines)
    return document


def gaps(document):
    return {gap["kind"] for gap in document["coverage"]["gaps"]}


def test_a_local_ray(project):
    done = roar("run", PYTHON, "pipeline.py", cwd=project)
    assert "600 rows, the largest is" in done.stdout
    assert gaps(check(project)) <= {"still_running"}


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
    """Both topologies again, with nobody's rights; needs root to become that user."""
    if os.getuid() != 0:
        pytest.skip("not root: the other tests have run as an ordinary user")
    uid, become = 65534, ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
    if not can_run(become):
        # Where that user may not read this Python: root's files, but no capability.
        print("nobody may not read this Python: root without capabilities instead")
        uid, become = 0, ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
        assert can_run(become)
    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    project = os.path.join(directory, "project")
    os.mkdir(project)
    make_project(project)
    for top, directories, files in os.walk(directory):
        for path in (top, *(os.path.join(top, name) for name in files)):
            os.chown(path, uid, uid)
    user = {"as_user": become, "HOME": directory}
    try:
        roar("run", PYTHON, "pipeline.py", cwd=project, **user)
        check(project, **user)
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


def can_run(become):
    commands = ([PYTHON, "-c", "import ray"], [ROAR, "--version"])
    # Through a shell: setpriv itself still has root's rights when it executes a program.
    through = [*become, "sh", "-c", 'exec "$@"', "sh"]
    done = (subprocess.run([*through, *c], cwd="/", capture_output=True) for c in commands)
    try:
        return all(each.returncode == 0 for each in done)
    except OSError:
        return False
