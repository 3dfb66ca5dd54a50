"""What a script that uses Ray runs once it has connected: notes the objects that it passes
to tasks and gets from them. Everything else about it is seen from outside.
"""

import json
import os

from . import abi
from .objects import Objects, wrap
from .page import Page, sync

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

    ray_worker.connect = connected


def _attach(worker):
    global _page
    if _page is None:
        page = _open()
        if page is None:
            return
        objects = Objects(page, lambda: 0)
        wrap(objects, lambda: _page is not None, lambda: None)
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
    _page = None
