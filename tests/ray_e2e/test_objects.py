"""Edges through the object store are the same however a job is run."""

import os
import shutil

from conftest import HERE, PYTHON, RAY, WORKER, graph, roar

WORKLOAD = os.path.join(HERE, "workloads", "objects.py")

# Producer, consumer. Which of several joins is told by what comes out of it.
EXPECTED = {
    ("small", "join"),
    ("large", "join"),
    ("small", "unwrap"),
    ("own_put", "driver"),
    ("own_put", "join of join"),
    ("join", "join of join"),
    ("driver", "join of join"),
    ("large", "Model.__init__"),
    ("large", "Model.predict"),
    ("Model.predict", "score"),
    ("stream", "join of stream"),
    ("small", "second_time 0"),
    ("small", "second_time 1"),
    ("outer", "inner"),
    ("inner", "outer"),
    ("unwrap", "driver"),
    ("join of join", "driver"),
    ("score", "driver"),
    ("outer", "driver"),
    ("join of stream", "driver"),
    ("second_time 1", "driver"),
    ("small", "driver"),
    ("small", "Async.first"),
    ("large", "Async.second"),
    ("own_put", "Async.second"),
    ("Async.first", "driver"),
    ("Async.second", "driver"),
}


def object_edges(document):
    """The edges of via object between names, and the sizes by producer."""
    incoming = {}
    short = {}
    for node in document["nodes"]:
        name = node["ray"]["func"].split(".", 1)[1] if node["ray"]["func"] else "driver"
        if name == "second_time":
            name += " %d" % node["ray"]["attempt"]
        short[node["id"]] = name
    edges = [edge for edge in document["edges"] if edge["via"] == "object"]
    for edge in edges:
        incoming.setdefault(edge["to"], set()).add(short[edge["from"]])

    def label(node):
        name = short[node]
        if name == "join" and "stream" in incoming.get(node, ()):
            return "join of stream"
        if name == "join" and "join" in incoming.get(node, ()):
            return "join of join"
        return name

    return (
        {(label(edge["from"]), label(edge["to"])) for edge in edges},
        {label(edge["from"]): edge["size"] for edge in edges if edge.get("size")},
    )


def check(document):
    edges, sizes = object_edges(document)
    # Whether the driver itself reads `one` while it waits is Ray's business.
    assert edges | {("small", "driver")} == EXPECTED
    assert sizes["large"] >= 500_000
    actor = [edge for edge in document["edges"] if edge["via"] == "actor"]
    assert len(actor) == 1 and actor[0]["inferred"]
    for edge in document["edges"]:
        if edge["via"] == "object":
            assert len(edge["path"]) == 56 and edge["digest"] is None


def workload(project):
    shutil.copy(WORKLOAD, os.path.join(project, "objects.py"))
    return os.path.join(project, "mark")


def test_of_a_local_ray(project):
    roar("run", PYTHON, "objects.py", workload(project), cwd=project)
    check(graph(project))


def test_of_a_job_submitted_through_roar(cluster, project):
    mark = workload(project)
    roar(
        "run", RAY, "job", "submit", "--address", cluster.address, "--working-dir", ".", "--",
        PYTHON, "objects.py", mark, cwd=project,
    )
    check(graph(project))


def test_of_a_job_submitted_by_hand(cluster, project):
    mark = workload(project)
    cluster.submit(
        {"py_executable": WORKER + " --"}, PYTHON, "objects.py", mark, cwd=project,
        options=("--working-dir", "."),
    )
    cluster.wait_sealed()
    own = os.path.join(project, "fragments")
    os.mkdir(own)
    for name in cluster.records():
        if name.endswith(".roarfrag"):
            shutil.copy(os.path.join(cluster.fragments, name), own)
    roar("merge", own, cwd=project)
    check(graph(project))
