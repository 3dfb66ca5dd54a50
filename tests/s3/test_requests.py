"""Requests as few clients make them, and answers that nobody can read."""

import pytest
from blake3 import blake3
from conftest import PYTHON, ROAR, Place, document, environment, run
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
