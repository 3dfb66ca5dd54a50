"""Peak memory of the supervisor in each workload, and how many files it was told of."""

import collections
import json
import os

import measured

LIMIT = 16 << 20
PER_FILE = 200

Memory = collections.namedtuple("Memory", "plain hashing files")


def allowed(files):
    return LIMIT + PER_FILE * files


def distinct_files(report):
    with open(report) as opened:
        tasks = json.load(opened)["tasks"]
    named = {
        entry["path"] for task in tasks for kind in ("reads", "writes", "deletes")
        for entry in task[kind]
    }
    return len(named) + sum(task["ephemeral"] for task in tasks)


def of(workload, roar, scratch, env):
    """Of tracing alone, and with digests; `measured.Peaks` of each."""
    report = os.path.join(scratch, "memory.json")
    found = []
    for options in (("--no-hash",), ()):
        workload.before()
        command = [roar, "trace", "-q", "--accel", "on", "--all", "--json", report, *options, "--"]
        found.append(measured.peaks([*command, *workload.command], env, workload.cwd))
    return Memory(*found, distinct_files(report))
