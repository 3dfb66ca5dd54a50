"""The page in a forked child."""

import os
import subprocess
import sys

SHIM = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "python-shim")
SCRIPT = """
import logging, os, random, signal, struct, sys, tempfile, threading
from functools import partial
from types import SimpleNamespace

sys.path.insert(0, sys.argv[1])
from roar_shim import abi
from roar_shim.page import Page

if "signal" in sys.argv:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(7))
    # It comes while the sum is made, in which nothing looks for signals.
    os.register_at_fork(after_in_child=partial(signal.setitimer, signal.ITIMER_REAL, 1e-3))
    os.register_at_fork(after_in_child=partial(sum, range(5_000_000)))
with tempfile.TemporaryFile() as file:
    file.truncate(abi.PAGE_SIZE)
    os.pwrite(file.fileno(), struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
    page = Page(file.fileno())
module = SimpleNamespace(_page=page)
page.leave_when_forked(module)
slot = page.own_word()
page.work_for(5)
pid = os.fork()
if pid == 0:
    assert module._page is None and not page.is_ours and page.current() == 0
    page.work_for(6)
    os._exit(0)
status = os.waitpid(pid, 0)[1]
assert module._page is page and page.is_ours and page.words[slot] == 5
sys.exit(os.waitstatus_to_exitcode(status))
"""


def forked(*arguments):
    command = [sys.executable, "-c", SCRIPT, SHIM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_forked_child_leaves_the_page_to_its_parent():
    done = forked()
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_signals_handler_raises_in_a_forked_child_is_not_ignored():
    done = forked("signal")
    assert (done.returncode, done.stderr) == (7, "")
