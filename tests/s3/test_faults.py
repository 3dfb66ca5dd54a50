"""Where the network or the server fails, a traced program sees what it would see untraced."""

import time

import pytest
from conftest import BUCKET, PYTHON, ROAR, environment, program, run
from faulty import Ended, Fault
from test_answers import Scripted

GET, PUT = {"method": "GET", "target": "/data/in/large"}, {"method": "PUT", "target": "/data/out/"}
WITHIN = 300_000
FAULTS = {
    "slow_down_twice": lambda: [Fault("status", times=2, code="SlowDown")],
    "internal_errors_in_gets": lambda: [Fault("status", times=3, code="InternalError", **GET)],
    "slow_down_for_ever": lambda: [Fault("status", times=9999, code="SlowDown", **PUT)],
    "expired": lambda: [Fault("status", target="large|out/", times=9999, code="ExpiredToken")],
    "reset_in_a_get": lambda: [Fault("reset", after=WITHIN, **GET)],
    "reset_in_gets": lambda: [Fault("reset", times=9999, after=WITHIN, **GET)],
    "reset_in_a_put": lambda: [Fault("reset", after=100_000, **PUT)],
    "truncated_get": lambda: [Fault("truncate", after=WITHIN, **GET)],
    "delays": lambda: [Fault("delay", times=3, seconds=0.3)],
    "longer_than_the_timeout": lambda: [Fault("delay", seconds=1.5, **PUT)],
    "idle_connections_closed": lambda: [Fault("close", times=9999)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen_as_it_is(place, name):
    command = program("boto.tolerant", BUCKET)
    seeds = ("small", "large")
    faults = FAULTS[name]()
    untraced = place.run(command, seeds=seeds, faults=faults)
    assert all(fault.used for fault in faults)
    assert untraced.code == 0 and untraced.stdout.count("\n") == 5, untraced.stderr
    faults = FAULTS[name]()
    traced, report = place.trace(command, seeds=seeds, faults=faults)
    assert all(fault.used for fault in faults)
    assert traced.visible() == untraced.visible()
    assert_recorded(report, traced)


def assert_recorded(report, outcome):
    """What was put is in the report: the tracer was at work."""
    (task,) = report["tasks"]
    found = {file["path"] for file in task["writes"] if file["path"].startswith("s3://")}
    assert found == {"s3://data/" + key for key in outcome.objects if key.startswith("out/")}
    reads = {file["path"]: file for file in task["reads"] if file["path"].startswith("s3://")}
    whole = {"s3://data/in/" + name for name, line in (
        ("small", "get again 1000"), ("large", "get 20971520"), ("large", "got 20971520"))
        if line + "\n" in outcome.stdout}
    assert whole and whole <= set(reads) <= {"s3://data/in/small", "s3://data/in/large"}
    for url, file in reads.items():
        key = url.split("/", 3)[3]
        version = (outcome.objects[key]["etag"], outcome.objects[key]["digest"])
        if file["state"] == "exact":
            assert (file["etag"], file["digest"]) == version
        else:
            assert (file["etag"], file["digest"]) == (version[0], None)
    for key in (key for key in outcome.objects if key.startswith("out/")):
        (file,) = (file for file in task["writes"] if file["path"] == "s3://data/" + key)
        assert (file["state"], file["digest"]) == ("exact", outcome.objects[key]["digest"])


def test_a_server_that_goes_away_in_a_get_and_comes_back(place):
    def goes_away(fault):
        def meanwhile(_, proxy):
            assert fault.reached.wait(30)
            proxy.refuse()
            fault.go.set()
            time.sleep(1)
            proxy.listen()
        return meanwhile

    command = program("boto.patient", BUCKET)
    outcomes = []
    for run in (place.run, place.trace):
        fault = Fault("hold", after=WITHIN, **GET)
        outcomes.append(run(command, seeds=("large",), faults=[fault], meanwhile=goes_away(fault)))
    untraced, (traced, report) = outcomes
    assert untraced.code == 0 and untraced.stdout.count("\n") == 3, untraced.stderr
    assert traced.visible() == untraced.visible()
    assert_recorded(report, traced)


UPLOAD = """
import http.client, sys
for key in "abcdefgh":
    connection = http.client.HTTPConnection(sys.argv[1].partition("://")[2])
    try:
        connection.request("PUT", "/data/" + key, body=bytes(60_000_000))
        print(connection.getresponse().status)
    except OSError as error:
        print(type(error).__name__)
    connection.close()
"""


@pytest.mark.parametrize("how", ["reset", "answer"])
def test_an_upload_that_nobody_takes_fails_as_it_does(tmp_path, how):
    """It is reset, or answered without being read and closed."""
    def answer(head, side):
        time.sleep(0.1)
        if how == "reset":
            side.reset()
        side.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        side.close()
        raise Ended

    server = Scripted(answer)
    command, env = (PYTHON, "-c", UPLOAD, server.url), environment(server.url)
    untraced = run(*command, cwd=str(tmp_path), env=env)
    traced = run(ROAR, "trace", "-q", "--", *command, cwd=str(tmp_path), env=env)
    assert (traced.stdout, traced.stderr) == (untraced.stdout, untraced.stderr)
