"""Which objects of Ray's store go into which tasks.

What is noted are ids, and never a reference, so no object lives longer or shorter. Two
places tell all of it:

* ``Worker.deserialize_objects`` has the ids of arguments by reference and of everything
  that ``ray.get`` returns, in the process that receives them.
* A small argument is copied into the task before it is sent, and its id is gone then: who
  submits a task notes which objects it passes.

An object's id holds the id of the task that made it, so makers note nothing.
"""

import sys
import threading

from . import abi

_NIL = b"\xff" * 28
CONSTRUCTOR = b"\xff" * 8
_MOST_SEEN = 1 << 16


class Objects:
    """Notes objects on a page. ``current`` gives the number of the task at work, or None
    where it is not known."""

    def __init__(self, page, current):
        self.page = page
        self.current = current
        self.seen = set()
        self.markers = set()
        self.follows_awaits = False
        self.awaited = threading.local()

    def note_for(self, number, object_id, size, receiver=None):
        # Bytes, which the garbage collector need not look at.
        key = object_id
        if number:
            key += number.to_bytes(8, "little")
        if receiver is not None:
            key += receiver
        seen = self.seen
        if key in seen:
            return
        if len(seen) >= _MOST_SEEN:
            seen.clear()
        seen.add(key)
        self.page.add_object(number, object_id, size, receiver)

    def received(self, serialized, references, is_callback):
        is_awaited = is_callback and self.follows_awaits
        number = None
        markers = self.markers
        for value, reference in zip(serialized, references):
            object_id = reference.binary() if reference is not None else _NIL
            if object_id != _NIL and object_id not in markers:
                data = value[0] if isinstance(value, tuple) else getattr(value, "data", None)
                size = abi.UNKNOWN if data is None else len(data)
                if is_awaited:
                    # Who awaits it is known in a moment.
                    self.awaited.last = object_id, size
                    continue
                if number is None:
                    # Not before there is something to note: it gives the thread a slot.
                    number = self.current()
                    if number is None:
                        return
                self.note_for(number, object_id, size)

    def submitted(self, result):
        """Remembers what only says that a generator has come to its end."""
        marker = getattr(result, "_generator_ref", None)
        if marker is not None:
            if len(self.markers) >= _MOST_SEEN:
                self.markers.clear()
            self.markers.add(marker.binary())

    def passed(self, references, receiver):
        number = self.current()
        if number is not None:
            for reference in references:
                self.note_for(number, reference.binary(), abi.UNKNOWN, receiver)


def wrap(objects, failed):
    """Wraps the names that Ray looks up while it submits tasks and reads objects.

    ``failed`` notes an exception of ours, which never reaches Ray.
    """
    import ray._private.worker
    from ray import ObjectRef
    from ray.actor import ActorClass, ActorHandle
    from ray.remote_function import RemoteFunction

    deserialize = ray._private.worker.Worker.deserialize_objects

    def deserialize_objects(self, serialized_objects, object_refs, *rest, **options):
        try:
            if objects.page.is_ours:
                objects.received(serialized_objects, object_refs, _is_outermost())
        except Exception:
            failed()
        return deserialize(self, serialized_objects, object_refs, *rest, **options)

    def submitting(submit, receiver_of):
        def submitted(self, *args, **options):
            result = submit(self, *args, **options)
            try:
                if objects.page.is_ours:
                    objects.submitted(result)
                    references = _references(args, options, ObjectRef)
                    if references:
                        receiver = receiver_of(result)
                        if receiver is not None:
                            objects.passed(references, receiver)
            except Exception:
                failed()
            return result

        return _like(submit, submitted)

    ray._private.worker.Worker.deserialize_objects = _like(deserialize, deserialize_objects)
    RemoteFunction._remote = submitting(RemoteFunction._remote, _task_of)
    ActorHandle._actor_method_call = submitting(ActorHandle._actor_method_call, _task_of)
    ActorClass._remote = submitting(ActorClass._remote, _constructor_of)


def follow_awaits(objects, failed):
    """In an async actor: what a coroutine awaits is read on a thread of Ray's, which then
    completes the future that was made for the coroutine, on the coroutine's thread."""
    from concurrent.futures import Future

    init, set_result = Future.__init__, Future.set_result

    def future_init(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if objects.page.is_ours:
            self.__dict__["_roar_task"] = objects.page.current()

    def future_set_result(self, result):
        try:
            last = objects.awaited.__dict__.pop("last", None)
            number = self.__dict__.get("_roar_task")
            if last and number and objects.page.is_ours and _is_outermost():
                objects.note_for(number, *last)
        except Exception:
            failed()
        return set_result(self, result)

    objects.follows_awaits = True
    Future.__init__ = _like(init, future_init)
    Future.set_result = _like(set_result, future_set_result)


def _is_outermost():
    """Whether the caller was called by Ray's compiled code on a thread of Ray's own."""
    return sys._getframe(1).f_back is None


def _like(original, wrapper):
    """Looks like what it wraps, except in a traceback."""
    import functools

    return functools.wraps(original)(wrapper)


def _references(args, options, ObjectRef):
    """The references among a call's own arguments: what lies deeper stays a reference."""
    positional, named = options.get("args"), options.get("kwargs")
    for argument in args:  # of _remote(args, kwargs) and _actor_method_call(name, args, kwargs)
        if positional is None and isinstance(argument, (list, tuple)):
            positional = argument
        elif named is None and isinstance(argument, dict):
            named = argument
    if not positional and not named:
        return ()
    found = [value for value in positional or () if isinstance(value, ObjectRef)]
    found += [value for value in (named or {}).values() if isinstance(value, ObjectRef)]
    return found


def _task_of(result):
    """Id of the task that was submitted; None where its results do not tell."""
    if isinstance(result, (list, tuple)):
        result = result[0] if result else None
    result = getattr(result, "_generator_ref", result)
    return result.task_id().binary() if hasattr(result, "task_id") else None


def _constructor_of(handle):
    actor_id = getattr(handle, "_actor_id", None)
    return CONSTRUCTOR + actor_id.binary() if actor_id is not None else None
