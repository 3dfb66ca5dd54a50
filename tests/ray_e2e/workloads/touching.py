"""What the workloads of `test_kinds.py` do: read `in/NAME`, write `out/NAME`."""

import os
import sys
import time

DATA = os.environ.get("KINDS_DATA", "")


def touch(name, data=DATA):
    with open(os.path.join(data, "in", name)) as source:
        text = source.read()
    with open(os.path.join(data, "out", name), "w") as target:
        target.write(text)


def path(name, data=DATA):
    return os.path.join(data, name)


def first(name, data=DATA):
    """Whether nobody has asked this before."""
    try:
        os.close(os.open(os.path.join(data, "asked", name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def wait_for(name, seconds=30, data=DATA):
    """Waits until somebody has written `out/NAME` whole."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.stat(os.path.join(data, "out", name)).st_size:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(name)


def touch_around(before, wanted, after):
    """Touches one, and the other when somebody has written a third."""
    touch(before)
    wait_for(wanted)
    touch(after)


def touch_and_fail(name):
    touch(name)
    raise ImportError(name)


class AsLoaded:
    """Works where it is unpickled, as a module does that is imported for what needs it."""

    def __init__(self, name, work=touch):
        self.name, self.work = name, work

    def __reduce__(self):
        return self.work, (self.name,)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        touch(name)
