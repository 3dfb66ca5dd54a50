"""Objects that go over TLS: of clients that log their secrets all is known, of others that
nothing is."""

import contextlib
import os
import signal
import ssl
import subprocess

import pytest
from blake3 import blake3
from certificates import authority, signed
from check import objects
from conftest import PYTHON, ROAR, WORKLOADS, document, environment
from faulty import Ended, Fault, Proxy
from project import graph, new_project, roar, urls
from test_answers import CONTENT, Scripted
from test_kills import helpers

SCRIPT = os.path.join(WORKLOADS, "both_ways.py")
LOGGING = ("boto3", "s3fs", "pyarrow", "awscli", "curl")
SILENT = ("rclone",)
READS = ("s3://data/in/small",)
WRITES = ("s3://data/out/large", "s3://data/out/small")


CA_VARIABLES = ("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def server_context(directory, version=None, ciphers=None):
    """What a server has, with a certificate of its own, and variables for its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root = authority(directory, "authority")
    context.load_cert_chain(*signed(directory, "authority"))
    if version:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context, dict.fromkeys(CA_VARIABLES, root)


class Tls:
    """A server behind TLS, and the environment of its clients."""

    def __init__(self, place, *agreed):
        self.place = place
        context, self.variables = server_context(place.directory, *agreed)
        self.objects = place.store.refill(("small",))
        self.proxy = Proxy(place.server.port, tls=context)

    def environment(self, **extra):
        return environment(self.proxy.url, **self.variables, **extra)


@pytest.fixture
def tls(place):
    front = Tls(place)
    with front.proxy:
        yield front


def untraced(front, client):
    done = subprocess.run(
        [PYTHON, SCRIPT, client, "data"], env={**front.environment(), "HOME": front.place.directory},
        cwd=front.place.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, front.place.store.objects()


def traced(front, client, directory, *options, **extra):
    project = new_project(str(directory / "project"))
    done = roar("run", "-q", *options, PYTHON, SCRIPT, client, "data", cwd=project,
                env=front.environment(**extra))
    (node,) = graph(project)["nodes"]
    return done, node, graph(project)["coverage"]


def check_whole(front, node, stored):
    """Every object with the digest of its content, as if it had gone by HTTP."""
    read, written = objects(node["reads"]), objects(node["writes"])
    # What the script got back it had made itself.
    assert (urls(node["reads"], "s3://"), urls(node["writes"], "s3://")) == (READS, WRITES)
    before = {"s3://data/" + key: one for key, one in front.objects.items()}
    after = {"s3://data/" + key: one for key, one in stored.items()}
    for url, file in read.items():
        assert (file["digest"], file["state"]) == (before[url]["digest"], "exact")
    for url, file in written.items():
        if file["how"] == ["put"]:
            assert (file["digest"], file["state"]) == (after[url]["digest"], "exact")


@pytest.mark.parametrize("client", LOGGING)
def test_of_clients_that_log_their_secrets_all_is_known(tls, tmp_path, client):
    expected, stored = untraced(tls, client)
    tls.objects = tls.place.store.refill(("small",))
    done, node, coverage = traced(tls, client, tmp_path)
    assert (done.stdout, done.stderr) == (expected, "")
    check_whole(tls, node, stored)
    assert not coverage["gaps"]


@pytest.mark.parametrize("client", SILENT)
def test_of_others_it_is_known_that_nothing_is(tls, tmp_path, client):
    expected, _ = untraced(tls, client)
    tls.objects = tls.place.store.refill(("small",))
    done, node, coverage = traced(tls, client, tmp_path)
    assert done.stdout == expected
    assert not objects(node["reads"] + node["writes"])
    assert "s3_uncaptured" in {gap["kind"] for gap in coverage["gaps"]}


SUITES = [
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES256-GCM-SHA384"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
    (ssl.TLSVersion.TLSv1_3, None),
]


@pytest.mark.parametrize(("version", "ciphers"), SUITES, ids=lambda it: str(it).split(".")[-1])
def test_what_the_two_agree_on_is_spoken(place, tmp_path, version, ciphers):
    front = Tls(place, version, ciphers)
    with front.proxy:
        _, node, coverage = traced(front, "curl", tmp_path)
        check_whole(front, node, place.store.objects())
        assert not coverage["gaps"]


def test_a_cipher_that_is_not_spoken_is_a_gap(place, tmp_path):
    front = Tls(place, ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA256:@SECLEVEL=1")
    with front.proxy:
        _, node, coverage = traced(front, "curl", tmp_path)
        assert not objects(node["reads"] + node["writes"])
        assert {gap["kind"] for gap in coverage["gaps"]} == {"s3_uncaptured"}


def test_a_log_of_the_users_own_stays_theirs(tls, tmp_path):
    log = str(tmp_path / "keys")
    _, node, coverage = traced(tls, "boto3", tmp_path, SSLKEYLOGFILE=log)
    with open(log) as opened:
        assert "TRAFFIC_SECRET" in opened.read()
    # Told by botocore itself, without a digest.
    assert urls(node["writes"], "s3://") == WRITES
    assert {file["digest"] for file in objects(node["writes"]).values()} == {None}
    assert not coverage["gaps"]


def test_a_client_that_tells_what_it_does_hides_no_other(tls, tmp_path):
    log = str(tmp_path / "keys")
    _, node, coverage = traced(tls, "boto3+pyarrow", tmp_path, SSLKEYLOGFILE=log)
    assert urls(node["writes"], "s3://") == WRITES
    assert {gap["kind"] for gap in coverage["gaps"]} == {"s3_uncaptured"}


def test_without_a_supervisor_transfers_go_on(tls, tmp_path):
    """It is killed while an answer is held back; what is asked for after that goes directly."""
    expected, _ = untraced(tls, "boto3")
    tls.objects = tls.place.store.refill(("small",))
    fault = Fault("hold", method="GET", target="in/small")
    tls.proxy.faults.append(fault)
    project = new_project(str(tmp_path / "project"))
    process = subprocess.Popen(
        [ROAR, "run", "-q", PYTHON, SCRIPT, "boto3", "data"], cwd=project,
        env={**tls.environment(), "HOME": project}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert fault.reached.wait(60)
    os.kill(helpers(process)[0], signal.SIGKILL)
    fault.go.set()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (0, expected, "")
    gaps = {gap["kind"] for gap in graph(project)["coverage"]["gaps"]}
    assert "supervisor_died" in gaps


@pytest.mark.parametrize("says_so", [True, False])
def test_what_ends_with_its_connection_is_whole_where_the_store_says_so(tmp_path, says_so):
    """By TLS a store says that this is all; who cuts a connection cannot."""
    def answer(head, side):
        side.send(b'HTTP/1.1 200 OK\r\nETag: "e"\r\n\r\n' + CONTENT)
        if says_so:
            side.socket.settimeout(0)
            with contextlib.suppress(OSError):
                side.socket.unwrap()
        os.close(side.socket.detach())
        raise Ended

    context, variables = server_context(str(tmp_path))
    store = Scripted(answer, tls=context)
    path = str(tmp_path / "report.json")
    subprocess.run(
        [ROAR, "trace", "-q", "--json", path, "--", "curl", "-s", store.url + "/data/k"],
        env=environment(store.url, SSLKEYLOGFILE="/dev/./null", **variables), cwd=str(tmp_path),
        stdout=subprocess.DEVNULL, timeout=60)
    with open(path) as report:
        (task,) = document(report.read())["tasks"]
    (read,) = objects(task["reads"]).values()
    digest = "blake3:" + blake3(CONTENT).hexdigest()
    assert read["digest"] == (digest if says_so else None)
