"""Requests as few clients make them, and answers that nobody can read."""

import gzip
import time

import pytest
from blake3 import blake3
from conftest import PYTHON, ROAR, Place, document, environment, run
from faulty import Ended
from test_answers import Scripted

UNCAPTURED = "s3_uncaptured"


def traced(command, answer, cwd):
    """URLs of objects by what was done to them, with digests, and the kinds of gaps."""
    server = Scripted(answer)
    port = server.url.rpartition(":")[2]
    command = [word.replace("STORE", server.url).replace("PORT", port) for word in command]
    done = run(ROAR, "trace", "-q", "--json", "report.json", "--", *command, cwd=str(cwd),
               env=environment(server.url))
    assert done.returncode == 0, done.stderr
    report = document((cwd / "report.json").read_text())
    (task,) = report["tasks"]
    found = {kind: {file["path"]: file["digest"] for file in task[kind]
                    if file["path"].startswith("s3://")} for kind in ("reads", "writes", "deletes")}
    return found, {gap["kind"] for gap in report["coverage"]["gaps"]}


def says(text, status=b"200 OK"):
    """Answers each request so, once it is there."""
    def answer(head, side):
        for _ in side.body(head):
            pass
        side.send(b'HTTP/1.1 %s\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n%s'
                  % (status, len(text), text))
    return answer


def curl(*arguments):
    return ["curl", "-sSf", "-o", "got", *arguments]


def test_an_upload_may_have_the_type_of_a_form(tmp_path):
    """curl gives all that it sends with --data-binary this one."""
    scope = "X-Amz-Credential=AK%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=1"
    found, gaps = traced(
        curl("-X", "PUT", "--data-binary", "hello", "STORE/data/signed?" + scope,
             "--next", "-sSf", "-X", "PUT", "--data-binary", "hello", "STORE/data/open"),
        says(b""), tmp_path)
    digest = "blake3:" + blake3(b"hello").hexdigest()
    assert found["writes"] == {"s3://data/signed": digest, "s3://data/open": digest}
    assert UNCAPTURED not in gaps


@pytest.mark.parametrize("arguments", [
    ["--resolve", "x.example:PORT:127.0.0.1", "-F", "key=k", "-F", "file=x",
     "http://x.example:PORT/data"],
    ["-H", "Authorization: Bearer token", "STORE/data/k"],
    ["-X", "PUT", "-H", "x-amz-copy-source: arn:aws:s3:r:1:accesspoint/a/object/k", "STORE/data/k"],
], ids=["form", "token", "access_point"])
def test_what_cannot_be_named_is_a_gap(tmp_path, arguments):
    found, gaps = traced(curl(*arguments), says(b"<CopyObjectResult/>"), tmp_path)
    assert not any(found.values())
    assert UNCAPTURED in gaps


def test_after_what_cannot_be_named_the_rest_is_seen(tmp_path):
    token = ["-H", "Authorization: Bearer token", "STORE/data/a"]
    found, gaps = traced(curl(*token, "--next", "-sSf", "STORE/data/b"), says(b"b"), tmp_path)
    assert set(found["reads"]) == {"s3://data/b"}
    assert UNCAPTURED in gaps


@pytest.mark.parametrize("text", [b"", b"<CopyObjectResult>", b"done"])
@pytest.mark.parametrize("arguments", [
    ["-X", "PUT", "-H", "x-amz-copy-source: data/in", "STORE/data/k"],
    ["-d", "<CompleteMultipartUpload/>", "STORE/data/k?uploadId=1"],
    ["-d", "<Delete><Object><Key>k</Key></Object></Delete>", "STORE/data?delete"],
], ids=["copy", "complete", "delete"])
def test_an_answer_that_nobody_can_read_is_a_gap(tmp_path, arguments, text):
    found, gaps = traced(curl(*arguments), says(text), tmp_path)
    assert not any(found.values())
    assert UNCAPTURED in gaps


def test_an_answer_that_says_it_failed_is_no_gap(tmp_path):
    copy = curl("-X", "PUT", "-H", "x-amz-copy-source: data/in", "STORE/data/k")
    found, gaps = traced(copy, says(b"<Error><Code>InternalError</Code></Error>"), tmp_path)
    assert not any(found.values()) and UNCAPTURED not in gaps


DELETE = """
import boto3
keys = ["&" * 900 + str(number) for number in range(1000)]
boto3.client("s3").delete_objects(
    Bucket="data", Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
"""


def test_a_thousand_long_keys_are_deleted_at_once(servers, tmp_path):
    place = Place(servers("moto"), str(tmp_path))
    outcome, report = place.trace([PYTHON, "-c", DELETE])
    assert outcome.code == 0, outcome.stderr
    (task,) = report["tasks"]
    assert len([file for file in task["deletes"] if file["path"].startswith("s3://")]) == 1000


@pytest.mark.parametrize("etag, is_stored_so", [
    (b'ETag: W/"e"\r\n', False), (b"", False), (b'ETag: "e-gzip"\r\n', False),
    (b'ETag: "e"\r\n', True)])
def test_what_is_compressed_on_its_way_is_not_the_object(tmp_path, etag, is_stored_so):
    """Between a store and its client something may answer that compresses (nginx, Apache)."""
    packed = gzip.compress(b"text " * 1000)

    def answer(head, side):
        side.send(b"HTTP/1.1 200 OK\r\n%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
                  % (etag, len(packed), packed))

    found, _ = traced(curl("--compressed", "STORE/data/k"), answer, tmp_path)
    digest = "blake3:" + blake3(packed).hexdigest()
    assert found["reads"] == {"s3://data/k": digest if is_stored_so else None}


def test_an_answer_to_nothing_says_that_the_connection_is_idle(tmp_path):
    def answer(head, side):
        says(b"abc")(head, side)
        time.sleep(0.2)
        side.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        side.close()
        raise Ended

    script = """
import socket, sys
host, _, port = sys.argv[1].split("/")[2].partition(":")
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b"GET /data/k HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
    while connection.recv(1000):
        pass
"""
    found, gaps = traced([PYTHON, "-c", script, "STORE"], answer, tmp_path)
    assert set(found["reads"]) == {"s3://data/k"} and UNCAPTURED not in gaps


def sends_on(to):
    def answer(head, side):
        if head.target == "/data/k":
            side.send(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s/data/l\r\n"
                      b"Content-Length: 0\r\n\r\n" % to(head).encode())
        else:
            says(b"l")(head, side)
    return answer


def test_a_store_that_sends_its_client_elsewhere_is_a_gap(tmp_path):
    other = Scripted(says(b"l"))
    found, gaps = traced(curl("-L", "STORE/data/k"), sends_on(lambda _: other.url), tmp_path)
    assert not found["reads"] and UNCAPTURED in gaps
    to_itself = sends_on(lambda head: "http://" + head.headers["host"])
    found, gaps = traced(curl("-L", "STORE/data/k"), to_itself, tmp_path)
    assert set(found["reads"]) == {"s3://data/l"} and UNCAPTURED not in gaps
