"""Answers of stores that say little of themselves: what is not certain is not recorded."""

import contextlib
import socket
import threading
import time

from blake3 import blake3
from conftest import PYTHON, ROAR, document, environment, run
from faulty import Ended, Side

CONTENT = bytes(n % 251 for n in range(300_000))


class Scripted:
    """A store whose answers a test writes: it is called with each head and the connection."""

    def __init__(self, answer, tls=None):
        self.answer, self.tls = answer, tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        scheme = "https" if self.tls else "http"
        return "%s://127.0.0.1:%d" % (scheme, self.listener.getsockname()[1])

    def accept(self):
        while True:
            opened, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(opened,), daemon=True).start()

    def serve(self, opened):
        with contextlib.suppress(Ended, OSError):
            if self.tls:
                opened = self.tls.wrap_socket(opened, server_side=True)
            side = Side(opened)
            while True:
                self.answer(side.head(), side)


def traced(script, answer, cwd):
    """The objects that a script of Python's reads from such a store, by key, and the report."""
    server = Scripted(answer)
    command = (ROAR, "trace", "-q", "--json", "report.json", "--", PYTHON, "-c", script, server.url)
    done = run(*command, cwd=str(cwd), env=environment(server.url))
    assert done.returncode == 0, done.stderr
    report = document((cwd / "report.json").read_text())
    (task,) = report["tasks"]
    reads = [file for file in task["reads"] if file["path"].startswith("s3://data/")]
    return {file["path"].split("/", 3)[3]: file for file in reads}, report


GET = """
import http.client, sys
def get(key, most=None, **fields):
    connection = http.client.HTTPConnection(sys.argv[1].partition("://")[2])
    connection.request("GET", "/data/" + key, headers=fields)
    try:
        return connection.getresponse().read(most)
    except ConnectionError:
        pass
    finally:
        connection.close()
"""


def until_closed(head, side):
    """Answers that end where the connection does."""
    side.send(b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nConnection: close\r\n\r\n')
    if "reset" in head.target:
        side.send(CONTENT[:1000])
        time.sleep(0.2)
        side.reset()
    if "slow" in head.target:
        for begin in range(0, len(CONTENT), 10_000):
            side.send(CONTENT[begin:begin + 10_000])
            time.sleep(0.02)
    else:
        side.send(CONTENT)
    side.close()
    raise Ended


def test_what_ends_with_its_connection_is_whole_where_the_store_ended_it(tmp_path):
    script = GET + "get('slow', 20_000); get('reset'); get('whole')"
    reads, _ = traced(script, until_closed, tmp_path)
    assert set(reads) == {"whole", "reset", "slow"}
    assert (reads["whole"]["state"], reads["whole"]["digest"]) == (
        "exact", "blake3:" + blake3(CONTENT).hexdigest())
    for key in ("reset", "slow"):
        assert (reads[key]["digest"], reads[key]["size"]) == (None, None)


def test_what_ends_with_its_connection_is_known_before_its_client_ends(tmp_path):
    server = Scripted(until_closed)
    command = (ROAR, "trace", "-q", "--json", "report.json", "--",
               "curl", "-s", "-o", "got", server.url + "/data/whole")
    for _ in range(10):
        run(*command, cwd=str(tmp_path), env=environment(server.url))
        (task,) = document((tmp_path / "report.json").read_text())["tasks"]
        (read,) = (file for file in task["reads"] if file["path"].startswith("s3://"))
        assert read["digest"] == "blake3:" + blake3(CONTENT).hexdigest()


def test_a_weak_etag_joins_no_ranges(tmp_path):
    """Two versions have it: the first half is of one and the second of the other."""
    contents = [b"A" * 4096, b"B" * 4096]

    def answer(head, side):
        first, last = map(int, head.headers["range"].partition("=")[2].split("-"))
        part = contents[first > 0][first:last + 1]
        quoted = b'"5f"' if "strong" in head.target else b'W/"5f"'
        side.send(b"HTTP/1.1 206 Partial Content\r\nETag: %s\r\nContent-Range: bytes %d-%d/4096\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (quoted, first, last, len(part), part))

    script = GET + """
for key in "weak", "strong":
    get(key, range="bytes=0-2047")
    get(key, range="bytes=2048-4095")
"""
    reads, _ = traced(script, answer, tmp_path)
    assert (reads["weak"]["digest"], reads["weak"].get("etag")) == (None, None)
    assert reads["strong"]["etag"] == "5f" and reads["strong"]["digest"]


def test_a_store_passes_over_parameters_that_it_does_not_know(tmp_path):
    def answer(head, side):
        side.send(b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 3\r\n\r\nabc")

    reads, _ = traced(GET + "get('known?tagging'); get('unknown?cachebust=1')", answer, tmp_path)
    assert {key: read["digest"] for key, read in reads.items()} == {
        "unknown": "blake3:" + blake3(b"abc").hexdigest()}


def test_what_is_no_store_is_no_gap(place):
    """A program with a client of S3 talks for a while to something else."""
    script = """
import boto3, os, socket, threading, time
boto3.client("s3", endpoint_url="http://127.0.0.1:1")
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    opened, _ = listener.accept()
    for _ in range(20):
        opened.sendall(os.urandom(200_000))
        time.sleep(0.1)
    opened.close()
threading.Thread(target=serve, daemon=True).start()
with socket.create_connection(listener.getsockname()) as connection:
    while connection.recv(1 << 16):
        pass
"""
    _, report = place.trace([PYTHON, "-c", script])
    assert report["coverage"]["gaps"] == []


def test_an_answer_that_is_under_way_when_its_client_ends_is_a_gap(tmp_path):
    def answer(head, side):
        side.send(b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 300000\r\n\r\n")
        side.send(CONTENT[:20_000])
        time.sleep(2)

    reads, report = traced(GET + "get('slow', 20_000)", answer, tmp_path)
    gaps = {gap["kind"] for gap in report["coverage"]["gaps"]}
    assert reads or "s3_uncaptured" in gaps


def test_a_range_has_no_checksum_of_the_object(tmp_path):
    """A store gives that of a part, where a range is one."""
    def answer(head, side):
        is_range = "range" in head.headers
        line = b"206 Partial Content\r\nContent-Range: bytes 0-2/300" if is_range else b"200 OK"
        side.send(b"HTTP/1.1 %s\r\nETag: \"e\"\r\nx-amz-checksum-crc32: AAAA\r\n"
                  b"Content-Length: 3\r\n\r\nabc" % line)

    reads, _ = traced(GET + "get('whole'); get('part', range='bytes=0-2')", answer, tmp_path)
    assert reads["whole"]["checksums"] == {"crc32": "AAAA"}
    assert "checksums" not in reads["part"]


def test_a_part_that_is_copied_from_a_range_reads_that(tmp_path):
    def answer(head, side):
        text = b"<CopyPartResult><ETag>e</ETag></CopyPartResult>"
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    script = """
import boto3, http.client, sys
asked = {"Bucket": "data", "Key": "k", "UploadId": "u", "CopySource": "data/told"}
boto3.client("s3").upload_part_copy(**asked, PartNumber=1, CopySourceRange="bytes=0-9")
connection = http.client.HTTPConnection(sys.argv[1].partition("://")[2])
connection.request("PUT", "/data/k?partNumber=2&uploadId=u", headers={
    "x-amz-copy-source": "data/seen", "x-amz-copy-source-range": "bytes=10-19"})
connection.getresponse().read()
"""
    reads, _ = traced(script, answer, tmp_path)
    assert {key: read["ranges"] for key, read in reads.items()} == {
        "told": [[0, 9]], "seen": [[10, 19]]}
