#!/usr/bin/env python3
"""CPU and wall time of traced commands against untraced ones, side by side.

    bench/startup.py [ROAR]        (default: target/release/roar)

Each pair is run in turns, so that what else the machine does falls on both. The ratio is
that of the medians; noise is about 10 %.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PYTHON = ["/usr/bin/python3", "-c", "import json, asyncio, http.client, sqlite3, email"]
LOOP = ["bash", "-c", 'for i in $(seq 20); do "$@"; done', "loop", *PYTHON]
ROUNDS = 7


def measure(command, times):
    """CPU and wall seconds of running `command` so many times, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    for _ in range(times):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def compare(name, command, times, roar):
    plain, traced = [], []
    for _ in range(ROUNDS):
        plain.append(measure(command, times))
        traced.append(measure([roar, "trace", "-q", "--", *command], times))
    median = lambda runs, which: statistics.median(run[which] for run in runs)
    row = [median(runs, which) for which in (0, 1) for runs in (plain, traced)]
    cpu, wall = row[1] / row[0], row[3] / row[2]
    print(f"| {name} | {row[0]:.3f} | {row[1]:.3f} | {cpu:.2f} | {row[2]:.3f} | {row[3]:.3f} | {wall:.2f} |")


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    roar = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else f"{root}/target/release/roar")
    print("| | untraced CPU s | traced CPU s | ratio | untraced wall s | traced wall s | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        compare("20 Python start-ups, one trace", LOOP, 1, roar)
        compare("20 Python start-ups, a trace each", PYTHON, 20, roar)
        os.chdir("/")


if __name__ == "__main__":
    main()
