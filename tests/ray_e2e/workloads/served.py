"""Threads and coroutines of an actor that go on, and serve one method after the other."""

import asyncio
import queue
import threading

import anyio.to_thread
import ray
from touching import touch, wait_for


def touch_here(name):
    touch(name)
    return threading.get_ident()


@ray.remote(max_concurrency=4)
class Endpoints:
    """A thread of anyio's serves a method while the one that started it still runs, and
    after that."""

    async def use(self, name, wanted=None):
        thread = await anyio.to_thread.run_sync(touch_here, "endpoint-" + name)
        while wanted is not None and not self.has(wanted):
            await asyncio.sleep(0.02)
        return thread

    def has(self, name):
        try:
            wait_for(name, 0.01)
            return True
        except TimeoutError:
            return False


class Served:
    def __init__(self, name):
        self.name = name
        self.things = self.queue()

    def touch_all(self, names):
        for name in names:
            touch("%s-%s" % (self.name, name))


@ray.remote
class Queue(Served):
    queue = queue.Queue

    def __init__(self):
        super().__init__("queue")
        threading.Thread(target=self.serve, daemon=True).start()
        self.put("init")

    def serve(self):
        while True:
            self.touch_all([self.things.get()])
            self.things.task_done()

    def put(self, name):
        self.things.put(name)
        self.things.join()


@ray.remote
class Batches(Served):
    queue = asyncio.Queue

    def __init__(self):
        super().__init__("batch")

    async def start(self):
        self.server = asyncio.create_task(self.serve())
        await self.put("start")

    async def serve(self):
        while True:
            names = [await self.things.get()]
            while not self.things.empty():
                names.append(self.things.get_nowait())
            await asyncio.sleep(0.01)
            self.touch_all(names)
            for _ in names:
                self.things.task_done()

    async def put(self, name):
        await self.things.put(name)
        await self.things.join()


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    endpoints = Endpoints.remote()
    first = endpoints.use.remote("a", "endpoint-b")
    wait_for("endpoint-a")
    threads = {ray.get(endpoints.use.remote("b")), ray.get(first)}
    assert len(threads) == 1, threads
    ray.get(endpoints.use.remote("c"))
    queued = Queue.remote()
    ray.get([queued.put.remote("b"), queued.put.remote("c")])
    batches = Batches.remote()
    ray.get(batches.start.remote())
    ray.get([batches.put.remote("b"), batches.put.remote("c")])
