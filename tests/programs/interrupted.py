"""Changes names, connects and forks while a timer interrupts, and no call is restarted: prints
which calls failed."""

import collections
import os
import signal
import socket
import sys

failed = collections.Counter()


def tried(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        failed[f"{call.__name__}: {error.strerror}"] += 1


signal.signal(signal.SIGALRM, lambda *_: None)
server = socket.create_server(("127.0.0.1", 0))
server.setblocking(False)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for index in range(int(sys.argv[1])):
    open("a", "w").close()
    tried(os.link, "a", "b")
    tried(os.replace, "a", "c")
    tried(os.truncate, "c", 0)
    tried(os.unlink, "b")
    os.makedirs("d", exist_ok=True)
    tried(os.rmdir, "d")
    with socket.socket() as client:
        tried(client.connect, server.getsockname())
        tried(client.getpeername)
        tried(server.accept)
    if index % 10 == 0:
        child = tried(os.fork)
        if child == 0:
            os._exit(0)
        if child:
            os.waitpid(child, 0)
signal.setitimer(signal.ITIMER_REAL, 0)
print(dict(failed))
