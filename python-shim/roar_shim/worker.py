"""What a Ray worker runs before its first task.

``install`` is the worker's setup hook. It maps the attribution page, wraps the few
Python names that Ray's compiled ``execute_task`` looks up while it runs a task, and then
runs the user's own setup hook exactly as Ray would have. Without a supervisor it does
only the last of these. No failure in here reaches the worker: at worst Python is left
as it was and tasks are unattributed.

The names (Ray 2.54 to 2.60):

* ``ray._private.worker._changeproctitle`` is a context manager around the whole of a
  task on its thread: arguments, body (of dynamic generators too), return values.
* ``ray._private.utils.format_error_message`` is called, with the exception in flight,
  exactly when a task's error is stored, also for an attempt that will be retried.
  ``sys.exc_info()`` within ``record_task_log_end`` shows nothing.
* A task's function is unpickled, and what it needs imported, before that: on the main
  thread, once for each function, by the methods ``LOADS`` of ``FunctionActorManager``.
* ``Worker.record_task_log_end`` and ``ray._raylet.async_task_id`` tell the methods of an
  async actor apart, which interleave on two threads.
"""

import contextlib
import functools
import json
import os
import sys
from threading import get_ident

from . import abi, coroutines, objects, processes, queues, threads
from .page import Page, sync

HOOK_VARIABLE = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
CHAIN_VARIABLE = "ROAR_CHAIN_HOOK"
HOOK = __name__ + ".install"
LOADS = (
    "fetch_and_register_remote_function", "_load_function_from_local",
    "_load_actor_class_from_gcs", "_load_actor_class_from_local",
)
SUPERVISOR_MODULE = "ray.dashboard.modules.job.job_supervisor."
SUPERVISOR_NAME = "_ray_internal_job_actor_"

_page = None  # None: no supervisor, or this is a forked child
_logged = False


def name_hook():
    """Has Ray call ``install``, which calls what it would have called."""
    own = os.environ.get(HOOK_VARIABLE)
    if own == HOOK or CHAIN_VARIABLE in os.environ:
        return  # it has been named already
    if own:
        os.environ[CHAIN_VARIABLE] = own
    os.environ[HOOK_VARIABLE] = HOOK


def install():
    """Ray's worker setup hook."""
    # What a process started by a task inherits is what it would have without us.
    chain = os.environ.pop(CHAIN_VARIABLE, None)
    os.environ.pop(HOOK_VARIABLE, None)
    if chain:
        os.environ[HOOK_VARIABLE] = chain
    try:
        fd = os.open(abi.PAGE_PATH, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        fd = -1
    if fd >= 0:
        attach(fd)
    if chain:
        from ray._private.runtime_env.setup_hook import load_and_execute_setup_hook
        from ray._private.worker import global_worker

        error = load_and_execute_setup_hook(chain)
        if error is not None:
            global_worker.core_worker.drain_and_exit_worker("system", error)


def attach(fd):
    """Maps the page behind a descriptor, closes that, and starts to attribute."""
    global _page
    page = None
    try:
        try:
            page = Page(fd)
        finally:
            os.close(fd)
        import ray._private.utils
        import ray._private.worker

        hooks = _Hooks(page, ray._private.worker)
        hooks.write_context()
        page.leave_when_forked(sys.modules[__name__])
        threads.follow(page, processes.follow(page, _failed))
        coroutines.follow_loops(page)
        queues.follow(page, _failed)
        _page = page
        hooks.wrap(ray._private.worker, ray._private.utils)
        objects.wrap(hooks.objects, _failed)
    except Exception:
        _page = None
        if page is not None:
            page.is_ours = False
        _failed()


def _failed():
    """Notes the first failure, where one was asked for."""
    global _logged
    path = os.environ.get("ROAR_SHIM_LOG")
    if not _logged and path:
        _logged = True
        try:
            import traceback

            with open(path, "a") as log:
                log.write("pid %d: %s" % (os.getpid(), traceback.format_exc()))
        except Exception:
            pass


class _Titles:
    """What Ray's context manager does, where that is known, without a generator: what is
    saved by it is about what a window costs."""

    __slots__ = ("set_title", "title", "next_title")
    NAMES = ("_mode", "LOCAL_MODE", "ray", "_raylet", "setproctitle")

    def __init__(self, set_title, title, next_title):
        self.set_title = set_title
        self.title = title
        self.next_title = next_title

    def __enter__(self):
        self.set_title(self.title)

    def __exit__(self, kind, error, trace):
        self.set_title(self.next_title)


class _Window:
    """The context manager around one task; lets Ray's own do its work inside."""

    __slots__ = ("hooks", "inner", "number", "key", "loads", "error")

    def __init__(self, hooks, inner):
        self.hooks = hooks
        self.inner = inner
        self.number = None  # None: not entered
        self.key = None  # task id
        self.loads = None  # the attempt, while only its function is loaded
        self.error = None  # class name of the exception that the task ended with

    def __enter__(self):
        try:
            self.hooks.begin(self)
        except Exception:
            _failed()
        except BaseException:  # a cancelled task: Ray never reaches __exit__
            self.hooks.end(self)
            raise
        return self.inner.__enter__()

    def __exit__(self, kind, error, trace):
        try:
            return self.inner.__exit__(kind, error, trace)
        finally:
            try:
                # SystemExit(0) is how an actor leaves, and a worker after max_calls.
                if kind is not None and self.error is None:
                    if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                        self.error = kind.__name__
                self.hooks.end(self)
            except Exception:
                _failed()


class _Hooks:
    def __init__(self, page, ray_worker):
        self.page = page
        self.thread = get_ident()
        self.worker = ray_worker.global_worker
        self.core = self.worker.core_worker
        self.functions = {}  # qualified name -> reference
        self.is_supervisor = False  # of a job: its one task lives as long as its process
        self.is_asyncio = False
        self.windows = {}  # of async actors: task id -> window
        self.objects = objects.Objects(page, page.at_work)

    def wrap(self, ray_worker, ray_utils):
        change_title = ray_worker._changeproctitle
        known = getattr(change_title, "__wrapped__", None)
        if getattr(getattr(known, "__code__", None), "co_names", None) == _Titles.NAMES:
            change_title = functools.partial(_Titles, ray_worker.ray._raylet.setproctitle)
        format_error = ray_utils.format_error_message

        def _changeproctitle(title, next_title):
            inner = change_title(title, next_title)
            return inner if _page is None else _Window(self, inner)

        def format_error_message(*args, **kwargs):
            if _page is not None:
                self.note_error()
            return format_error(*args, **kwargs)

        functions = self.worker.function_actor_manager
        for name in LOADS:
            setattr(functions, name, functools.partial(self.load, getattr(functions, name)))
        ray_worker._changeproctitle = _changeproctitle
        ray_utils.format_error_message = format_error_message

    # One task

    def load(self, load, *args, **kwargs):
        """Loads the function of the task that begins next on this thread."""
        if _page is None or get_ident() != self.thread:
            return load(*args, **kwargs)
        page = self.page
        before, task_id = page.local.window, self.core.get_current_task_id().binary()
        if before is not None and before.key == task_id:
            return load(*args, **kwargs)  # for a handle, in the midst of a task
        window = _Window(self, contextlib.nullcontext())
        window.__enter__()
        try:
            window.loads = self.core.get_current_task_attempt_number()
            return load(*args, **kwargs)
        except BaseException as error:
            window.__exit__(type(error), error, None)
            raise
        finally:
            # The loop's thread of an async actor starts now, and is nobody's.
            page.work_for(0)

    def begin(self, window):
        core, page = self.core, self.page
        task_id = core.get_current_task_id().binary()
        name = core.get_current_task_function_name()
        func = self.functions.get(name)
        if func is None:
            if self.is_supervisor:
                return
            func, detail = self.first(name, task_id)
            if self.is_supervisor:
                page.begin(task_id, core.get_current_task_attempt_number(), func, detail)
                return
        local = page.local
        attempt = core.get_current_task_attempt_number()
        before, number = local.window, None
        if before is not None:
            if before.key == task_id and before.loads == attempt:
                number, before.number = before.number, None
            elif before.loads is not None or not self.is_asyncio:
                self.end(before)  # its end was lost to a cancellation
        window.key = task_id
        if self.is_asyncio:
            self.windows[task_id] = window
        local.window = window
        window.number = page.begin(task_id, attempt, func) if number is None else number
        word = local.word or page.own_word()
        if word:
            page.words[word] = window.number or abi.MANY

    def first(self, name, task_id):
        """The first task with this function: references to the name, and to what is told
        beside it."""
        if not self.functions:
            self.write_context(is_first_task=True)
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        if text.startswith(SUPERVISOR_MODULE):
            # The processes that it starts are drivers.
            actor = self.core.get_actor_name() or ""
            actor = actor.decode() if isinstance(actor, bytes) else actor
            if actor.startswith(SUPERVISOR_NAME):
                actor = actor[len(SUPERVISOR_NAME) :]
            self.is_supervisor = True
            return self.page.intern(text), self.page.intern(actor)
        if task_id.startswith(objects.CONSTRUCTOR) and self.core.current_actor_is_asyncio():
            self.is_asyncio = True
            coroutines.follow(self.page, self.windows)
            objects.follow_awaits(self.objects, _failed)
        self.functions[name] = func = self.page.intern(text)
        return func, 0

    def end(self, window):
        number = window.number
        if number is None or _page is None:
            return
        window.number = None
        page = self.page
        if window.error is None:
            dirty = page.end(number, abi.COMPLETED)
        else:
            dirty = page.end(number, abi.FAILED, page.intern(window.error))
        local = page.local
        word = local.word
        if word:
            page.words[word] = 0
        if local.window is window:
            local.window = None
        if self.is_asyncio and self.windows.get(window.key) is window:
            del self.windows[window.key]
        if dirty:
            sync()

    def note_error(self):
        try:
            import sys

            window = self.page.local.window
            kind = sys.exc_info()[0]
            if window is not None and window.error is None:
                window.error = kind.__name__ if kind is not None else "Exception"
        except Exception:
            _failed()

    def write_context(self, is_first_task=False):
        """Says which worker this is; again at the first task, when its job is known."""
        worker = self.worker
        values = {
            "job_id": lambda: self.core.get_current_job_id().hex(),
            "node_id": lambda: worker.current_node_id.hex(),
            "worker_id": lambda: worker.worker_id.hex(),
            "session": lambda: worker.node.session_name,
        }
        if is_first_task:
            # Not before: Ray keeps its first answer for good, and a prestarted worker has
            # no job's configuration.
            values["namespace"] = lambda: worker.namespace
            config = self.core.get_job_config()
            values["submission_id"] = lambda: config.metadata["job_submission_id"]
        context = {"role": "worker"}
        for key, value in values.items():
            try:
                found = value()
            except Exception:
                continue
            if isinstance(found, str) and found:
                context[key] = found
        self.page.write_context(json.dumps(context).encode())
