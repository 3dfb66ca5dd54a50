"""Coroutines of async actors: which task each resume on the event loop's thread works for.

Ray drives the methods from a thread of fibers and runs them on the thread of an event
loop. The context in which a callback runs says whose it is; whatever the callback starts
(tasks, timers, threads) runs in a copy of that context, and what another thread hands over
has that thread's task in it. Without a number in it, as in a context of the program's own
making, the loop's thread works for whom it did, and if that is nobody, nobody knows for
whom. After every callback it works for whom it did before: a method's first step may have
another number when it begins than when it ends.
"""

import asyncio
import contextlib
import contextvars
import functools
import weakref
from types import BuiltinMethodType, FunctionType

from .abi import MANY

work = contextvars.ContextVar("roar_work", default=None)
_follows_asyncio = False


class Work:
    """For which task all coroutines work that were started where this was set, and the first
    of them (an asyncio task, weakly; None as long as it is not known)."""

    __slots__ = ("number", "first")

    def __init__(self, number):
        self.number = number
        self.first = None


def running():
    """The asyncio task that runs on this thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # of no loop's thread


def begin(page, number):
    """A method begins, in the coroutine that is its own."""
    work.set(Work(number))
    claim()
    page.work_for(number)


def claim():
    """The coroutine that runs is the first one, unless another is; returns whether it is, or
    takes something from a queue that the first one waits for."""
    current, known = running(), work.get()
    if current is None or known is None:
        return False
    if known.first is None:
        waiting = asyncio.all_tasks() if only_takes(current) else ()
        first = next((task for task in waiting if waits_for(task, current)), current)
        known.first = weakref.ref(first)
    first = known.first()
    return first is current or (only_takes(current) and waits_for(first, current))


def only_takes(task):
    """Whether it does nothing but take something from a queue, as for `wait_for`."""
    return getattr(task.get_coro(), "cr_code", None) is asyncio.Queue.get.__code__


def waits_for(task, other):
    """Whether the task waits for the other one, or for a future of which the other one's
    callbacks know, as those of `wait_for` (up to Python 3.11), `wait` and `gather` do."""
    future = getattr(task, "_fut_waiter", None)
    if future is None or future is other:
        return future is not None
    callbacks = getattr(other, "_callbacks", None) or ()
    return any(it is future for callback, _context in callbacks for it in held(callback))


def held(callback):
    if isinstance(callback, functools.partial):
        yield from callback.args
    elif isinstance(callback, FunctionType):
        for cell in callback.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty one
                yield cell.cell_contents


def forget():
    """Nobody knows any more for whom the coroutine or thread works that runs. One that does
    nothing but take something takes it for another one."""
    current, known = running(), work.get()
    if known is not None and current is not None and only_takes(current):
        known.number = MANY
    else:
        work.set(Work(MANY))


def follow(page, windows):
    """Called once, before the constructor of an async actor; `windows` by task id."""
    import ray._private.async_compat
    import ray._private.worker
    import ray._raylet

    log_end = ray._private.worker.Worker.record_task_log_end
    set_by_ray = ray._raylet.async_task_id

    def record_task_log_end(worker, task_id, *args, **kwargs):
        if page.is_ours:
            # This fiber goes on to store what its method returned.
            window = windows.get(task_id.binary())
            page.local.window = window
            page.work_for((window.number or MANY) if window is not None else 0)
        return log_end(worker, task_id, *args, **kwargs)

    class AsyncTaskId:
        """Stands for Ray's context variable, which is set as a method begins."""

        def set(self, task_id):
            token = set_by_ray.set(task_id)
            window = windows.get(task_id.binary())
            if window is not None and page.is_ours:
                begin(page, window.number or MANY)
            return token

        def __getattr__(self, name):
            return getattr(set_by_ray, name)

    ray._private.worker.Worker.record_task_log_end = record_task_log_end
    ray._raylet.async_task_id = AsyncTaskId()
    follow_asyncio(page)
    if ray._private.async_compat.uvloop is not None:
        follow_uvloop(page, ray._private.async_compat.uvloop.Loop)


def follow_loops(page):
    """Also in workers without async actors, where fsspec's file systems do it."""
    from asyncio.base_events import BaseEventLoop

    BaseEventLoop.call_soon_threadsafe = handing_over(page, BaseEventLoop.call_soon_threadsafe)


def handing_over(page, call):
    """What a thread hands over to a loop works for the task of that thread."""

    def call_soon_threadsafe(self, callback, *args, context=None):
        if context is None and page.is_ours:
            number = page.current()
            if number:
                # Not before: a thread that runs callbacks has a slot from then on.
                follow_asyncio(page)
                context = contextvars.copy_context()
                context.run(work.set, Work(number))
        return call(self, callback, *args, context=context)

    return call_soon_threadsafe


def follow_asyncio(page):
    """Every callback of asyncio's own loops is run by one method."""
    global _follows_asyncio
    if _follows_asyncio:
        return
    _follows_asyncio = True
    run = asyncio.events.Handle._run
    local, words = page.local, page.words

    def _run(handle):
        word = local.word or page.own_word()
        if not word:
            return run(handle)
        before, known = words[word], handle._context.get(work)
        words[word] = (before or MANY) if known is None else known.number
        try:
            return run(handle)
        finally:
            words[word] = before

    asyncio.events.Handle._run = _run


def follow_uvloop(page, loop_type):
    """uvloop runs its callbacks in compiled code: each is wrapped as it is handed over."""
    from asyncio import Task

    local, words, work_of_context = page.local, page.words, work.get
    call_soon, run_forever, get_debug = loop_type.call_soon, loop_type.run_forever, loop_type.get_debug
    step_type = None  # that of a task's steps, as soon as one was seen

    class Callback:
        __slots__ = ("__weakref__", "loop", "callback", "handle")

        def __init__(self, loop, callback):
            self.loop = loop
            self.callback = callback
            self.handle = None

        def __call__(self, *args):
            word = local.word or page.own_word()
            if not word:
                return self.run(args)
            before, known = words[word], work_of_context()
            words[word] = (before or MANY) if known is None else known.number
            try:
                return self.run(args)
            finally:
                words[word] = before

        def run(self, args):
            try:
                return self.callback(*args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.failed(error)

        def failed(self, error):
            """What the loop does with it, which would show this frame."""
            trace = error.__traceback__
            error.__traceback__ = trace and trace.tb_next
            context = {"message": "Exception in callback %r" % (self.callback,), "exception": error}
            if self.handle is not None:
                context["handle"] = self.handle
            self.loop.call_exception_handler(context)

        def __getattr__(self, name):
            return getattr(self.callback, name)

        def __repr__(self):
            return repr(self.callback)

    def step(callback, *args):
        """A task's step, which raises nothing that the loop would show."""
        word = local.word or page.own_word()
        if not word:
            return callback(*args)
        before, known = words[word], work_of_context()
        words[word] = (before or MANY) if known is None else known.number
        try:
            return callback(*args)
        finally:
            words[word] = before

    def soon_of(loop, word):
        """`call_soon` of a loop while the thread with this slot runs it: what a step looks up
        anywhere else is known here."""
        outside = words[word]
        schedule = loop_type.call_soon

        def step(callback):
            known = work_of_context()
            words[word] = (outside or MANY) if known is None else known.number
            try:
                return callback()
            finally:
                words[word] = outside

        def soon(callback, *args, context=None):
            if type(callback) is step_type and not get_debug(loop):
                return call_soon(loop, step, callback, context=context)
            return schedule(loop, callback, *args, context=context)

        return soon

    def run(self):
        word = local.word or page.own_word()
        if word and "call_soon" not in self.__dict__:
            self.call_soon = soon_of(self, word)
            try:
                return run_forever(self)
            finally:
                self.__dict__.pop("call_soon", None)
        return run_forever(self)

    def soon(name):
        original = getattr(loop_type, name)

        def schedule(self, callback, *args, context=None):
            nonlocal step_type
            # In debug mode the loop shows what it was given.
            if type(getattr(callback, "__self__", None)) is Task and not get_debug(self):
                if not args and type(callback) is not BuiltinMethodType:
                    step_type = type(callback)
                return original(self, step, callback, *args, context=context)
            if not page.is_ours or not callable(callback):
                return original(self, callback, *args, context=context)
            wrapped = Callback(self, callback)
            wrapped.handle = handle = original(self, wrapped, *args, context=context)
            return handle

        return schedule

    def later(name):
        original = getattr(loop_type, name)

        def schedule(self, when, callback, *args, **kwargs):
            if not page.is_ours or not callable(callback):
                return original(self, when, callback, *args, **kwargs)
            wrapped = Callback(self, callback)
            wrapped.handle = handle = original(self, when, wrapped, *args, **kwargs)
            return handle

        return schedule

    # `call_at` goes through `call_later`.
    loop_type.call_soon_threadsafe = handing_over(page, soon("call_soon_threadsafe"))
    loop_type.call_soon = soon("call_soon")
    for name in ("call_later", "add_reader", "add_writer"):
        setattr(loop_type, name, later(name))
    loop_type.run_forever = run
