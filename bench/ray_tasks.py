#!/usr/bin/env python3
"""Ray with and without roar: rate of trivial tasks and actor calls, time to the first task.

    bench/ray_tasks.py [ROAR]          (default: target/release/roar; needs a Python with Ray)

Each round runs the workload once untraced and once under `roar run`, in turns; a rate is
that of the best of five batches of 1000. The ratio of rates is traced over untraced (higher is better), that of times likewise (lower is
better); both of medians. Noise is about 10 %.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = int(os.environ.get("ROUNDS", "5"))
WORKLOAD = """
import json, sys, time
import ray
began = time.perf_counter()
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
         runtime_env=json.loads(sys.argv[1]))

@ray.remote
def nothing(): pass

@ray.remote
class Actor:
    def nothing(self): pass

ray.get(nothing.remote())
first = time.perf_counter() - began

def rate(submit):
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        ray.get([submit() for _ in range(1000)])
        rates.append(1000 / (time.perf_counter() - began))
    return max(rates)

tasks = rate(nothing.remote)
actor = Actor.remote()
calls = rate(actor.nothing.remote)
print(json.dumps([tasks, calls, first]))
"""


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    roar = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else f"{root}/target/release/roar")
    python = os.path.abspath(os.environ.get("PYTHON", sys.executable))
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    print("| | untraced | traced | ratio |")
    print("|---|---|---|---|")
    for runtime_env in ("{}", '{"env_vars": {"A": "1"}}'):
        found = {"untraced": [], "traced": []}
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "workload.py"), "w") as script:
                script.write(WORKLOAD)
            command = [python, "workload.py", runtime_env]
            for _ in range(ROUNDS):
                for how, before in (("untraced", []), ("traced", [roar, "run", "-q", "--"])):
                    done = subprocess.run(
                        [*before, *command], cwd=directory, env=env, check=True, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    )
                    found[how].append(json.loads(done.stdout))
        names = ("tasks per second", "actor calls per second", "seconds to the first task")
        for index, name in enumerate(names):
            plain, traced = (statistics.median(run[index] for run in found[how]) for how in found)
            label = f"{name}, runtime_env {runtime_env}"
            print(f"| {label} | {plain:.2f} | {traced:.2f} | {traced / plain:.2f} |")


if __name__ == "__main__":
    main()
