"""A cluster in containers that have nothing of ours; needs root for a Docker of its own."""

import json
import os
import subprocess

import compare
import pytest
from conftest import EXAMPLES, PYTHON, RAY, ROAR, WORKER, environment, graph, roar
from containers import Docker

EXPECTED = os.path.join(EXAMPLES, "expected-graph.json")
# The profile of system calls is the stock one in both.
RIGHTS = {
    "stock": (),
    "least": ("--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
}


@pytest.fixture(scope="module")
def docker():
    if os.getuid() != 0:
        pytest.skip("needs root to start a dockerd")
    started = Docker()
    try:
        yield started
    finally:
        started.stop()


def check(project, out):
    """The graph is the example's, whole; returns it."""
    document = graph(project)
    found = compare.normal_form(document, out)
    lines = compare.differences(found, compare.expected(EXPECTED))
    assert not lines, "\n".join(lines)
    assert document["coverage"]["complete"], document["coverage"]
    return document


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_job_on_a_cluster_that_has_nothing_of_ours(docker, project, rights):
    id, address = docker.cluster(RIGHTS[rights])
    try:
        looks = "command -v roar roar-worker; ls -d %s %s %s" % (ROAR, WORKER, project)
        seen = docker.client("exec", id, "sh", "-c", looks).stdout
        assert seen == b"", seen
        submit = [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--"]
        done = roar("run", *submit, "python", "pipeline.py", cwd=project)
        assert "roar: 11 tasks recorded" in done.stderr, done.stderr
        assert "600 rows, the largest is" in done.stdout
        (params,) = {
            file["path"] for node in graph(project)["nodes"] for file in node["writes"]
            if os.path.basename(file["path"]) == "params.json"
        }
        # In the container, where the job's working directory was unpacked.
        assert params.startswith("/tmp/ray/session_") and not os.path.exists(params)
        document = check(project, os.path.dirname(params))
        hostname = docker.docker("exec", id, "uname", "-n").strip()
        assert {node["host"] for node in document["nodes"]} == {hostname}

        # Ray's own status for a job that failed.
        roar("run", *submit, "false", cwd=project, code=1)
    finally:
        docker.remove(id)


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_script_within_a_container(docker, project, rights):
    for path in (project, os.path.join(project, ".roar")):
        os.chmod(path, 0o777)
    own = ["%s:%s:ro" % (path, path) for path in (ROAR, WORKER)]
    mounts = [*own, "%s:%s" % (project, project)]
    done = docker.client(
        "run", "--rm", "--workdir", project, *docker.words(RIGHTS[rights], *mounts), "bare",
        ROAR, "run", PYTHON, "pipeline.py",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert b"600 rows, the largest is" in done.stdout
    check(project, os.path.join(project, "pipeline-out"))


def test_what_a_container_does_for_a_traced_client_is_a_gap(docker, tmp_path):
    out, report = (str(tmp_path / name) for name in ("out", "report.json"))
    words = docker.words((), "%s:%s" % (tmp_path, tmp_path))
    line = ["docker", "--host", docker.socket, "run", "--rm", *words, "bare"]
    for command, gaps in (
        ([*line, "sh", "-c", "echo x > " + out], ["untraced_worker"]),
        ([*line[:3], "ps"], []),
    ):
        done = subprocess.run(
            [ROAR, "trace", "-q", "--json", report, "--", *command],
            capture_output=True, env=environment(), timeout=60,
        )
        assert done.returncode == 0, done.stderr
        with open(report) as source:
            coverage = json.load(source)["coverage"]
        assert [gap["kind"] for gap in coverage["gaps"]] == gaps
        assert os.path.exists(out)


TOUCHES = """
cat in > out; cp in copied; mv copied moved; ln moved linked; echo more >> log
python -c 'open("made", "w").write(open("in").read())'
rm old; (sleep 0.5; cat moved > late) & cat nothing; exit 3
"""


def traced(project, run, backend):
    """What is reported of `TOUCHES`, by a way to run it, and how it ended."""
    for name in os.listdir(project):
        if name != ".roar":
            os.unlink(os.path.join(project, name))
    for name in ("in", "log", "old"):
        with open(os.path.join(project, name), "w") as target:
            target.write(name)
        os.chmod(os.path.join(project, name), 0o666)
    report = os.path.join(project, "report.json")
    done = run(
        ROAR, "trace", "-q", "--wait", "tree", "--root", project, "--backend", backend,
        "--json", report, "--", "sh", "-c", TOUCHES,
    )
    with open(report) as source:
        document = json.load(source)
    (task,) = document["tasks"]
    files = {
        use: {(os.path.relpath(file["path"], project), file["digest"], tuple(file["how"]))
              for file in task[use]}
        for use in ("reads", "writes", "deletes")
    }
    return document["tracer"]["backend"], document["coverage"]["gaps"], done.returncode, files


@pytest.mark.parametrize("backend", ["notify", "ptrace"])
@pytest.mark.parametrize("rights", RIGHTS)
def test_a_command_as_the_first_process_of_a_container(docker, tmp_path, rights, backend):
    """The same is seen as outside, where the root user has all rights."""
    project = str(tmp_path)
    os.chmod(project, 0o777)
    env = {**environment(), "PATH": os.path.dirname(PYTHON) + ":/usr/bin:/bin"}
    outside = traced(
        project, lambda *words: subprocess.run(words, cwd=project, env=env, timeout=60), backend
    )
    mounts = ["%s:%s:ro" % (ROAR, ROAR), "%s:%s" % (project, project)]
    options = ["run", "--rm", "--workdir", project, *docker.words(RIGHTS[rights], *mounts), "bare"]
    inside = traced(project, lambda *words: docker.client(*options, *words), backend)
    assert inside == outside
    assert inside[:3] == (backend, [], 3)
    assert {name for name, _, _ in inside[3]["writes"]} == {
        "out", "moved", "linked", "log", "made", "late"
    }
