#!/usr/bin/env python3
"""What the shim costs in a Ray worker: a task's begin and end, a coroutine's resume, and what
is put into a queue and taken.

    bench/shim.py        (with Ray; no cluster is started)

The hooks are the shim's own, around a core worker that answers at once: what Ray's compiled
one takes is measured in `tests/shim`. Each figure is the difference to the same work
without the shim, the best CPU time of several rounds.
"""

import asyncio
import os
import queue
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python-shim"))

from roar_shim import abi, coroutines, queues  # noqa: E402
from roar_shim.page import Page  # noqa: E402

ROUNDS = 15


def new_page():
    fd = os.memfd_create("page")
    os.ftruncate(fd, abi.PAGE_SIZE)
    os.pwrite(fd, struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
    page = Page(fd)
    os.close(fd)
    return page


def begin_and_end(count=1000):
    """Nanoseconds of a task's begin and end."""
    task_id = bytes(8) + b"\xff" * 12 + b"\1\0\0\0"
    best = float("inf")
    for _ in range(ROUNDS):
        page = new_page()
        began = time.thread_time_ns()
        for _ in range(count):
            number = page.begin(task_id, 0, 8)
            page.work_for(number)
            page.end(number, abi.COMPLETED)
            page.work_for(0)
        best = min(best, (time.thread_time_ns() - began) / count)
    return best


async def resumes(count):
    coroutines.work.set(coroutines.Work(1))
    for _ in range(count):
        await asyncio.sleep(0)


def resume(new_loop, count=30_000):
    """Nanoseconds of one step of a coroutine."""
    best = float("inf")
    for _ in range(ROUNDS):
        loop = new_loop()
        began = time.thread_time_ns()
        loop.run_until_complete(resumes(count))
        best = min(best, (time.thread_time_ns() - began) / count)
        loop.close()
    return best


def put_and_get(count=30_000):
    """Nanoseconds of one thing that goes through a queue."""
    best = float("inf")
    for _ in range(ROUNDS):
        things = queue.Queue()
        began = time.thread_time_ns()
        for number in range(count):
            things.put(number)
            things.get()
        best = min(best, (time.thread_time_ns() - began) / count)
    return best


def main():
    page = new_page()
    page.work_for(0)
    print("| | ns |")
    print("|---|---|")
    print("| begin and end of a task, on the page | %.0f |" % begin_and_end())
    before = resume(asyncio.new_event_loop)
    coroutines.follow_asyncio(page)
    print("| resume of a coroutine | %.0f |" % (resume(asyncio.new_event_loop) - before))
    before = put_and_get()
    queues.follow(page, sys.excepthook)
    print("| put into a queue, and taken | %.0f |" % (put_and_get() - before))
    try:
        import uvloop
    except ImportError:
        return
    before = resume(uvloop.new_event_loop)
    coroutines.follow_uvloop(page, uvloop.Loop)
    print("| resume of a coroutine of uvloop | %.0f |" % (resume(uvloop.new_event_loop) - before))


if __name__ == "__main__":
    main()
