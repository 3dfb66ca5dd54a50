"""A small Ray pipeline whose steps depend on each other through files.

    python pipeline.py [OUTDIR]        (default: ./pipeline-out)

Shards are made, transformed and reduced by tasks; one task shells out to sort(1); an
actor keeps a checkpoint. The driver writes the parameters that the tasks read, and reads
the report that they wrote.
"""

import json
import os
import subprocess
import sys

import ray

SHARDS = 3


@ray.remote
def make_shard(params_path, index, path):
    with open(params_path) as source:
        params = json.load(source)
    with open(path, "w") as out:
        for n in range(params["rows"]):
            out.write("%d\n" % ((n * params["step"] + index * 31) % params["modulus"]))


@ray.remote
def transform(params_path, source_path, path):
    with open(params_path) as source:
        factor = json.load(source)["factor"]
    with open(source_path) as source, open(path, "w") as out:
        for line in source:
            out.write("%06d\n" % (int(line) * factor))


@ray.remote
def reduce_all(paths, path):
    with open(path, "w") as out:
        for source_path in paths:
            with open(source_path) as source:
                out.writelines(source)


@ray.remote
def sort_lines(source_path, path):
    command = 'sort "$1" > "$2"'
    subprocess.run(["bash", "-c", command, "sort", source_path, path], check=True)


@ray.remote
class Checkpointer:
    def __init__(self, params_path):
        with open(params_path) as source:
            self.params = json.load(source)

    def save(self, source_path, path):
        with open(source_path) as source:
            lines = source.read().split()
        with open(path + ".tmp", "w") as out:
            json.dump({"rows": len(lines), "largest": lines[-1], "params": self.params}, out)
        os.rename(path + ".tmp", path)


def main():
    out = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "pipeline-out")
    os.makedirs(out, exist_ok=True)

    def at(name):
        return os.path.join(out, name)

    params = at("params.json")
    with open(params, "w") as target:
        json.dump({"rows": 200, "step": 17, "modulus": 1009, "factor": 3}, target)

    ray.init()
    shards = [at("shard-%d.txt" % i) for i in range(SHARDS)]
    parts = [at("part-%d.txt" % i) for i in range(SHARDS)]
    ray.get([make_shard.remote(params, i, path) for i, path in enumerate(shards)])
    ray.get([transform.remote(params, *pair) for pair in zip(shards, parts)])
    ray.get(reduce_all.remote(parts, at("all.txt")))
    ray.get(sort_lines.remote(at("all.txt"), at("sorted.txt")))
    checkpointer = Checkpointer.remote(params)
    ray.get(checkpointer.save.remote(at("sorted.txt"), at("checkpoint.json")))

    with open(at("checkpoint.json")) as source:
        report = json.load(source)
    print("%d rows, the largest is %s" % (report["rows"], report["largest"]))


if __name__ == "__main__":
    main()
