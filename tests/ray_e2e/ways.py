"""Scripts of test_ways.py: `python ways.py NAME DIRECTORY [ARG…]`."""

import json
import os
import sys
import time

import ray


@ray.remote
def writes(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(os.environ.get("TEST_VARIABLE", "") + os.environ.get("TEST_HOOK", ""))
    return os.path.basename(sys.executable), sys.flags.dev_mode


@ray.remote
class Keeper:
    def __init__(self, path):
        self.path = path
        with open(path) as file:
            self.text = file.read()

    def keep(self, text):
        with open(self.path + ".kept", "w") as file:
            file.write(text)

    def look(self):
        with open(self.path + ".kept") as file:
            return file.read()


def keeps(out):
    """Two actors, each of which reads what it wrote itself; and what they left is read."""
    for name in ("a", "b"):
        path = os.path.join(out, name)
        ray.get(writes.remote(path))
        keeper = Keeper.remote(path)
        for text in ("once", "twice"):
            ray.get(keeper.keep.remote(text))
            ray.get(keeper.look.remote())
    ray.get(reads.remote(out))


@ray.remote
def reads(out):
    for name in ("a", "b"):
        open(os.path.join(out, name + ".kept")).close()


def twice(out):
    for name in ("first", "second"):
        ray.init(num_cpus=1)
        ray.get(writes.remote(os.path.join(out, name)))
        ray.shutdown()


def never_shut_down(out):
    ray.get(writes.remote(os.path.join(out, "only")))


def joins(out, options):
    ray.init(**json.loads(options))
    print(ray.get(writes.remote(os.path.join(out, "joined"))))


@ray.remote
def sees(path):
    """What a task sees of its surroundings, after writing a file."""
    with open(path, "w"):
        pass
    ours = ("RAY_JOB_CONFIG", "RAY_OVERRIDE", "ROAR", "HOOK")
    names = sorted(name for name in os.environ if any(word in name for word in ours))
    return names, os.environ.get("TEST_VARIABLE"), os.path.dirname(__file__) in sys.path


def surroundings(out, options):
    """With a job configuration of its own, and tasks with environments of their own."""
    from ray.job_config import JobConfig

    os.makedirs(out, exist_ok=True)
    config = JobConfig(runtime_env={"env_vars": {"TEST_VARIABLE": "job"}}, ray_namespace="mine")
    for name, config in (("bare", None), ("configured", config)):
        ray.init(job_config=config, **json.loads(options))
        context = ray.get_runtime_context()
        print(sorted(os.environ.keys() & {"RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_OVERRIDE_JOB_RUNTIME_ENV"}))
        print({k: v for k, v in context.runtime_env.items() if k != "py_executable"}, context.namespace == "mine")
        print(ray.get(sees.remote(os.path.join(out, name))))
        own = sees.options(runtime_env={"env_vars": {"TEST_VARIABLE": "task", "PYTHONPATH": "/none"}})
        print(ray.get(own.remote(os.path.join(out, name + "-own"))))
        ray.shutdown()


def slowly(out, other):
    """Until the other one is at work too."""
    ray.init()
    ray.get(writes.remote(os.path.join(out, "begun")))
    end = time.monotonic() + 60
    while not os.path.exists(os.path.join(other, "begun")) and time.monotonic() < end:
        time.sleep(0.1)
    ray.get(writes.remote(os.path.join(out, "done")))


def submits(out, address, runtime_env):
    from ray.job_submission import JobSubmissionClient

    ray.init()
    ray.get(writes.remote(os.path.join(out, "outer")))
    client = JobSubmissionClient(address)
    command = "%s %s never_shut_down %s" % (sys.executable, os.path.abspath(__file__), out)
    id = client.submit_job(entrypoint=command, runtime_env=json.loads(runtime_env))
    end = time.monotonic() + 60
    while not client.get_job_status(id).is_terminal() and time.monotonic() < end:
        time.sleep(0.2)
    print("inner", id, client.get_job_status(id).value)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
