"""The example pipeline gives the expected graph, however it is run."""

import json
import os

import compare
from conftest import EXAMPLES, PYTHON, RAY, WORKER, graph, roar, run

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
    for part, key in (("nodes", "id"),):
        keep = {node[key] for node in document[part] if node["job"] == last}
    document["nodes"] = [node for node in document["nodes"] if node["id"] in keep]
    document["edges"] = [edge for edge in document["edges"] if edge["to"] in keep]
    found = compare.normal_form(document, out)
    lines = compare.differences(found, compare.expected(EXPECTED))
    assert not lines, "\n".join(lines)

    before = graph(project)
    again = json.loads(roar("merge", "--json", cluster.fragments, cwd=project).stdout)
    assert again["taken"] == 0 and again["known"] > 0
    assert graph(project) == before
