"""What a script that uses Ray runs: the workers of a cluster that it joins are started
through the launcher, and once it has connected it notes the objects that it passes to tasks
and gets from them. Everything else about it is seen from outside.

The workers of a Ray that the script itself starts are within its filter, and their Python
finds the shim by the same path as the script's: their job is left as it is, so that Ray's
prestarted workers take its tasks.
"""

import json
import os
import sys

from . import abi
from .objects import Objects, wrap
from .page import Page, sync

LAUNCHER = "roar-worker"
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
OVERRIDE = "RAY_OVERRIDE_JOB_RUNTIME_ENV"
_OURS = os.path.dirname(os.path.dirname(__file__))
_page = None


def follow(ray_worker):
    """Called with the module ``ray._private.worker`` as soon as it is there."""
    launched = _take_launcher()
    connect = ray_worker.connect

    def connected(node, session_name, mode=ray_worker.WORKER_MODE, *args, **kwargs):
        is_script = mode == ray_worker.SCRIPT_MODE
        is_own = node.head and _OURS in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if is_script and launched is not None and not is_own:
            try:
                _join(kwargs["job_config"], launched)
            except Exception:
                pass
        result = connect(node, session_name, mode, *args, **kwargs)
        try:
            if is_script:
                _attach(ray_worker.global_worker)
        except Exception:
            pass
        return result

    merge = ray_worker._merge_runtime_env

    def merged(parent, child, *args, **kwargs):
        try:
            parent, child = reconcile(parent, child)
        except Exception:
            pass
        return merge(parent, child, *args, **kwargs)

    ray_worker.connect = connected
    ray_worker._merge_runtime_env = merged


def follow_context(context):
    """Called with the module ``ray._private.runtime_env.context``, by which a worker with a
    runtime environment is executed: one with a ``PYTHONPATH`` of its own has ours too."""
    execute = context.RuntimeEnvContext.exec_worker

    def exec_worker(self, *args, **kwargs):
        path = self.env_vars.get("PYTHONPATH")
        if path is not None and _OURS not in path.split(os.pathsep):
            self.env_vars["PYTHONPATH"] = _OURS + os.pathsep + path
        return execute(self, *args, **kwargs)

    context.RuntimeEnvContext.exec_worker = exec_worker


def _take_launcher():
    """The runtime environment that `roar run` has put into the environment, for those who
    have no shim; taken out again. None where there is more in it, or nothing."""
    try:
        config = json.loads(os.environ[JOB_CONFIG])
        launched = config["runtime_env"]
        is_ours = (
            os.environ.get(OVERRIDE) == "1"
            and config == {"runtime_env": launched, "metadata": {}}
            and list(launched) == ["py_executable"]
            and LAUNCHER in launched["py_executable"]
        )
    except Exception:
        return None
    if not is_ours:
        return None
    del os.environ[JOB_CONFIG], os.environ[OVERRIDE]
    return launched


def _join(job_config, launched):
    """Has the workers of a cluster started through the launcher."""
    parent, child = reconcile(launched, job_config.runtime_env)
    job_config.set_runtime_env({**parent, **(child or {})})


def reconcile(parent, child):
    """The job's runtime environment, which has the launcher in it, and the script's own, so
    that each gets what it asks for when Ray merges them."""
    launcher = (parent or {}).get("py_executable")
    if not child or not launcher or LAUNCHER not in launcher:
        return parent, child
    parent, child = dict(parent), dict(child)
    if child.keys() & {"image_uri", "container"}:
        # Ray takes no executable beside an image: then the script runs, untraced.
        del parent["py_executable"]
    elif LAUNCHER not in child.get("py_executable", LAUNCHER):
        child["py_executable"] = "%s %s" % (launcher, child["py_executable"])
    if child.get("py_modules") and parent.get("py_modules"):
        # One of the job's may be the launcher.
        child["py_modules"] = [*child["py_modules"], *parent["py_modules"]]
    return parent, child


def _attach(worker):
    global _page
    if _page is None:
        page = _open()
        if page is None:
            return
        objects = Objects(page, lambda: 0)
        wrap(objects, lambda: None)
        page.leave_when_forked(sys.modules[__name__])
        _page = page
    else:
        sync()  # what was noted belongs to the job before this one
    context = {
        "role": "driver",
        "session": worker.node.session_name,
        "job_id": worker.current_job_id.hex(),
    }
    _page.write_context(json.dumps(context).encode())


def _open():
    try:
        fd = os.open(abi.PAGE_PATH, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None  # there is no supervisor
    try:
        return Page(fd)
    finally:
        os.close(fd)
