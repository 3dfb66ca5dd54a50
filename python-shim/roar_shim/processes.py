"""Processes that serve several tasks: those of pools, and those that a fork server makes;
and the threads of a ``ThreadPool``, which is such a pool.

A process works for the task whose thread forked it, which the supervisor sees by itself.
Here it is told when that is no longer so. While work of several tasks is in a pool, it is
told that nobody knows.
"""

import multiprocessing.context
import multiprocessing.process
import sys
import threading

from . import abi


def follow(page, failed):
    """Called once; `failed` notes an exception of ours. Returns what to call before a thread
    is started: it may be a pool's."""
    start = multiprocessing.process.BaseProcess.start
    lock = threading.Lock()
    followed = set()

    def BaseProcess_start(self):
        number = None
        if page.is_ours:
            number = page.current()
            follow_pools()
        result = start(self)
        if number is not None:
            self.__dict__["_roar_task"] = number
        return result

    def owner(worker):
        """The number of the task that a started process or thread works for, or MANY."""
        return worker.__dict__.get("_roar_task")

    def assign(workers, number):
        for worker in workers:
            if owner(worker) == number:
                continue
            worker.__dict__["_roar_task"] = number
            if isinstance(worker, threading.Thread):
                page.hand_over_thread(worker.native_id, number)
            else:
                page.hand_over(worker.pid, number)

    def submitting(workers, is_busy, submit):
        """Hands a pool's workers over to the thread's task, and submits to them; with them
        the thread that starts more of them."""
        if not page.is_ours:
            return submit()
        # A cancelled task may have left the lock behind.
        is_alone = lock.acquire(timeout=0.5)
        try:
            number = abi.MANY
            try:
                if is_alone and not (is_busy() and any(owner(w) != page.current() for w in workers())):
                    number = page.current()
                assign(workers(), number)
            except Exception:
                failed()
            result = submit()
            try:
                assign(workers(), number)  # those that were started just now
            except Exception:
                failed()
            return result
        finally:
            if is_alone:
                lock.release()

    def follow_pools():
        """Wraps the modules of pools that have been imported by now."""
        for name, last, wrap in (
            ("concurrent.futures.process", "ProcessPoolExecutor", follow_executor),
            ("multiprocessing.pool", "ThreadPool", follow_pool),
        ):
            # Another thread may be importing it: then its last class is missing.
            if name not in followed and hasattr(sys.modules.get(name), last):
                module = sys.modules[name]
                followed.add(name)
                try:
                    wrap(module)
                except Exception:
                    failed()

    def follow_executor(module):
        submit = module.ProcessPoolExecutor.submit

        def ProcessPoolExecutor_submit(self, /, *args, **kwargs):
            return submitting(
                lambda: [*(self._processes or {}).values(), *filter(None, [self._executor_manager_thread])],
                lambda: bool(self._pending_work_items),
                lambda: submit(self, *args, **kwargs),
            )

        ProcessPoolExecutor_submit.__doc__ = submit.__doc__
        module.ProcessPoolExecutor.submit = ProcessPoolExecutor_submit

    def follow_pool(module):
        def wrap(kind):
            init = kind.__init__

            def __init__(self, pool, *args, **kwargs):
                def is_busy():
                    results = list(pool._cache.values())
                    return any(not getattr(result, "ready", bool)() for result in results)

                # Its threads take from iterables, start workers, and call back.
                handlers = pool._task_handler, pool._worker_handler, pool._result_handler
                submitting(
                    lambda: [*pool._pool, *handlers],
                    is_busy,
                    lambda: init(self, pool, *args, **kwargs),
                )

            kind.__init__ = __init__

        wrap(module.ApplyResult)
        wrap(module.IMapIterator)

    def ForkServerProcess_Popen(process):
        from multiprocessing import forkserver
        from multiprocessing.popen_forkserver import Popen

        if "forkserver" not in followed:
            followed.add("forkserver")
            follow_forkserver(forkserver)
        return Popen(process)

    def follow_forkserver(module):
        connect, read = module.connect_to_new_process, module.read_signed
        known = {}

        def connect_to_new_process(fds):
            sentinel, writer = connect(fds)
            if page.is_ours:
                # The process waits for what is written next: here it has done nothing yet.
                known[sentinel] = pid = read(sentinel)
                page.hand_over(pid, page.current())
            return sentinel, writer

        def read_signed(fd):
            pid = known.pop(fd, None)
            return read(fd) if pid is None else pid

        module.connect_to_new_process = connect_to_new_process
        module.read_signed = read_signed

    multiprocessing.process.BaseProcess.start = BaseProcess_start
    multiprocessing.context.ForkServerProcess._Popen = staticmethod(ForkServerProcess_Popen)
    return follow_pools
