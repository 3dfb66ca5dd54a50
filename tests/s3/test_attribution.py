"""What tasks do to S3 at the same time is each one's own."""

import os

import pytest
from conftest import PYTHON, WORKLOADS, Place, environment
from faulty import Proxy
from project import graph, new_project, roar, submit_to, urls
from store import summary
from test_tls import server_context

NAMES = ("task-a", "task-b", "threaded-a", "threaded-b", "async-a", "async-b", "shell")
SEEDS = {"in/" + name: name.encode() for name in NAMES}
SCRIPT = os.path.join(WORKLOADS, "together.py")


def used(*names):
    return [(("s3://data/in/" + name,), ("s3://data/out/" + name,)) for name in names]


@pytest.fixture(scope="module", params=["plain", "tls"])
def found(request, servers, tmp_path_factory):
    directory = tmp_path_factory.mktemp("together")
    context, extra = (None, {}) if request.param == "plain" else server_context(str(directory))
    place = Place(servers("s3s"), str(directory))
    place.store.refill(SEEDS)
    project = new_project(str(directory / "project"))
    meeting = str(directory / "meeting")
    os.mkdir(meeting)
    with Proxy(place.server.port, tls=context) as proxy:
        done = roar("run", "-q", PYTHON, SCRIPT, "data", meeting, cwd=project,
                    env=environment(proxy.url, **extra))
    assert done.stdout == "workers: 2\ndone\n", done.stderr
    reads, writes, deletes = summary(proxy.requests)
    assert set(reads) == {"s3://data/in/" + name for name in NAMES}
    assert set(writes) == {"s3://data/out/" + name for name in NAMES}
    assert not deletes
    # What was seen to pass has digests; what was only told has none.
    found = graph(project)
    files = [file for node in found["nodes"] for file in node["reads"] + node["writes"]]
    assert None not in {file["digest"] for file in files if file["path"].startswith("s3://")}
    return found


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("task", "ray_task", used("task-a", "task-b")),
        ("Threaded.copies", "ray_actor_method", used("threaded-a", "threaded-b")),
        ("Async.copies", "ray_actor_method", used("async-a", "async-b")),
        ("shells_out", "ray_task", used("shell")),
    ],
    ids=["tasks_in_two_workers", "actor_calls_in_threads", "coroutines", "a_subprocess"],
)
def test_each_has_its_own(found, name, kind, expected):
    nodes = [node for node in found["nodes"] if node["name"] == name]
    assert {node["kind"] for node in nodes} == {kind}
    assert sorted((urls(node["reads"], "s3://"), urls(node["writes"], "s3://"))
                  for node in nodes) == sorted(expected)


def test_nobody_else_has_any(found):
    names = {node["name"] for node in found["nodes"]
             if urls(node["reads"] + node["writes"] + node["deletes"], "s3://")}
    assert names == {"task", "Threaded.copies", "Async.copies", "shells_out"}
    assert "unattributed" not in {gap["kind"] for gap in found["coverage"]["gaps"]}


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_what_passed_while_the_supervisor_was_away_is_its_tasks(
        cluster, servers, tmp_path, is_tls):
    """It hears of the calls' ends and of their requests at once, later."""
    context, extra = server_context(str(tmp_path)) if is_tls else (None, {})
    place = Place(servers("s3s"), str(tmp_path))
    place.store.refill({})
    project = new_project(str(tmp_path / "project"))
    with Proxy(place.server.port, tls=context) as proxy:
        env = environment(proxy.url, **extra)
        done = submit_to(cluster, project, env, "away.py", "data")
    assert "done\n" in done.stdout, (done.stdout, done.stderr)
    keys = ("before", "meanwhile", "again", "after")
    nodes = [node for node in graph(project)["nodes"] if node["name"] == "Writer.put"]
    assert [urls(node["writes"], "s3://") for node in nodes] == [
        ("s3://data/" + key,) for key in keys]
