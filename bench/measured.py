"""One run of a command: its wall time, the CPU time of its whole tree, and its peak memory.

Orphans of the tree become children of this process (it is a subreaper), so that whatever
outlives the command, as a guardian does by a moment, is reaped here and its CPU time counted.
"""

import collections
import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
LINGERING_S = 5
POLL_S = 0.002

Run = collections.namedtuple("Run", "cpu wall")
Peaks = collections.namedtuple("Peaks", "supervisor launcher")


class Failed(Exception):
    """The command did not do what it was run for."""


def become_subreaper():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/%d/task" % pid):
            with contextlib.suppress(OSError), open(
                    "/proc/%d/task/%s/children" % (pid, task)) as listed:
                found += map(int, listed.read().split())
    return found


def descendants(pid):
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def kill_tree():
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reap_rest(deadline):
    """Waits for what outlived the command. What does not end is ended, its CPU counted."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() > deadline:
                kill_tree()
            time.sleep(POLL_S)


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command, env, cwd, patience, output=subprocess.DEVNULL):
    """Runs it. Raises `Failed` when it fails or takes longer than `patience` seconds."""
    before = children_cpu()
    expired = threading.Event()

    def expire():
        expired.set()
        kill_tree()

    alarm = threading.Timer(patience, expire)
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
        stderr=subprocess.DEVNULL)
    alarm.start()
    status = process.wait()
    wall = time.monotonic() - began
    alarm.cancel()
    reap_rest(time.monotonic() + LINGERING_S)
    if expired.is_set():
        raise Failed("> %d s" % patience)
    if status != 0:
        raise Failed("exit %d" % status)
    return Run(children_cpu() - before, wall)


def high_water(pid):
    with open("/proc/%d/status" % pid) as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def peaks(command, env, cwd):
    """Peak memory of `roar trace …` and of the processes of its own that it forks, in bytes.

    VmHWM only grows, so the last look before the end is the peak, but for what was added
    within a look.
    """
    process = subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    executable = os.path.realpath(command[0])
    supervisor = launcher = 0
    while process.poll() is None:
        with contextlib.suppress(OSError):
            launcher = max(launcher, high_water(process.pid))
        for pid in children(process.pid):
            with contextlib.suppress(OSError):
                if os.readlink("/proc/%d/exe" % pid) == executable:
                    supervisor = max(supervisor, high_water(pid))
        time.sleep(POLL_S)
    reap_rest(time.monotonic() + LINGERING_S)
    return Peaks(supervisor, launcher)
