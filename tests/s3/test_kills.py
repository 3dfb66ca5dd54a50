"""Without roar's helpers, or with hanging ones, a program's transfers end as they would."""

import os
import signal
import time

import pytest
from conftest import BUCKET, ROAR, program
from faulty import Fault
from store import huge

MIDDLE = 50 << 20


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
    return found


def descends(pid, ancestor):
    while pid > 1 and pid != ancestor:
        try:
            with open("/proc/%d/stat" % pid) as stat:
                pid = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("which", ["each", "all"])
def test_transfers_go_on_without_helpers(place, sent, which):
    """The server stops in the middle of a get and of a put until the signal is sent."""
    hit = []

    def meanwhile(faults, send):
        def in_the_middle(process, _):
            assert all(fault.reached.wait(60) for fault in faults)
            if send:
                found = helpers(process)
                hit.extend(found if which == "all" else found[-1:])
                for pid in hit:
                    os.kill(pid, sent)
                time.sleep(0.3)
            for fault in faults:
                fault.go.set()
        return in_the_middle

    command = program("boto.two_large", BUCKET)
    outcomes = []
    try:
        for send, run in ((False, place.run), (True, place.trace)):
            faults = [Fault("hold", method=method, after=MIDDLE, target="huge")
                      for method in ("GET", "PUT")]
            outcomes.append(run(
                command, seeds=("huge",), faults=faults, meanwhile=meanwhile(faults, send)))
    finally:
        for pid in hit:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    untraced, (traced, report) = outcomes
    assert hit, "roar has no helper"
    assert untraced.stdout == "[('get', None), ('put', None)]\n"
    assert untraced.objects["in/huge"]["size"] == len(huge())
    assert traced.visible() == untraced.visible()
    assert not report["coverage"]["complete"]
