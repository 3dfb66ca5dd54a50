#!/usr/bin/env python3
"""What tracing costs a program that uses S3: gets and puts, untraced and traced by turns.

    bench/s3.py        (Python of .venv; ROAR_TEST_S3S is the server)

Each program makes its requests on one connection after some to warm up, and reports how
long each took. Programs are run by turns, so that both see the same noise; figures are
medians of all requests of a kind, and the noise is half of what lies between the quartiles
of the untraced ones. s3s-fs answers a get in two segments without TCP_NODELAY, so that some
untraced gets wait 40 ms for a delayed ACK; the fastest tenths, which do not, are compared too.

On loopback client, store and tracer share the processors, and what the tracer does the store
waits for. Root measures a second time with a link of 2 Gbit/s between client and store, that
is several times what one connection to a store gets.
"""

import contextlib
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "s3"))

SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "100 MB": 100_000_000}
COUNTS = {"1 KB": 200, "1 MB": 50, "100 MB": 3}
LINK = "2gbit"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
BUCKET = "bench"


def boto_requests(endpoint):
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
    return (
        lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read(),
        lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data),
    )


def raw_requests(endpoint):
    """Without a client of S3: presigned before the clock runs."""
    import boto3

    signer = boto3.client("s3")
    connection = http.client.HTTPConnection(endpoint.split("//")[1])
    known = {}

    def target(method, key):
        if (method, key) not in known:
            url = signer.generate_presigned_url(method, {"Bucket": BUCKET, "Key": key})
            known[method, key] = url[len(endpoint):]
        return known[method, key]

    def request(verb, path, body=None):
        connection.request(verb, path, body)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    return (
        lambda key: request("GET", target("get_object", key)),
        lambda key, data: request("PUT", target("put_object", key), data),
    )


CLIENTS = {"boto3": boto_requests, "http.client": raw_requests}


def measure(client):
    """What a traced or untraced program does: prints its seconds by kind of request."""
    get, put = CLIENTS[client](os.environ["AWS_ENDPOINT_URL"])
    took = {}
    for name, size in SIZES.items():
        data = hashlib.shake_128(name.encode()).digest(size)
        key = "%d" % size
        for timed in (False, True):
            for _ in range(COUNTS[name] if timed else 1):
                began = time.perf_counter()
                put(key, data)
                between = time.perf_counter()
                assert len(get(key)) == size
                if timed:
                    took.setdefault("put " + name, []).append(between - began)
                    took.setdefault("get " + name, []).append(time.perf_counter() - between)
    print(json.dumps(took))


def run(before, client, env):
    done = subprocess.run(
        [*before, sys.executable, os.path.abspath(__file__), client], env=env, check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def quartiles(values):
    low, _, high = statistics.quantiles(values, n=4)
    return low, statistics.median(values), high


def fastest_tenth(values):
    return statistics.quantiles(values, n=10, method="inclusive")[0]


@contextlib.contextmanager
def link():
    """A network namespace behind a link of its own: its address there, and what runs a command in it."""
    name = "roar-s3-%d" % os.getpid()
    near, far = "s3n%d" % os.getpid(), "s3f%d" % os.getpid()
    network = "10.%d.%d." % (200 + os.getpid() // 256 % 50, os.getpid() % 256)

    def do(*command):
        subprocess.run(command, check=True)

    do("ip", "netns", "add", name)
    try:
        do("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        for at, device, address in ((), near, "1"), (("-n", name), far, "2"):
            do("ip", *at, "addr", "add", network + address + "/24", "dev", device)
            do("ip", *at, "link", "set", device, "up")
            do("tc", *at, "qdisc", "add", "dev", device, "root", "tbf", "rate", LINK,
               "burst", "256kb", "latency", "50ms")
        yield network + "2", ("ip", "netns", "exec", name)
    finally:
        # Its end of the link, and so the other, go with it.
        do("ip", "netns", "del", name)


def main():
    print("On loopback\n")
    campaign("127.0.0.1")
    if os.geteuid() != 0:
        print("\nNot with a link between: only root can make one.")
        return
    print("\nA link of %s between\n" % LINK)
    with link() as (host, before):
        campaign(host, before)


def campaign(host, before=()):
    from servers import KEY, SECRET, S3s

    roar = os.path.join(
        os.environ.get("ROAR_BIN_DIR") or os.path.join(ROOT, "target", "release"), "roar")
    with tempfile.TemporaryDirectory() as directory:
        server = S3s(directory, host, before)
        os.mkdir(os.path.join(server.root, BUCKET))
        env = {
            "PATH": os.environ["PATH"], "HOME": directory, "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        report = os.path.join(directory, "report.json")
        ways = {"untraced": (), "traced": (roar, "trace", "-q", "--json", report, "--")}
        took = {(client, way): {} for client in CLIENTS for way in ways}
        try:
            for turn in range(ROUNDS):
                for client in CLIENTS:
                    for way in list(ways)[::-1 if turn % 2 else 1]:
                        for kind, seconds in run(ways[way], client, env).items():
                            took[client, way].setdefault(kind, []).extend(seconds)
            with open(report) as opened:
                is_captured = "s3://%s/" % BUCKET in opened.read()
        finally:
            server.stop()
    print_table(took)
    if not is_captured:
        print("\nThe traced requests were not captured: this is what not capturing them costs.")


def print_table(took):
    print("| client | request | untraced, ms | traced, ms | added, ms | noise, ms | added to the fastest tenth, ms | bandwidth |")
    print("|---|---|---|---|---|---|---|---|")
    for client in CLIENTS:
        for kind, untraced in took[client, "untraced"].items():
            low, before, high = (1e3 * value for value in quartiles(untraced))
            after = 1e3 * statistics.median(took[client, "traced"][kind])
            fastest = fastest_tenth(took[client, "traced"][kind]) - fastest_tenth(untraced)
            print("| %s | %s | %.2f | %.2f | %+.2f | ±%.2f | %+.2f | %.0f %% |" % (
                client, kind, before, after, after - before, (high - low) / 2, 1e3 * fastest,
                100 * before / after))


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
