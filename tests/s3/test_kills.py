"""Without roar's helpers, or with hanging ones, a program's transfers end as they would."""

import contextlib
import os
import signal
import time

import pytest
from conftest import BUCKET, PYTHON, ROAR, program
from faulty import Fault
from store import huge

MIDDLE = 50 << 20
# In the order in which they are started.
HELPERS = ["supervisor", "guardian", "relay", "standby"]


def helpers(launcher):
    """roar's processes below the launcher, or left behind by it, but not itself."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            exe = os.readlink("/proc/%d/exe" % pid)
            session = os.getsid(pid)
            with open("/proc/%d/cmdline" % pid, "rb") as opened:
                command = opened.read()
        except OSError:
            continue
        is_ours = session == launcher.pid or descends(pid, launcher.pid)
        named = os.path.basename(exe).startswith("roar") or command.startswith(ROAR.encode())
        if pid != launcher.pid and is_ours and named:
            found.append(pid)
    return sorted(found)


def stat(pid):
    """State, parent and so on; None when it is gone."""
    try:
        with open("/proc/%d/stat" % pid) as opened:
            return opened.read().rpartition(")")[2].split()
    except OSError:
        return None


def descends(pid, ancestor):
    while pid > 1 and pid != ancestor:
        fields = stat(pid)
        if fields is None:
            return False
        pid = int(fields[1])
    return pid == ancestor


def program_of(launcher):
    """The process that runs the workload."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if descends(pid, launcher.pid):
            with open("/proc/%d/cmdline" % pid, "rb") as opened:
                words = opened.read().split(b"\0")
            if words[0] == PYTHON.encode():
                return pid
    raise AssertionError("the program does not run")


def send_all(sent, pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)


def wait_for_the_end_of(pid):
    end = time.monotonic() + 60
    while (stat(pid) or "Z")[0] != "Z":
        assert time.monotonic() < end, "the program hangs with its helpers"
        time.sleep(0.1)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("which", HELPERS)
def test_transfers_go_on_without_a_helper(place, sent, which):
    """The server stops in the middle of a get and of a put until the signal is sent."""
    hit = []

    def meanwhile(faults, send):
        def in_the_middle(process, _):
            assert all(fault.reached.wait(60) for fault in faults)
            if send:
                found = helpers(process)
                assert len(found) == len(HELPERS)
                hit.append(found[HELPERS.index(which)])
                send_all(sent, hit)
                time.sleep(0.3)
            for fault in faults:
                fault.go.set()
            if send and sent == signal.SIGSTOP:
                wait_for_the_end_of(program_of(process))
                send_all(signal.SIGCONT, hit)
        return in_the_middle

    command = program("boto.two_large", BUCKET)
    outcomes = []
    try:
        for send, run in ((False, place.run), (True, place.trace)):
            faults = [Fault("hold", method=method, after=MIDDLE, target="huge")
                      for method in ("GET", "PUT")]
            outcomes.append(run(
                command, seeds=("small", "huge"), faults=faults, meanwhile=meanwhile(faults, send)))
    finally:
        send_all(signal.SIGKILL, hit)
    untraced, (traced, report) = outcomes
    assert hit, "roar has no helper"
    assert untraced.stdout == "[('get', None), ('put', None)]\n"
    assert untraced.objects["in/huge"]["size"] == len(huge())
    assert traced.visible() == untraced.visible()
    (task,) = report["tasks"]
    if sent == signal.SIGKILL:
        assert report["coverage"]["complete"] == (which in ("guardian", "standby"))
    assert "s3://data/in/small" in {file["path"] for file in task["reads"]}
