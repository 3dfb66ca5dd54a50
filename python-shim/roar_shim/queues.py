"""What a thread or coroutine takes from a queue, where another task put it.

Nobody knows for whom it works from then on: for that task, for several whose work it
gathers, or still for the one that started it. As long as a task runs, its own thread and
coroutine, and what these call in a pool of threads, work for it whatever they take. The
threads of anyio's pool take calls, one after the other, and work for who asked for each. What
is in a LifoQueue is lent, as connections are, and is no work.
"""

import asyncio
import functools
import queue

from . import coroutines
from .abi import MANY

# Things that left a queue otherwise are forgotten when there are so many more than are in it.
_MOST_GONE = 1 << 10
# An iterator of it counts, and no other thread comes between.
_TIMES = range(1 << 62)


def follow(page, failed):
    """Called once; `failed` notes an exception of ours."""
    local, words, work = page.local, page.words, coroutines.work.get

    def giving(put, lent):
        def give(self, item, *args, **kwargs):
            if not page.is_ours or isinstance(self, lent):
                return put(self, item, *args, **kwargs)
            try:
                given(self, item)  # before, since it may be taken at once
            except Exception:
                failed()
            try:
                return put(self, item, *args, **kwargs)
            except BaseException:
                giver(self, item)
                raise

        return functools.wraps(put)(give)

    def given(things, item):
        givers = things.__dict__.get("_roar_tasks")
        if givers is None:
            givers = things.__dict__.setdefault("_roar_tasks", {})
        elif len(givers) > _MOST_GONE and len(givers) > things._qsize() + _MOST_GONE:
            givers.clear()
        known, word = work(), local.word
        if known is not None and known.first is None:
            coroutines.claim()
        number = words[word] if word else 0
        entry = givers.get(id(item))
        if entry is None:
            entry = givers.setdefault(id(item), [number, iter(_TIMES), iter(_TIMES)])
        if entry[0] != number:
            entry[0] = MANY
        next(entry[1])

    def taking(get, lent):
        def take(self, *args, **kwargs):
            item = get(self, *args, **kwargs)
            if page.is_ours and not isinstance(self, lent):
                try:
                    taken(self, item)
                except Exception:
                    failed()
            return item

        return functools.wraps(get)(take)

    def taken(things, item):
        number, word = giver(things, item), local.word
        current = words[word] if word else 0
        if current in (0, number):
            return
        if things is local.calls:
            words[word] = number or MANY
        elif number and not is_own(current):
            words[word] = MANY
            coroutines.forget()

    def is_own(number):
        """Whether the task itself runs here, or what it has called and not just started."""
        if local.window is not None:
            return True
        return (local.calls is not None or coroutines.claim()) and page.is_running(number)

    for kind, lent, put, get in (
        (queue.Queue, queue.LifoQueue, "put", "get"),
        (asyncio.Queue, asyncio.LifoQueue, "put_nowait", "get_nowait"),
    ):
        setattr(kind, put, giving(getattr(kind, put), lent))
        setattr(kind, get, taking(getattr(kind, get), lent))


def giver(things, item):
    """The task that put it there; MANY where that is not known, as of a thing that several
    have put there."""
    try:
        givers = things.__dict__["_roar_tasks"]
        number, puts, takes = givers[id(item)]
    except KeyError:
        return MANY  # it was put there at this moment, or in a way of the queue's own
    next(takes)
    if takes.__length_hint__() <= puts.__length_hint__():
        givers.pop(id(item), None)
    return number
