"""Graphs of `roar run`: who made which object, and who used it."""

import json
import os

from cluster import RAY
from conftest import PYTHON, ROAR, WORKLOADS, document, environment, run


def roar(*arguments, cwd, env=None, timeout=150):
    done = run(ROAR, *arguments, cwd=cwd, env=env or environment(), timeout=timeout)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done


def submit_to(cluster, project, env, script, *arguments, variables=None):
    """`roar run ray job submit` of one of the workloads, which is told of the store by `env`,
    or by `variables`."""
    if variables is None:
        variables = {name: value for name, value in env.items() if name.startswith("AWS_")}
    return roar(
        "run", "-q", RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        "--working-dir", WORKLOADS, "--runtime-env-json", json.dumps({"env_vars": variables}),
        "--", PYTHON, script, *arguments, cwd=project, env=env)


def graph(cwd):
    return document(roar("dag", "--json", cwd=cwd).stdout)


def new_project(directory):
    os.makedirs(os.path.join(directory, ".roar"))
    return directory


def urls(files, below):
    return tuple(sorted(f["path"] for f in files if f["path"].startswith(below)))


def tasks(found, below):
    """Name, reads and writes of every task that used an object whose URL begins so."""
    of = ((node["name"], urls(node["reads"], below), urls(node["writes"], below))
          for node in found["nodes"])
    return sorted(one for one in of if one[1] or one[2])


def edges(found, below):
    """What the tasks at both ends wrote, and the object that joins them."""
    wrote = {node["id"]: urls(node["writes"], below) for node in found["nodes"]}
    return sorted(
        (wrote[edge["from"]], edge["path"], wrote[edge["to"]])
        for edge in found["edges"] if edge["via"] == "s3" and edge["path"].startswith(below))


def ancestors(found, url):
    """The objects that what made this one was made from, by edges of S3 only."""
    nodes = {node["id"]: node for node in found["nodes"]}
    (maker,) = [node["id"] for node in found["nodes"] if url in urls(node["writes"], url)]
    seen, left = set(), [maker]
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            left += [e["from"] for e in found["edges"] if e["via"] == "s3" and e["to"] == node]
    return {path for node in seen for path in urls(nodes[node]["reads"], "s3://")}


def producers(found, below):
    """URL to the names of the tasks that wrote it."""
    out = {}
    for node in found["nodes"]:
        for path in urls(node["writes"], below):
            out.setdefault(path, []).append(node["name"])
    return out
