"""Actors of every kind, with as much going on at once as they allow."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import multiprocessing.pool
import os
import signal
import subprocess
import sys
import threading
import time

import ray
from touching import AsLoaded, first, path, touch, touch_around, wait_for

ROUNDS = 3
MARK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "touching.py")


@ray.remote
class Counter:
    def __init__(self, name):
        touch(name)

    def method(self, name):
        touch(name)

    def fails(self):
        touch("counter-fails")
        raise ValueError("on purpose")

    def leaves(self):
        touch("counter-leaves")
        ray.actor.exit_actor()

    def exits(self):
        touch("counter-exits")
        sys.exit(0)


@ray.remote
class Untouched:
    def method(self):
        touch("untouched-method")


@ray.remote(max_restarts=1, max_task_retries=-1)
class Restarts:
    def __init__(self):
        self.life = 0 if first("restarts") else 1
        touch("restarts-init-%d" % self.life)

    def method(self):
        touch("restarts-method-%d" % self.life)
        if self.life == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@ray.remote(max_concurrency=ROUNDS)
class Threaded:
    def __init__(self):
        self.barrier = threading.Barrier(ROUNDS)

    def method(self, number):
        for step in "abc":
            self.barrier.wait(20)
            touch("threaded-%d-%s" % (number, step))
        thread = threading.Thread(target=touch, args=("threaded-%d-thread" % number,))
        thread.start()
        thread.join()
        subprocess.run([sys.executable, MARK, "threaded-%d-child" % number], check=True)
        self.barrier.wait(20)


@ray.remote(max_concurrency=2)
class SharedPool:
    """Two methods have work in one pool at the same time."""

    def __init__(self):
        self.pool = concurrent.futures.ProcessPoolExecutor(2)

    def one(self):
        self.pool.submit(touch_around, "shared-first", "shared-second", "shared-late").result()

    def other(self):
        wait_for("shared-first")
        result = self.pool.submit(touch, "shared-other")
        touch("shared-second")
        result.result()


@ray.remote
class ThreadPool:
    def __init__(self):
        self.pool = multiprocessing.pool.ThreadPool(2)

    def use(self, name):
        name = "threadpool-" + name
        self.pool.map(touch, ["%s-%d" % (name, i) for i in range(3)])
        list(self.pool.imap(touch, self.names(name)))
        called = threading.Event()

        def callback(_):
            touch(name + "-callback")
            called.set()

        self.pool.apply_async(str, callback=callback)
        called.wait()

    def names(self, name):
        touch(name + "-iterable")
        yield name + "-3"


@ray.remote(concurrency_groups={"one": 2, "other": 2})
class Groups:
    def __init__(self):
        self.barrier = threading.Barrier(4)

    def work(self, name):
        for step in "ab":
            self.barrier.wait(20)
            touch("group-%s-%s" % (name, step))
        self.barrier.wait(20)

    @ray.method(concurrency_group="one")
    def one(self, name):
        self.work(name)

    @ray.method(concurrency_group="other")
    def other(self, name):
        self.work(name)


@ray.remote(concurrency_groups={"io": 4})
class AsyncGroups:
    @ray.method(concurrency_group="io")
    async def io(self, name):
        await asyncio.sleep(0.02)
        touch("agroup-io-" + name)

    async def default(self, name):
        await asyncio.sleep(0.02)
        touch("agroup-default-" + name)


@ray.remote(max_concurrency=100)
class Async:
    """Every method goes on in small steps, so that all are interleaved."""

    loaded = AsLoaded("async-loads")

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        self.lock = asyncio.Lock()
        touch("async-init")

    async def start(self):
        import gc

        gc.collect()
        return type(asyncio.get_running_loop()).__module__

    async def steps(self, name, count=3):
        for step in range(count):
            await asyncio.sleep(0.01)
            touch("%s-%d" % (name, step))

    async def awaits(self, number):
        name = "awaits-%d" % number
        touch(name + "-first")
        await self.steps(name)
        async with self.lock:
            await asyncio.sleep(0.01)
            touch(name + "-locked")

    async def gathers(self, number):
        name = "gathers-%d" % number
        await asyncio.gather(*(self.steps("%s-%d" % (name, part)) for part in range(2)))
        touch(name + "-last")

    async def groups(self, number):
        name = "groups-%d" % number
        if sys.version_info < (3, 11):
            return await asyncio.gather(self.steps(name + "-0"), self.steps(name + "-1"))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.steps(name + "-0"))
            group.create_task(self.steps(name + "-1"))

    async def creates(self, number):
        """The task that it creates goes on after its end."""
        async def later():
            await asyncio.sleep(0.4)
            touch("creates-%d-later" % number)

        self.kept = getattr(self, "kept", []) + [asyncio.create_task(later())]
        touch("creates-%d" % number)

    async def wait(self):
        await asyncio.gather(*self.kept)
        touch("wait")

    async def to_thread(self, number):
        await asyncio.sleep(0.01)
        await asyncio.to_thread(touch, "to_thread-%d" % number)
        touch("to_thread-%d-after" % number)

    async def executor(self, number):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.pool, touch, "executor-%d-own" % number)
        await loop.run_in_executor(None, touch, "executor-%d-default" % number)
        await loop.run_in_executor(None, self.hands_over, loop, "executor-%d" % number)

    def hands_over(self, loop, name):
        asyncio.run_coroutine_threadsafe(self.steps(name, 1), loop).result()
        called = threading.Event()
        loop.call_soon_threadsafe(lambda: (touch(name + "-callback"), called.set()))
        called.wait()

    async def pool_thread(self, name):
        """A pool of threads that one method after the other uses."""
        loop = asyncio.get_running_loop()
        if not hasattr(self, "threads"):
            self.threads = multiprocessing.pool.ThreadPool(1)
        result = self.threads.apply_async(self.hands_over, (loop, name))
        while not result.ready():
            await asyncio.sleep(0.01)
        result.get()

    async def argument(self, number, loaded):
        touch("argument-%d" % number)

    async def context(self):
        """A callback in a context that says nothing."""
        called = asyncio.Event()

        def call():
            touch("context")
            called.set()

        asyncio.get_running_loop().call_soon(call, context=contextvars.Context())
        await called.wait()

    async def call_later(self, number):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def at_last():
            touch("call_later-%d-at" % number)
            done.set_result(None)

        def now():
            touch("call_later-%d-soon" % number)
            loop.call_at(loop.time() + 0.02, at_last)

        def later():
            touch("call_later-%d" % number)
            loop.call_soon(now)

        loop.call_later(0.02, later)
        await done

    async def from_thread(self, number):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def callback():
            touch("from_thread-%d-callback" % number)
            done.set_result(None)

        def work():
            time.sleep(0.02)
            touch("from_thread-%d-thread" % number)
            coroutine = self.steps("from_thread-%d" % number, 2)
            asyncio.run_coroutine_threadsafe(coroutine, loop).result()
            loop.call_soon_threadsafe(callback)

        threading.Thread(target=work).start()
        await done

    async def reader(self, number):
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        read, write = os.pipe()

        def readable():
            loop.remove_reader(read)
            touch("reader-%d" % number)
            done.set_result(os.read(read, 1))

        loop.add_reader(read, readable)
        loop.call_later(0.02, os.write, write, b"x")
        await done
        os.close(read)
        os.close(write)

    async def managed(self, number):
        @contextlib.asynccontextmanager
        async def manager():
            await asyncio.sleep(0.01)
            touch("managed-%d-in" % number)
            yield
            await asyncio.sleep(0.01)
            touch("managed-%d-out" % number)

        async with manager():
            touch("managed-%d" % number)

    async def generates(self, number):
        for step in range(3):
            touch("generates-%d-%d" % (number, step))
            yield step
            await asyncio.sleep(0.01)
        touch("generates-%d-end" % number)

    async def processes(self, number):
        name = "processes-%d" % number
        first_process = await asyncio.create_subprocess_exec(sys.executable, MARK, name + "-exec")
        command = "cat {0}/in/{1} > {0}/out/{1}".format(path(""), name + "-shell")
        second_process = await asyncio.create_subprocess_shell(command)
        assert [await first_process.wait(), await second_process.wait()] == [0, 0]

    async def callbacks(self, number):
        """A task's own done callback."""
        finished = asyncio.Event()

        def done(_):
            touch("callbacks-%d-done" % number)
            finished.set()

        asyncio.create_task(self.steps("callbacks-%d" % number, 1)).add_done_callback(done)
        await finished.wait()

    async def times_out(self, number):
        async def slow():
            try:
                await asyncio.sleep(20)
            finally:
                touch("times_out-%d-cancelled" % number)

        try:
            await asyncio.wait_for(slow(), 0.03)
        except asyncio.TimeoutError:
            touch("times_out-%d" % number)

    async def fails(self, number):
        await asyncio.sleep(0.01)
        touch("fails-%d" % number)
        raise ValueError(number)

    async def cancelled(self):
        touch("cancelled")
        try:
            await asyncio.sleep(30)
        finally:
            touch("cancelled-finally")

    def sync(self):
        touch("sync")


METHODS = (
    "awaits gathers groups creates to_thread executor call_later from_thread reader managed"
    " processes callbacks times_out fails"
).split()


def ended(reference):
    try:
        return ray.get(reference)
    except Exception as error:
        return type(error).__name__


def asynchronous():
    actor = Async.remote()
    print("the loop is of", ray.get(actor.start.remote()))
    running = [getattr(actor, name).remote(number) for number in range(ROUNDS) for name in METHODS]
    running += [
        actor.argument.remote(number, AsLoaded("argument-%d-loads" % number))
        for number in range(ROUNDS)
    ]
    streams = [actor.generates.remote(number) for number in range(ROUNDS)]
    slow = actor.cancelled.remote()
    for stream in streams:
        for item in stream:
            ray.get(item)
    outcomes = [ended(reference) for reference in running]
    for outcome in outcomes:
        assert outcome in (None, "RayTaskError(ValueError)"), outcomes
    for name in "ab":
        ray.get(actor.pool_thread.remote("pool_thread-" + name))
    ray.get(actor.context.remote())
    ray.get(actor.wait.remote())
    wait_for("cancelled")
    ray.cancel(slow)
    print(ended(slow))
    ray.get(actor.sync.remote())
    groups = AsyncGroups.remote()
    ray.get([groups.io.remote("a"), groups.default.remote("b"), groups.io.remote("c")])


def others():
    counter = Counter.options(name="counter", lifetime="detached", namespace="kinds").remote("counter-init")
    ray.get(counter.method.remote("counter-first"))
    second = [sys.executable, os.path.join(os.path.dirname(MARK), "second.py")]
    subprocess.run([*second, ray.get_runtime_context().gcs_address], check=True)
    outcomes = [ended(counter.fails.remote()), ended(counter.leaves.remote())]
    other = Counter.remote("counter-other")
    outcomes += [ended(other.exits.remote()), ended(Untouched.remote().method.remote())]
    print(outcomes)
    print(ended(Restarts.remote().method.remote()))
    threaded = Threaded.remote()
    ray.get([threaded.method.remote(number) for number in range(ROUNDS)])
    shared = SharedPool.remote()
    ray.get([shared.one.remote(), shared.other.remote()])
    pool = ThreadPool.remote()
    ray.get([pool.use.remote("a"), pool.use.remote("b")])
    groups = Groups.remote()
    ray.get([groups.one.remote("a"), groups.one.remote("b"), groups.other.remote("c"), groups.other.remote("d")])


if __name__ == "__main__":
    ray.init(address="local", num_cpus=8, include_dashboard=False)
    if "async" in sys.argv:
        asynchronous()
    else:
        others()
