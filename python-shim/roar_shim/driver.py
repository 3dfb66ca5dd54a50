"""What a script that uses Ray runs: its own runtime environment is reconciled with the
launcher, and once it has connected it notes the objects that it passes to tasks and gets
from them. Everything else about it is seen from outside.
"""

import json
import os

from . import abi
from .objects import Objects, wrap
from .page import Page, sync

LAUNCHER = "roar-worker"
_page = None


def follow(ray_worker):
    """Called with the module ``ray._private.worker`` as soon as it is there."""
    connect = ray_worker.connect

    def connected(*args, **kwargs):
        result = connect(*args, **kwargs)
        try:
            if ray_worker.global_worker.mode == ray_worker.SCRIPT_MODE:
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
        os.register_at_fork(after_in_child=_forget)
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


def _forget():
    """In a forked child: the page is the parent's."""
    global _page
    if _page is not None:
        _page.leave()
        _page = None
