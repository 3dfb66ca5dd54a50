"""A reverse proxy that records the requests that pass through it, and makes faults.

    with Proxy(upstream_port) as proxy:  # or Proxy(upstream_port, tls=context)
        proxy.faults.append(Fault("status", method="GET", times=2, code="SlowDown"))

Requests are forwarded byte by byte as they came, `Host` included, so that signatures hold.
What is in `proxy.requests` is what the server was asked and what it answered: the truth
that records are compared with.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

BLOCK = 1 << 18
MESSAGES = {
    "SlowDown": (503, "Please reduce your request rate."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "ExpiredToken": (403, "The provided token has expired."),
}


@dataclass
class Fault:
    """What happens to the first `times` requests that match.

    `kind`: `status` answers with the error `code`; `reset` and `truncate` end the connection
    after `after` bytes of the body (the answer's; of a PUT with `reset`, the request's);
    `delay` holds the request back for `seconds`; `hold` stops in the body after `after`
    bytes until `go` is set; `close` closes the connection after an answer that promised
    nothing of it.
    """

    kind: str
    method: str = ""
    target: str = ""
    times: int = 1
    code: str = "SlowDown"
    after: int = 0
    seconds: float = 0
    used: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def matches(self, head):
        return (self.used < self.times and self.method in ("", head.method)
                and re.search(self.target, head.target))


class Head:
    """The first line and the headers of a message, as they came."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0].split(" ", 2)
        pairs = [line.partition(":") for line in lines[1:] if line]
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def method(self):
        return self.first[0]

    @property
    def target(self):
        return self.first[1]

    @property
    def status(self):
        return int(self.first[1])


class Ended(Exception):
    """One of the two sides closed, or a fault closed it."""


class Side:
    """A connection that is read by messages."""

    def __init__(self, opened):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = opened
        self.kept = b""

    def more(self):
        try:
            block = self.socket.recv(BLOCK)
        except OSError:
            block = b""
        if not block:
            raise Ended
        return block

    def head(self):
        while b"\r\n\r\n" not in self.kept:
            self.kept += self.more()
        raw, _, self.kept = self.kept.partition(b"\r\n\r\n")
        return Head(raw + b"\r\n\r\n")

    def exactly(self, count):
        """Blocks of as many bytes."""
        while count:
            block, self.kept = (self.kept or self.more()), b""
            block, self.kept = block[:count], block[count:]
            count -= len(block)
            yield block

    def line(self):
        while b"\r\n" not in self.kept:
            self.kept += self.more()
        line, _, self.kept = self.kept.partition(b"\r\n")
        return line + b"\r\n"

    def chunked(self):
        while True:
            line = self.line()
            yield line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            yield from self.exactly(size + 2)
        while line != b"\r\n":
            line = self.line()
            yield line

    def until_closed(self):
        while True:
            block, self.kept = self.kept, b""
            try:
                yield block or self.more()
            except Ended:
                return

    def body(self, head, is_answer=False):
        if "chunked" in head.headers.get("transfer-encoding", ""):
            return self.chunked()
        if "content-length" in head.headers:
            return self.exactly(int(head.headers["content-length"]))
        return self.until_closed() if is_answer else iter(())

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            raise Ended from None

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        raise Ended

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def error(code):
    status, message = MESSAGES[code]
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>%s</Message>'
        "<RequestId>0</RequestId></Error>" % (code, message)
    )
    return (
        "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"
        % (status, code, len(text), text)
    ).encode()


class Proxy:
    def __init__(self, upstream, host="127.0.0.1", tls=None):
        self.tls = tls
        self.upstream = ("127.0.0.1", upstream)
        self.host = host
        self.port = 0
        self.faults = []
        self.requests = []
        self.lock = threading.Lock()
        self.open = set()
        self.listen()

    @property
    def url(self):
        return "%s://%s:%d" % ("https" if self.tls else "http", self.host, self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.refuse()

    def listen(self):
        """Begins, or begins again after `refuse`, at the same address."""
        self.listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def refuse(self):
        """The server is away: no new connections, and the old ones end."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            sides, self.open = self.open, set()
        for side in sides:
            side.close()

    def accept(self, listener):
        while True:
            try:
                opened, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(opened,), daemon=True).start()

    def serve(self, opened):
        if self.tls:
            try:
                opened = self.tls.wrap_socket(opened, server_side=True)
            except OSError:
                return opened.close()
        client = Side(opened)
        try:
            server = Side(socket.create_connection(self.upstream))
        except OSError:
            return client.close()
        with self.lock:
            self.open |= {client, server}
        try:
            while self.exchange(client, server):
                pass
        except (Ended, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open -= {client, server}
            client.close()
            server.close()

    def fault(self, head):
        with self.lock:
            for fault in self.faults:
                if fault.matches(head):
                    fault.used += 1
                    return fault
        return Fault("none")

    def exchange(self, client, server):
        """One request and its answer; whether the connection goes on."""
        head = client.head()
        fault = self.fault(head)
        kind = fault.kind
        if kind == "delay":
            time.sleep(fault.seconds)
        if kind == "status":
            if "expect" in head.headers:
                client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            for _ in client.body(head):
                pass
            answer = error(fault.code)
            self.record(head, Head(answer.partition(b"\r\n\r\n")[0]))
            client.send(answer)
            return True
        server.send(head.raw)
        if "100-continue" in head.headers.get("expect", "").lower():
            answer = server.head()
            client.send(answer.raw)
            if answer.status != 100:
                self.relay(client, server, head, answer, fault)
                return False
        seen, body = 0, b""
        of_request = kind in ("reset", "hold") and head.method in ("PUT", "POST")
        for block in client.body(head):
            seen += len(block)
            if of_request and seen >= fault.after:
                self.strike(fault, client)
            if head.method == "POST":
                body += block
            server.send(block)
        answer = server.head()
        while 100 <= answer.status < 200:
            client.send(answer.raw)
            answer = server.head()
        client.send(answer.raw)
        self.relay(client, server, head, answer, Fault("none") if of_request else fault, body)
        return (kind != "close" and "close" not in head.headers.get("connection", "").lower()
                and "close" not in answer.headers.get("connection", "").lower())

    def strike(self, fault, client):
        if fault.kind == "reset":
            client.reset()
        if fault.kind == "truncate":
            raise Ended
        if fault.kind == "hold":
            fault.reached.set()
            fault.go.wait(60)

    def relay(self, client, server, head, answer, fault, body=b""):
        """The answer's body."""
        request = self.record(head, answer, body)
        if head.method == "HEAD" or answer.status in (204, 304):
            return
        for block in server.body(answer, is_answer=True):
            if fault.kind in ("reset", "truncate", "hold") and request["bytes"] + len(block) >= fault.after:
                before = max(0, fault.after - request["bytes"])
                client.send(block[:before])
                request["bytes"] += before
                self.strike(fault, client)
                fault, block = Fault("none"), block[before:]
            request["bytes"] += len(block)
            client.send(block)
        if not {"content-length", "transfer-encoding"} & answer.headers.keys():
            raise Ended

    def record(self, head, answer, body=b""):
        """`bytes` counts the answer's body as it goes on, with the framing of chunks."""
        request = {
            "method": head.method, "target": head.target, "headers": head.headers,
            "status": answer.status, "answer": answer.headers, "body": body,
            "bytes": 0,
        }
        with self.lock:
            self.requests.append(request)
        return request
