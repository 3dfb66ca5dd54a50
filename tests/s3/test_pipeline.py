"""Shards, processed shards, a model, a report, all in S3: the graph is whole, however it is run."""

import os

import pytest
from conftest import PYTHON, WORKLOADS, Place, environment
from faulty import Proxy
from project import ancestors, edges, graph, new_project, producers, roar, submit_to, tasks
from store import summary

CLIENTS = ["boto3", "s3fs", "pyarrow", "awscli"]
ALL = [*CLIENTS, "raydata"]
SHARDS = range(3)
REPORT = b'the model is {"total": 19710}\n'


def raw(number):
    return "".join("%d\n" % (line + 100 * number) for line in range(20)).encode()


def shards(clients):
    return {"%s/raw/%d.csv" % (client, number): raw(number)
            for client in clients for number in SHARDS}


def check_reports(place, clients):
    for client in clients:
        answer = place.store.client.get_object(Bucket="data", Key=client + "/report.txt")
        assert answer["Body"].read() == REPORT


def expected(client, names):
    """Tasks and edges of one client's pipeline."""
    def at(name):
        return "s3://data/%s/%s" % (client, name)

    process, train, report = names
    processed = tuple(at("processed/%d.csv" % n) for n in SHARDS)
    model, text = at("model.json"), at("report.txt")
    tasks = [(process, (at("raw/%d.csv" % n),), (processed[n],)) for n in SHARDS]
    tasks += [(train, processed, (model,)), (report, (model,), (text,))]
    edges = [((path,), path, (model,)) for path in processed] + [((model,), model, (text,))]
    return sorted(tasks), sorted(edges)


def check(found, client, names):
    below = "s3://data/%s/" % client
    assert (tasks(found, below), edges(found, below)) == expected(client, names)
    check_ancestors(found, below)


def check_ancestors(found, below):
    raws = {below + "raw/%d.csv" % number for number in SHARDS}
    assert raws <= ancestors(found, below + "report.txt")


def at_steps(client):
    prefix = "s3://data/" + client
    yield from (["process", client, prefix, str(number)] for number in SHARDS)
    yield from (["train", client, prefix], ["report", client, prefix])


@pytest.mark.parametrize("client", CLIENTS)
def test_steps_of_their_own(servers, tmp_path, client):
    place = Place(servers("s3s"), str(tmp_path))
    place.store.refill(shards([client]))
    env = environment(place.server.url)
    project = new_project(str(tmp_path / "project"))
    script = os.path.join(WORKLOADS, "steps.py")
    for step in at_steps(client):
        roar("run", "-q", PYTHON, script, *step, cwd=project, env=env)
    check_reports(place, [client])
    name = os.path.basename(PYTHON)
    check(graph(project), client, (name, name, name))


def local(project, env):
    script = os.path.join(WORKLOADS, "pipeline.py")
    return roar("run", "-q", PYTHON, script, "data", *ALL, cwd=project, env=env)


def submitted(cluster):
    def submit(project, env):
        return submit_to(cluster, project, env, "pipeline.py", "data", *ALL)
    return submit


@pytest.fixture(scope="module", params=["local", "submitted"])
def by_ray(request, servers, tmp_path_factory):
    """The graph of one run of the pipelines of all clients."""
    directory = tmp_path_factory.mktemp(request.param)
    place = Place(servers("s3s"), str(directory))
    place.store.refill(shards(ALL))
    project = new_project(str(directory / "project"))
    how = local if request.param == "local" else submitted(request.getfixturevalue("cluster"))
    with Proxy(place.server.port) as proxy:
        done = how(project, environment(proxy.url))
    assert "reports: 5" in done.stdout, (done.stdout, done.stderr)
    reads, writes, deletes = summary(proxy.requests)
    made = ("model.json", "report.txt", *("processed/%d.csv" % number for number in SHARDS))
    assert set(writes) == {"s3://data/%s/%s" % (c, name) for c in ALL for name in made}
    assert set(reads) == {"s3://data/" + key for key in shards(ALL)}
    assert not deletes
    check_reports(place, ALL)
    return graph(project)


@pytest.mark.parametrize("client", CLIENTS)
def test_tasks_of_ray(by_ray, client):
    check(by_ray, client, ("process", "train", "report"))


def test_ray_data(by_ray):
    """Its own tasks read and write, and look at more than once: each object has one that made it."""
    below = "s3://data/raydata/"
    made = producers(by_ray, below)
    processed = [below + "processed/%d.csv" % number for number in SHARDS]
    assert set(made) == {*processed, below + "model.json", below + "report.txt"}
    assert all(len(names) == 1 for names in made.values()), made
    assert (made[below + "model.json"], made[below + "report.txt"]) == (["train"], ["report"])
    wrote_processed = {name for path in processed for name in made[path]}
    assert wrote_processed.isdisjoint({"train", "report", "python"})
    check_ancestors(by_ray, below)
