"""A dashboard behind https, with headers that every request has to have."""

import json
import os
import re
from urllib.parse import urlsplit

import pytest
from conftest import HERE, PYTHON, RAY, ROAR, TOKEN, graph, roar, run
from certificates import authority, signed
from front import Front

JOBS = os.path.join(HERE, "jobs.py")
HEADERS = {"X-Test": "1"}
OURS = "ureq/"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("certificates"))
    for name in ("known", "stranger"):
        authority(directory, name)
    return directory


@pytest.fixture
def front(cluster, certificates):
    started = Front(*signed(certificates, "known"), urlsplit(cluster.address).port)
    yield started
    started.stop()


def words(front, *options):
    return (
        RAY, "job", "submit", "--address", front.address, "--log-color=false", "--headers",
        json.dumps(HEADERS), *options, "--", PYTHON, JOBS, "speaks",
    )


def said(project):
    """Which tasks wrote the file that the job is for."""
    return {
        node["name"] for node in graph(project)["nodes"]
        for file in node["writes"] if file["path"] == os.path.join(project, "out", "said.txt")
    }


@pytest.mark.parametrize("how", ["file", "directory", "environment", "false"])
def test_a_job_is_submitted_and_brought_home(front, certificates, project, how):
    known = os.path.join(certificates, "known.pem")
    options, extra = ("--verify", known), {}
    if how == "false":
        options = ("--verify", "False")
    elif how == "environment":
        # The one is for what Ray asks, the other for the logs that it follows.
        options, extra = (), {"REQUESTS_CA_BUNDLE": known, "SSL_CERT_FILE": known}
    elif how == "directory":
        hashed = os.path.join(project, "authorities")
        os.mkdir(hashed)
        os.symlink(known, os.path.join(hashed, "known.pem"))
        run("openssl", "rehash", hashed, cwd=project)
        options = ("--verify", hashed)
    done = roar("run", *words(front, *options), os.path.join(project, "out"), cwd=project, **extra)
    ours = [line for line in done.stderr.splitlines() if line.startswith("roar: ")]
    assert ours == ["roar: 2 tasks recorded; `roar dag` shows them"], done.stderr
    assert said(project) == {"says"}
    asked = front.asked()
    assert [path for path, fields, _ in asked if fields.get("x-test") != "1"] == []
    ours = {path.split("?")[0] for path, fields, _ in asked if OURS in fields["user-agent"]}
    assert {"/api/v0/nodes", "/api/v0/logs", "/api/v0/logs/file"} <= ours


@pytest.mark.parametrize("verify", ["true", "stranger"])
def test_a_certificate_that_nobody_vouches_for(front, certificates, project, verify):
    options = ("--verify", os.path.join(certificates, "stranger.pem"))
    if verify == "true":
        options = ()
    out = os.path.join(project, "out")
    plain = run(*words(front, *options), out, cwd=project)
    traced = run(ROAR, "run", *words(front, *options), out, cwd=project)
    assert traced.returncode == plain.returncode != 0
    ours = [line for line in traced.stderr.splitlines() if "roar: " in line]
    assert len(ours) == 1, ours
    assert ours[0].startswith("roar: warning: the job's record was not brought home: cannot ask "
                              "the dashboard at %s (" % front.address), ours
    assert "certificate" in ours[0]
    assert front.asked() == []
    assert not os.path.exists(out)


def test_a_job_is_fetched(front, certificates, project):
    verify = ("--verify", os.path.join(certificates, "known.pem"))
    roar("config", "set", "ray.collect", "false", cwd=project)
    done = roar("run", *words(front, *verify), os.path.join(project, "out"), cwd=project)
    (id,) = re.search(r"roar ray fetch (\S+)` collects", done.stderr).groups()
    fetch = ("ray", "fetch", "--address", front.address, id)
    done = roar(*fetch, cwd=project, code=1)
    assert done.stderr.startswith("roar: cannot ask the dashboard at %s (" % front.address)
    assert "certificate" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    front.asked()
    roar(*fetch, *verify, "--headers", json.dumps(HEADERS), cwd=project)
    assert said(project) == {"says"}
    assert {fields.get("x-test") for _, fields, _ in front.asked()} == {"1"}


def test_the_token_is_no_answer_to_who_wants_another_name(front, project):
    """A 401 of the front's own: whom the user named is who asks, and nobody else."""
    front.refuses = True
    own = "Basic bWU6c2VjcmV0"
    for name in ("Authorization", "authorization"):
        headers = json.dumps({name: own})
        roar("ray", "fetch", "--address", front.address, "--verify", "0", "--headers", headers,
             "nobody", cwd=project, code=1)
        asked = front.asked()
        assert asked
        for _, _, fields in asked:
            assert [v for n, v in fields if n.lower() == "authorization"] == [own]
    # Where none is named, the token is what Ray would say.
    roar("ray", "fetch", "--address", front.address, "--verify", "0", "nobody", cwd=project, code=1)
    assert {fields["authorization"] for _, fields, _ in front.asked()} == {"Bearer " + TOKEN}
