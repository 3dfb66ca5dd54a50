"""Compares a graph with the expected one, edge by edge.

    roar dag --json | python compare.py - OUTDIR expected-graph.json

A graph is first brought into the form of expected-graph.json, which does not depend on a
run: see its "about".
"""

import json
import os
import sys

ENTRY = ("name", "kind", "func", "attempt", "status", "reads", "writes")
RAY_KINDS = ("ray_task", "ray_actor_init", "ray_actor_method")
DRIVERS = ("ray_driver", "command")


def normal_form(document, outdir):
    """The graph of `roar dag --json` as sorted nodes and edges without ids."""
    root = os.path.realpath(outdir) + os.sep

    def inside(files):
        paths = {file["path"] for file in files}
        return sorted(path[len(root):] for path in paths if path.startswith(root))

    nodes, names = [], {}
    for node in document["nodes"]:
        ray = node["ray"] or {}
        is_task = node["kind"] in RAY_KINDS
        func = ray.get("func") if is_task else None
        label = func.split(".", 1)[1] if func else "driver"
        writes = inside(node["writes"])
        names[node["id"]] = "%s(%s)" % (label, ", ".join(writes))
        nodes.append({
            "name": names[node["id"]],
            "kind": "ray_driver" if node["kind"] in DRIVERS else node["kind"],
            "func": func,
            "attempt": ray.get("attempt") if is_task else None,
            "status": node["status"],
            "reads": inside(node["reads"]),
            "writes": writes,
        })
    edges = []
    for edge in document["edges"]:
        if edge["via"] == "object":
            continue
        path = None
        if edge["via"] == "file":
            (path,) = inside([edge]) or (None,)
            if path is None:
                continue
        edges.append({
            "from": names[edge["from"]], "to": names[edge["to"]], "via": edge["via"], "path": path,
        })
    return {"nodes": in_order(nodes), "edges": in_order(edges)}


def in_order(items):
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def expected(path):
    with open(path) as source:
        document = json.load(source)
    return {"nodes": in_order(document["nodes"]), "edges": in_order(document["edges"])}


def differences(found, wanted):
    """Lines that say what is there and should not be, and the other way round."""
    lines = []
    for part in ("nodes", "edges"):
        for sign, these, those in (("-", wanted, found), ("+", found, wanted)):
            rest = list(those[part])
            for item in these[part]:
                if item in rest:
                    rest.remove(item)
                else:
                    lines.append("%s %s" % (sign, json.dumps(item, sort_keys=True)))
    return lines


def main():
    source, outdir, wanted = sys.argv[1:]
    with sys.stdin if source == "-" else open(source) as opened:
        document = json.load(opened)
    found, wanted = normal_form(document, outdir), expected(wanted)
    lines = differences(found, wanted)
    print("\n".join(lines) if lines else "the graph is as expected: %d nodes, %d edges"
          % (len(found["nodes"]), len(found["edges"])))
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
