"""Jobs of the tests: `python jobs.py NAME DIRECTORY [ARG…]`, with whatever Ray it finds."""

import json
import os
import signal
import sys
import time

import ray


def main(name, out, *rest):
    os.makedirs(out, exist_ok=True)
    options = json.loads(os.environ.get("TEST_INIT", "{}"))
    ray.init(**options)
    globals()[name](out, *rest)
    ray.shutdown()


def at(out, name, text=None):
    path = os.path.join(out, name)
    if text is not None:
        with open(path, "w") as target:
            target.write(text)
    return path


@ray.remote(max_retries=0)
def fails(out):
    at(out, "failed.txt", "half")
    raise ValueError("on purpose")


@ray.remote(max_retries=2, retry_exceptions=True)
def third_time(out, counter):
    tries = len(os.listdir(counter))
    at(counter, str(tries), "")
    at(out, "attempt-%d.txt" % tries, "x")
    if tries < 2:
        raise OSError("not yet")


@ray.remote(max_retries=0)
def killed(out):
    at(out, "killed.txt", "half")
    os.kill(os.getpid(), signal.SIGKILL)


def statuses(out):
    counter = os.path.join(out, "counter")
    os.makedirs(counter, exist_ok=True)
    ray.get(third_time.remote(out, counter))
    for task in (fails, killed):
        try:
            ray.get(task.remote(out))
        except Exception as error:
            print(task._function_name, type(error).__name__)


@ray.remote
def hundred_thousand_opens(out):
    source = at(out, "source.txt", "content")
    at(out, "ready", str(os.getpid()))
    errors = 0
    began = time.monotonic()
    count = 0
    # At least as many, and for as long as the test needs to kill what watches.
    while count < 100_000 or (not os.path.exists(at(out, "go")) and time.monotonic() - began < 60):
        count += 1
        try:
            with open(source) as opened:
                errors += opened.read() != "content"
        except OSError:
            errors += 1
    at(out, "done.txt", "%d errors" % errors)
    return count, errors


def opens(out):
    print("opened %d times, %d errors" % ray.get(hundred_thousand_opens.remote(out)))


@ray.remote
def says(out):
    print("a task's words")
    at(out, "said.txt", os.environ.get("TEST_VARIABLE", "") + os.environ.get("TEST_HOOK", ""))
    return sorted(name for name in os.environ if "ROAR" in name or "HOOK" in name)


def speaks(out):
    print("the driver's words")
    print(ray.get(says.remote(out)))
    time.sleep(2)  # until Ray has forwarded what the task printed


if __name__ == "__main__":
    main(*sys.argv[1:])
