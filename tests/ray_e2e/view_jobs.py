"""Jobs whose record is not whole: `python view_jobs.py NAME DIRECTORY [ARG…]`."""

import os
import signal
import subprocess
import sys
import time

import ray


def at(out, name, text):
    path = os.path.join(out, name)
    with open(path, "w") as target:
        target.write(text)
    return path


def error_of(reference):
    try:
        ray.get(reference)
    except Exception as error:
        return type(error).__name__


def sleep():
    for _ in range(1200):  # a cancellation does not wake a sleeper
        time.sleep(0.1)


def wait_until(path):
    while not os.path.exists(path):
        time.sleep(0.05)


@ray.remote(max_retries=0)
def writes(out, name):
    at(out, name, name)


def untraced(out):
    ray.get(writes.remote(out, "traced"))
    own = writes.options(runtime_env={"py_executable": sys.executable})
    ray.get([own.remote(out, "own-1"), own.remote(out, "own-2")])


@ray.remote
def leaves_a_daemon(out):
    # Ray ends the children that a worker leaves, not theirs.
    shell = 'sleep 600 > /dev/null 2>&1 & echo $! > "$0"'
    subprocess.run(["sh", "-c", shell, os.path.join(out, "daemon")], start_new_session=True)


def outlived(out):
    ray.get(writes.remote(out, "alone"))
    ray.get(leaves_a_daemon.remote(out))


def profiled(out):
    ray.get(writes.remote(out, "traced"))
    ray.get(writes.options(runtime_env={"nsight": "default"}).remote(out, "profiled"))


@ray.remote(max_retries=0)
def dies(out):
    at(out, "dies", "")
    time.sleep(1.5)  # until Ray knows that it began
    os.kill(os.getpid(), signal.SIGKILL)


@ray.remote(max_retries=0)
def waits(out, name):
    at(out, name, "")
    sleep()


@ray.remote
class Actor:
    def waits(self, out):
        at(out, "actor", "")
        sleep()

    def queued(self):
        pass


def deaths(out):
    print(error_of(dies.remote(out)))
    for name, force in (("cancelled", False), ("forced", True)):
        task = waits.remote(out, name)
        wait_until(os.path.join(out, name))
        time.sleep(1.5)
        ray.cancel(task, force=force)
        print(error_of(task))
    actor = Actor.remote()
    waiting, queued = actor.waits.remote(out), actor.queued.remote()
    wait_until(os.path.join(out, "actor"))
    time.sleep(1.5)
    ray.kill(actor)
    print(error_of(waiting), error_of(queued))


@ray.remote(max_retries=0)
def s3(make):
    import pyarrow.fs
    import pyarrow.parquet  # which loads the library as well

    if make:
        pyarrow.fs.S3FileSystem(
            anonymous=True, region="us-east-1", endpoint_override="http://127.0.0.1:1"
        )


def object_store(out, make):
    ray.get(s3.remote(make == "client"))


def two_steps(out):
    """Ends when the test says so."""
    ray.get(writes.remote(out, "first"))
    wait_until(os.path.join(out, "go"))
    ray.get(writes.remote(out, "second"))


def on_two_nodes(out):
    away = {"resources": {"away": 1}}
    ray.get(writes.options(**away).remote(out, "finished-away"))
    ray.get(writes.options(num_cpus=1, resources={"home": 1}).remote(out, "home"))
    lost = waits.options(**away).remote(out, "waiting-away")
    wait_until(os.path.join(out, "go"))
    print(error_of(lost))


if __name__ == "__main__":
    os.makedirs(sys.argv[2], exist_ok=True)
    ray.init()
    globals()[sys.argv[1]](*sys.argv[2:])
