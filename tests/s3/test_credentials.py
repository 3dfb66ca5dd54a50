"""Nothing that roar writes has a secret, a session token or a signature in it."""

import base64
import json
import os
import re
import urllib.parse

from cluster import RAY
from conftest import PYTHON, ROAR, WORKLOADS, Place, environment, program, run
from faulty import Proxy
from project import new_project
from servers import SECRET

TOKEN = "distinctive/session+token/of/the/tests==0123456789abcdef"
BATTERY = (
    "boto.get", "boto.upload_small_file", "boto.presigned_get", "boto.presigned_curl",
    "boto.presigned_v4", "boto.get_missing", "files.aiobotocore", "files.arrow_streams", "programs.aws_up",
    "programs.curl_sigv4", "programs.rclone",
)


def spellings(secret):
    """The ways in which it could stand in a text or in a URL."""
    yield secret
    yield urllib.parse.quote(secret)
    yield urllib.parse.quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    for skipped in range(3):
        whole = base64.b64encode(b" " * skipped + secret.encode()).decode()
        yield whole[4:-4]


def signatures(requests):
    for request in requests:
        text = request["target"] + " " + request["headers"].get("authorization", "")
        for found in re.findall(r"Signature=([^&\s]+)", text):
            yield found
            yield urllib.parse.unquote(found)


def files_below(*directories):
    for directory in directories:
        for top, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(top, name)
                with open(path, "rb") as opened:
                    yield path, opened.read()


def test_no_credential_is_in_what_roar_writes(servers, cluster, tmp_path):
    # s3s-fs takes no URL that is signed by version 2 and has a session token.
    place = Place(servers("moto"), str(tmp_path / "place"))
    place.store.refill(("small",))
    project = new_project(str(tmp_path / "project"))
    out = tmp_path / "said"
    out.mkdir()
    said = []

    def roar(*arguments, env):
        done = run(ROAR, *arguments, cwd=project, env=env)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        said.append((" ".join(arguments[:3]), (done.stdout + done.stderr).encode()))
        return done.stdout

    with Proxy(place.server.port) as proxy:
        env = environment(proxy.url, AWS_SESSION_TOKEN=TOKEN, PYTHONPATH=WORKLOADS)
        with open(os.path.join(project, "given"), "wb") as given:
            given.write(b"given")
        for number, name in enumerate(BATTERY):
            report = str(out / ("%d.json" % number))
            roar("trace", "-v", "--json", report, "--", *program(name, "data"), env=env)
        roar("run", "-v", *program("boto.presigned_curl", "data"), env=env)
        variables = {name: value for name, value in env.items() if name.startswith("AWS_")}
        roar(
            "run", "-v", RAY, "job", "submit", "--address", cluster.address, "--working-dir",
            WORKLOADS, "--runtime-env-json", json.dumps({"env_vars": variables}), "--",
            PYTHON, "boto.py", "get", "data", env=env)
        known = roar("dag", "--json", "--all", env=env)
        for command in ("log", "status"):
            roar(command, env=env)
        roar("show", "s3://data/in/small", env=env)
        secrets = set(signatures(proxy.requests))
        assert len(secrets) > 2 * len(BATTERY)
    assert any("X-Amz-Signature" in request["target"] for request in proxy.requests)
    assert any("x-amz-security-token" in request["headers"] for request in proxy.requests)
    for secret in (SECRET, TOKEN):
        secrets.update(spellings(secret))

    # The battery is in the record: else nothing could be in it that should not.
    assert "s3://data/in/small" in known
    for number, name in enumerate(BATTERY):
        with open(out / ("%d.json" % number)) as report:
            assert name == "boto.get_missing" or "s3://data/" in report.read(), name
    written = [*said, *files_below(project, str(out), cluster.fragments)]
    leaks = [(name, secret) for name, text in written for secret in secrets
             if secret.encode() in text]
    assert not leaks
