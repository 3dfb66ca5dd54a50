"""Threads and pool submissions work for the task that started them."""

import threading
from concurrent.futures import thread as pool

from .abi import MANY

ANYIO = "anyio._backends._asyncio"
TRIO = "trio._core._thread_cache"
POOLS = (pool.__name__, "multiprocessing.pool", ANYIO, TRIO)


def pool_of(thread):
    """The module of the pool that the thread belongs to."""
    target = getattr(thread, "_target", None)
    where = type(thread).__module__ if target is None else getattr(target, "__module__", None)
    return where if where in POOLS else None


def follow(page, before_start):
    """Called once; `before_start` is called before a thread is started."""
    start, bootstrap = threading.Thread.start, threading.Thread._bootstrap_inner
    init, run = pool._WorkItem.__init__, pool._WorkItem.run

    def current():
        return page.current() if page.is_ours else 0

    def Thread_start(self):
        number, where = current(), pool_of(self)
        # A pool's own thread belongs to no task: what is submitted to it does.
        if where == pool.__name__:
            number = 0
        elif number and where in (ANYIO, TRIO):
            number = MANY
        self.__dict__["_roar_task"] = number
        if page.is_ours:
            before_start()
        return start(self)

    def Thread_bootstrap_inner(self):
        number, where = self.__dict__.get("_roar_task", 0), pool_of(self)
        if where is not None:
            page.local.calls = getattr(self, "queue", None) if where == ANYIO else where
        if number and page.is_ours:
            page.work_for(number)
        return bootstrap(self)

    def WorkItem_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._roar_task = current()

    def WorkItem_run(self, *args, **kwargs):
        if not page.is_ours:
            return run(self, *args, **kwargs)
        before = page.work_for(self.__dict__.get("_roar_task", 0))
        try:
            return run(self, *args, **kwargs)
        finally:
            if page.is_ours:
                page.work_for(before)

    threading.Thread.start = Thread_start
    threading.Thread._bootstrap_inner = Thread_bootstrap_inner
    pool._WorkItem.__init__ = WorkItem_init
    pool._WorkItem.run = WorkItem_run
