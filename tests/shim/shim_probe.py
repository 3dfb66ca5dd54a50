"""Setup hook of the tests: gives each worker a page that the test can read as a file."""

import os
import struct

from roar_shim import abi, worker


def install():
    path = os.path.join(os.environ["ROAR_TEST_DIR"], "page-%d" % os.getpid())
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, abi.PAGE_SIZE)
    os.pwrite(fd, struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
    worker.attach(fd)
    # Without a supervisor, opening PAGE_PATH fails; what is left of install() is chaining.
    worker.install()


def user_hook():
    with open(os.path.join(os.environ["ROAR_TEST_DIR"], "chained-%d" % os.getpid()), "w"):
        pass
