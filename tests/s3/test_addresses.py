"""The host reaches the server by one address, the cluster by another: one graph."""

import json
import os

from conftest import PYTHON, WORKLOADS, environment
from faulty import Proxy
from project import edges, graph, new_project, roar, submit_to, tasks
from store import summary
from test_pipeline import SHARDS, check_ancestors, check_reports, expected, shards

CLIENT = "boto3"
BELOW = "s3://data/boto3/"
PROCESSED = {BELOW + "processed/%d.csv" % number for number in SHARDS}


def test_edges_join_across_two_addresses(place, cluster, tmp_path):
    place.store.refill(shards([CLIENT]))
    project = new_project(str(tmp_path / "project"))
    script = os.path.join(WORKLOADS, "steps.py")
    with Proxy(place.server.port) as of_host, Proxy(place.server.port, "127.0.0.2") as of_cluster:
        host = environment(of_host.url)
        for number in SHARDS:
            roar("run", "-q", PYTHON, script, "process", CLIENT, BELOW.rstrip("/"), str(number),
                 cwd=project, env=host)
        variables = {name: value for name, value in host.items()
                     if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL"}
        env = {**host, "ROAR_CLUSTER_AWS_ENDPOINT_URL": of_cluster.url}
        done = submit_to(cluster, project, env, "rest.py", "data", CLIENT,
                         variables={**variables, "AWS_MAX_ATTEMPTS": "1"})
        assert "reported" in done.stdout, done.stdout
        by_host, by_cluster = summary(of_host.requests), summary(of_cluster.requests)
    check_reports(place, [CLIENT])

    raws = {BELOW + "raw/%d.csv" % number for number in SHARDS}
    assert (set(by_host[0]), set(by_host[1])) == (raws, PROCESSED)
    assert (set(by_cluster[0]), set(by_cluster[1])) == (
        PROCESSED, {BELOW + "model.json", BELOW + "report.txt"})
    found = graph(project)
    names = (os.path.basename(PYTHON), "train", "report")
    assert (tasks(found, BELOW), edges(found, BELOW)) == expected(CLIENT, names)
    check_ancestors(found, BELOW)
    addresses = {of_host.url, of_cluster.url}
    assert not any(address in json.dumps(found["edges"]) for address in addresses)
