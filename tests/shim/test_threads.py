"""Threads and coroutines that go on, and serve other tasks than the one that started them."""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.join(os.path.dirname(os.path.dirname(HERE)), "python-shim")
PRELUDE = """
import asyncio, os, queue, struct, sys, threading

sys.path.insert(0, %r)
from roar_shim import abi, coroutines, processes, queues, threads
from roar_shim.abi import MANY
from roar_shim.page import Page

fd = os.memfd_create("page")
os.ftruncate(fd, abi.PAGE_SIZE)
os.pwrite(fd, struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
page = Page(fd)
threads.follow(page, processes.follow(page, sys.excepthook))
coroutines.follow_loops(page)
queues.follow(page, sys.excepthook)
page.local.window = object()  # Tasks run on this thread.

def task(number, work, *args):
    page.work_for(number)
    try:
        return work(*args)
    finally:
        page.work_for(0)

def serve(things, found):
    # Says of each thing for whom the thread works once it has taken it.
    def loop():
        while True:
            thing = things.get()
            found.append((thing, page.current()))
            things.task_done()
    threading.Thread(target=loop, daemon=True).start()

def give(things, *given):
    for thing in given:
        things.put(thing)
    things.join()
""" % SHIM


def check(script, path=""):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_a_thread_that_another_task_gives_work_works_for_nobody_known():
    check("""
things, found = queue.Queue(), []
task(5, serve, things, found)
task(5, give, things, "a", "b")
task(6, give, things, "c")
task(5, give, things, "d")
assert found == [("a", 5), ("b", 5), ("c", MANY), ("d", MANY)], found
""")


def test_the_same_thing_of_two_tasks_is_of_nobody_known():
    check("""
things, found = queue.Queue(), []
task(6, things.put, None)
task(5, things.put, None)

def take():
    things.get()
    found.append(page.current())

def thread():
    started = threading.Thread(target=take)
    started.start()
    started.join()

task(5, thread)
task(5, thread)
assert found == [MANY] * 2, found
page.work_for(5)
things, found = queue.PriorityQueue(), []
for _ in range(3):
    things.put(1)
serve(things, found)
things.join()
assert found == [(1, 5)] * 3, found
""")


def test_a_tasks_own_thread_and_what_is_lent_change_nothing():
    check("""
things, lent = queue.Queue(), queue.LifoQueue()
task(5, things.put, 1)
task(5, lent.put, 1)
page.work_for(6)
assert things.get() == 1 and page.current() == 6
found = []
serve(lent, found)
lent.join()
assert found == [(1, 6)], found
""")


def test_what_a_running_task_calls_works_for_it_whatever_it_takes():
    check("""
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

things, found = queue.Queue(), []
task(6, lambda: [things.put(thing) for thing in range(10)])

def take():
    things.get()
    return page.current()

def begin():
    return page.begin(bytes(24), 0, 0)

executor, threads = ThreadPoolExecutor(1), task(5, ThreadPool, 1)
number = begin()
assert task(number, lambda: executor.submit(take).result()) == number
assert task(number, threads.apply, take) == number

def thread():
    started = threading.Thread(target=lambda: found.append(take()))
    started.start()
    started.join()

task(number, thread)
assert found == [MANY], found
page.end(number, abi.COMPLETED)
assert task(number, lambda: executor.submit(take).result()) == MANY
assert task(5, lambda: executor.submit(page.current).result()) == 5

async def handed(by):
    await asyncio.sleep(0)
    if by == "itself":
        things.get()
    else:
        things.put(by)
        taken = asyncio.create_task(another())
        assert await taken == MANY
    await asyncio.sleep(0)
    return page.current()

async def another():
    things.get()
    await asyncio.sleep(0)
    return page.current()

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
for by in "itself", "another":
    number = begin()
    hand = lambda: asyncio.run_coroutine_threadsafe(handed(by), loop).result()
    assert task(number, hand) == number
    page.end(number, abi.COMPLETED)
""")


def test_what_could_not_be_put_there_is_forgotten():
    check("""
things, found = queue.Queue(1), []
task(5, things.put, 1)
for _ in range(3):
    try:
        task(6, things.put, 2, False)
    except queue.Full:
        pass
    else:
        raise AssertionError
assert [(thing, entry[0]) for thing, entry in things._roar_tasks.items()] == [(id(1), 5)]
task(5, serve, things, found)
task(5, give, things, 2)
assert found == [(1, 5), (2, 5)], found
for number in range(5000):
    things.put(number)
    things.queue.clear()
assert len(things._roar_tasks) < 1100, len(things._roar_tasks)
""")


def test_a_thing_is_in_a_queue_often_at_no_cost():
    check("""
import time

things = queue.Queue()
page.work_for(5)
began = time.process_time()
for _ in range(100_000):
    things.put(None)
for _ in range(100_000):
    things.get()
took = time.process_time() - began
assert took < 2, took
assert not things._roar_tasks, things._roar_tasks
""")


def test_a_thing_that_leaves_a_queue_otherwise_is_not_kept_each_time():
    check("""
import tracemalloc

things, found = queue.Queue(), []
page.work_for(5)
tracemalloc.start()
for number in range(50):
    for _ in range(1000):
        things.put(number % 10)
    things.queue.clear()
    things.unfinished_tasks = 0
kept, _ = tracemalloc.get_traced_memory()
assert kept < 50_000, kept
task(5, serve, things, found)
task(5, give, things, 1)
task(6, give, things, 1)
assert found == [(1, 5), (1, MANY)], found
""")


def test_a_coroutine_that_goes_on():
    check("""
async def main():
    coroutines.follow_asyncio(page)
    page.local.window = None
    things, found = asyncio.Queue(), []

    async def serve():
        while True:
            thing = await things.get()
            await asyncio.sleep(0)
            found.append((thing, page.current()))
            things.task_done()

    async def method(number, *given):
        coroutines.begin(page, number)
        if not found:
            method.kept = asyncio.create_task(serve())
        for thing in given:
            await things.put(thing)
        await things.join()

    await asyncio.create_task(method(5, "a"))
    await asyncio.create_task(method(6, "b"))
    await asyncio.create_task(method(5, "c"))
    assert found == [("a", 5), ("b", MANY), ("c", MANY)], found

    async def own(expected):
        number = page.begin(bytes(24), 0, 0)
        coroutines.begin(page, number)
        await asyncio.sleep(0)
        assert await things.get() == expected
        await asyncio.sleep(0)
        return page.current() == number

    method.kept.cancel()
    await asyncio.sleep(0)
    taking = asyncio.create_task(own("d"))
    await asyncio.sleep(0)

    async def put():
        coroutines.begin(page, 7)
        await things.put("d")

    await asyncio.create_task(put())
    assert await taking

asyncio.run(main())
""")


def test_a_coroutine_that_goes_on_and_has_others_take_for_it():
    check("""
async def main():
    coroutines.follow_asyncio(page)
    page.local.window = None
    found = []

    async def waits(things):
        while True:
            took(things, await asyncio.wait_for(things.get(), 9))

    async def creates(things):
        while True:
            took(things, await asyncio.create_task(things.get()))

    def took(things, thing):
        found.append(page.current())
        things.task_done()

    async def method(number, things, serve=None):
        coroutines.begin(page, number)
        if serve is not None:
            method.kept = asyncio.create_task(serve(things))
        await things.put(number)
        await things.join()

    for serve in waits, creates:
        things = asyncio.Queue()
        await asyncio.create_task(method(5, things, serve))
        await asyncio.create_task(method(6, things))
        await asyncio.create_task(method(5, things))
        method.kept.cancel()
    assert found == [5, MANY, MANY] * 2, found

asyncio.run(main())
""")


def test_a_tasks_own_coroutine_has_others_take_for_it():
    check("""
async def waits(things):
    return await asyncio.wait_for(things.get(), 9)

async def creates(things):
    return await asyncio.create_task(things.get())

async def selects(things):
    taking = asyncio.create_task(things.get())
    other = asyncio.create_task(asyncio.sleep(9))
    await asyncio.wait([taking, other], return_when=asyncio.FIRST_COMPLETED)
    return taking.result()

async def gathers(things):
    return (await asyncio.gather(things.get(), asyncio.sleep(0)))[0]

async def own(number, things, take):
    thing = await take(things)
    assert page.current() == number, (take, page.current())
    await asyncio.sleep(0)
    assert page.current() == number, (take, page.current())
    things.put_nowait(0)
    await things.get()
    return thing, page.current() == number

async def method(number, *args):
    coroutines.begin(page, number)
    return await own(number, *args)

async def put(things):
    coroutines.begin(page, 7)
    await things.put("thing")

async def main(loop, take):
    coroutines.follow_asyncio(page)
    page.local.window = None
    for way in "method", "handed over":
        things = asyncio.Queue()
        number = page.begin(bytes(24), 0, 0)
        if way == "method":
            taking = asyncio.create_task(method(number, things, take))
        else:
            hand = lambda: asyncio.run_coroutine_threadsafe(own(number, things, take), loop)
            taking = asyncio.wrap_future(await loop.run_in_executor(None, task, number, hand))
        for _ in range(3):
            await asyncio.sleep(0.01)
        await asyncio.create_task(put(things))
        assert await taking == ("thing", True), (way, take)
        page.end(number, abi.COMPLETED)

async def begun(take):
    await main(asyncio.get_running_loop(), take)

for take in waits, creates, selects, gathers:
    asyncio.run(begun(take))
""")


def test_a_consumer_that_has_others_take_for_it_is_not_the_running_tasks_own():
    check("""
async def consume(things, found):
    await asyncio.wait_for(things.get(), 9)
    found.append(page.current())

async def consume_itself(things, found):
    await things.get()
    found.append(page.current())

async def method(number, things, found, consumer):
    coroutines.begin(page, number)
    consuming = asyncio.create_task(consumer(things, found))
    await consuming

async def put(things):
    coroutines.begin(page, 7)
    await things.put("thing")

async def handed(things, found):
    for _ in range(2):
        await consume(things, found)

async def main():
    coroutines.follow_asyncio(page)
    page.local.window = None
    loop, found = asyncio.get_running_loop(), []
    for consumer in consume, consume_itself:
        things, number = asyncio.Queue(), page.begin(bytes(24), 0, 0)
        running = asyncio.create_task(method(number, things, found, consumer))
        await asyncio.sleep(0.01)
        await asyncio.create_task(put(things))
        await running
        page.end(number, abi.COMPLETED)
    assert found == [MANY] * 2, found

    # It goes on after the task that handed it over.
    things, found, number = asyncio.Queue(), [], page.begin(bytes(24), 0, 0)
    hand = lambda: asyncio.run_coroutine_threadsafe(handed(things, found), loop)
    running = asyncio.wrap_future(await loop.run_in_executor(None, task, number, hand))
    await asyncio.sleep(0.01)
    await asyncio.create_task(put(things))
    await asyncio.sleep(0.01)
    page.end(number, abi.COMPLETED)
    await asyncio.create_task(put(things))
    await running
    assert found == [number, MANY], (number, found)

asyncio.run(main())
""")


@pytest.fixture(scope="session", params=["3.7.1", "4.0.0", "4.16.0"])
def anyio(request, tmp_path_factory):
    """A directory to import anyio from."""
    directory = str(tmp_path_factory.mktemp("anyio"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", directory]
    done = subprocess.run([*pip, "anyio==" + request.param], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


ANYIO = """
import anyio.to_thread

async def main():
    coroutines.follow_asyncio(page)
    page.local.window = None

    async def method(number):
        coroutines.begin(page, number)
        found = [await anyio.to_thread.run_sync(work)]
        found.append((await anyio.to_thread.run_sync(nested))[1])
        return found

    def work():
        return threading.get_ident(), page.current()

    def nested():
        return threading.get_ident(), anyio.from_thread.run(inner)

    async def inner():
        await asyncio.sleep(0)
        return page.current()

    found = [await asyncio.create_task(method(number)) for number in (5, 6, 5)]
    assert [it[0][1] for it in found] == [5, 6, 5], found
    assert [it[1] for it in found] == [5, 6, 5], found
    assert len({it[0][0] for it in found}) == 1, found
"""


def test_a_thread_of_anyios_works_for_who_calls(anyio):
    check(ANYIO + "asyncio.run(main())", anyio)


def test_a_thread_of_an_anyio_that_is_not_known_is_nobodys(anyio):
    script = ANYIO.replace("[5, 6, 5]", "[MANY] * 3") + """
from anyio._backends import _asyncio

class Other:
    def __init__(self, size):
        self.things = queue.SimpleQueue()
        self.put_nowait, self.get = self.things.put, self.things.get

    def task_done(self):
        pass

_asyncio.Queue = Other
asyncio.run(main())
"""
    check(script, anyio)
