"""An actor's calls use one connection, in one of them unwatched: `python away.py BUCKET`."""

import os
import re
import signal
import sys

import ray
from clients import arrow


def supervisor_of(worker):
    """Of the processes with a log the one that has a pidfd of a worker."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        below = "/proc/%s/" % pid
        try:
            fds = os.listdir(below + "fd")
            has_log = any(os.readlink(below + "fd/" + fd).endswith(".roarlog") for fd in fds)
            told = [open(below + "fdinfo/" + fd).read() for fd in fds] if has_log else []
        except OSError:
            continue
        if any(re.search(r"^Pid:\s+%d$" % worker, text, re.M) for text in told):
            return int(pid)
    raise AssertionError("nobody watches %d" % worker)


@ray.remote
class Writer:
    def __init__(self, bucket):
        self.filesystem, self.bucket = arrow("s3://" + bucket)

    def put(self, key):
        with self.filesystem.open_output_stream("%s/%s" % (self.bucket, key)) as opened:
            opened.write(key.encode())
        return os.getpid()


def main(bucket):
    ray.init(log_to_driver=False)
    writer = Writer.remote(bucket)
    supervisor = supervisor_of(ray.get(writer.put.remote("before")))
    os.kill(supervisor, signal.SIGSTOP)
    try:
        ray.get([writer.put.remote("meanwhile"), writer.put.remote("again")])
    finally:
        os.kill(supervisor, signal.SIGCONT)
    ray.get(writer.put.remote("after"))
    print("done")
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
