"""Some of each kind, on a cluster that was there before."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import threading

import ray
from touching import first, path, touch


@ray.remote(max_retries=1)
def dies():
    if first("dies"):
        touch("dies-0")
        os.kill(os.getpid(), signal.SIGKILL)
    touch("dies-1")


@ray.remote(num_returns="dynamic")
def dynamic():
    for number in range(3):
        touch("dynamic-%d" % number)
        yield number


@ray.remote
def starts():
    thread = threading.Thread(target=touch, args=("thread",))
    thread.start()
    thread.join()
    command = "cat {0}/in/{1} > {0}/out/{1}".format(path(""), "shell")
    subprocess.run(["env", "-i", "sh", "-c", command], check=True)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=touch, args=("fork",))
    process.start()
    process.join()


@ray.remote
class Pool:
    def __init__(self):
        context = multiprocessing.get_context("forkserver")
        self.pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    def use(self, name):
        self.pool.submit(touch, "pool-" + name).result()


@ray.remote
class Async:
    async def method(self, number):
        for step in range(3):
            await asyncio.sleep(0.02)
            touch("async-%d-%d" % (number, step))
        await asyncio.to_thread(touch, "async-%d-thread" % number)


@ray.remote(max_concurrency=2)
class Threaded:
    def __init__(self):
        touch("threaded")
        self.barrier = threading.Barrier(2)

    def method(self, number):
        self.barrier.wait(20)
        touch("threaded-%d" % number)
        self.barrier.wait(20)


def main():
    ray.init()
    ray.get([dies.remote(), starts.remote()])
    for item in ray.get(dynamic.remote()):
        ray.get(item)
    for kind, name, calls in (
        (Pool, "use", "ab"), (Async, "method", range(3)), (Threaded, "method", range(2)),
    ):
        actor = kind.remote()
        ray.get([getattr(actor, name).remote(argument) for argument in calls])
        ray.kill(actor)


main()
