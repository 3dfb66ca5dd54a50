"""Jobs on a cluster that roar did not start, with the launcher given by hand."""

import json
import os
import re
import signal
import subprocess
import time

import compare
import pytest
from conftest import (
    EXAMPLES, HERE, NODE_IP, PYTHON, RAY, ROAR, WORKER, document, environment, graph, roar, run,
    wait_for,
)

BY_HAND = {"py_executable": WORKER + " --"}
JOBS = os.path.join(HERE, "jobs.py")


def of_job(cluster, project, out):
    """Takes the cluster's fragments in; the nodes that wrote below `out`, by function."""
    cluster.wait_sealed()
    roar("merge", cluster.fragments, cwd=project)
    document = graph(project)
    wrote = [
        node for node in document["nodes"]
        if any(file["path"].startswith(out + os.sep) for file in node["writes"])
    ]
    return document, wrote


def names(files, out):
    return sorted(os.path.relpath(file["path"], out) for file in files if file["path"].startswith(out))


def test_an_untraced_driver_that_joins_with_the_launcher(cluster, project):
    out = os.path.join(project, "pipeline-out")
    with open(os.path.join(project, "pipeline.py")) as script:
        text = script.read()
    join = "ray.init(address=%r, _node_ip_address=%r, runtime_env=%r)"
    join %= (cluster.gcs, NODE_IP, BY_HAND)
    with open(os.path.join(project, "pipeline.py"), "w") as script:
        script.write(text.replace("ray.init()", join))
    done = run(PYTHON, "pipeline.py", out, cwd=project)
    assert done.returncode == 0, done.stderr
    document, wrote = of_job(cluster, project, out)
    jobs = {node["job"] for node in wrote}
    assert len(jobs) == 1, wrote
    document["nodes"] = [node for node in document["nodes"] if node["job"] in jobs]
    ids = {node["id"] for node in document["nodes"]}
    document["edges"] = [edge for edge in document["edges"] if edge["to"] in ids]
    wanted = compare.expected(os.path.join(EXAMPLES, "expected-graph.json"))
    # The driver is on the user's side, where nothing traces it.
    driver = "driver(params.json)"
    wanted["nodes"] = [node for node in wanted["nodes"] if node["name"] != driver]
    wanted["edges"] = [e for e in wanted["edges"] if driver not in (e["from"], e["to"])]
    lines = compare.differences(compare.normal_form(document, out), wanted)
    assert not lines, "\n".join(lines)


def test_statuses_and_attempts(cluster, project):
    out = os.path.join(project, "out")
    cluster.submit(BY_HAND, PYTHON, JOBS, "statuses", out, cwd=project)
    _, wrote = of_job(cluster, project, out)
    found = {
        (node["name"], node["ray"]["attempt"], node["status"], tuple(names(node["writes"], out)))
        for node in wrote if node["ray"] and node["kind"] == "ray_task"
    }
    assert found == {
        ("third_time", 0, "failed", ("attempt-0.txt", "counter/0")),
        ("third_time", 1, "failed", ("attempt-1.txt", "counter/1")),
        ("third_time", 2, "completed", ("attempt-2.txt", "counter/2")),
        ("fails", 0, "failed", ("failed.txt",)),
        ("killed", 0, "killed", ("killed.txt",)),
    }
    details = {node["name"]: node["status_detail"] for node in wrote if node["status"] == "failed"}
    assert details["fails"] == "ValueError", details


def test_killed_supervisor_leaves_the_task_unharmed_and_the_record_incomplete(cluster, project):
    out = os.path.join(project, "out")
    ready = os.path.join(out, "ready")
    command = [
        RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        "--runtime-env-json", json.dumps(BY_HAND), "--", PYTHON, JOBS, "opens", out,
    ]
    job = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: os.path.exists(ready) and open(ready).read(), 60, "the task")
        supervisors = beside(int(open(ready).read()))
        assert supervisors
        for pid in supervisors:
            os.kill(pid, signal.SIGKILL)
        open(os.path.join(out, "go"), "w").close()
        output, _ = job.communicate(timeout=120)
    finally:
        if job.poll() is None:
            job.kill()
    assert job.returncode == 0, output
    count, errors = map(int, re.search(r"opened (\d+) times, (\d+) errors", output).groups())
    assert count >= 100_000 and errors == 0

    # What it left open says so.
    roar("merge", cluster.fragments, cwd=project)
    document = graph(project)
    assert not document["coverage"]["complete"]
    assert "supervisor_died" in {gap["kind"] for gap in document["coverage"]["gaps"]}
    (task,) = [n for n in document["nodes"] if n["name"] == "hundred_thousand_opens"]
    assert task["status"] in ("running", "unknown"), task
    for name in os.listdir(cluster.fragments):
        if name.endswith(".roarlog"):
            os.remove(os.path.join(cluster.fragments, name))


def beside(worker):
    """The supervisor of a worker: it holds a log open whose name the worker's page tells.

    It is the process named like ours that has a pidfd of the worker.
    """
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/exe" % pid) != os.path.realpath(WORKER):
                continue
            logs = [os.readlink("/proc/%s/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%s/fd" % pid)]
            if not any(log.endswith(".roarlog") for log in logs):
                continue
            for fd in os.listdir("/proc/%s/fdinfo" % pid):
                with open("/proc/%s/fdinfo/%s" % (pid, fd)) as info:
                    if re.search(r"^Pid:\s+%d$" % worker, info.read(), re.M):
                        found.append(int(pid))
        except OSError:
            continue
    return sorted(set(found))


def test_nothing_of_ours_in_the_jobs_log(cluster, project):
    out = os.path.join(project, "out")

    def log(runtime_env):
        done = cluster.submit(runtime_env, PYTHON, JOBS, "speaks", out, cwd=project)
        (job,) = re.search(r"'(raysubmit_\w+)' succeeded", done.stdout).groups()
        kept = run(RAY, "job", "logs", "--address", cluster.address, job, cwd=project).stdout
        return [normal(text, job) for text in (done.stdout, done.stderr, kept)]

    assert log({}) == log(BY_HAND)
    assert open(os.path.join(out, "said.txt")).read() == ""


def normal(text, job="none"):
    """An output without what differs from run to run."""
    text = text.replace(job, "JOB")
    text = re.sub(r"pid=\d+", "pid=N", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+", "TIME", text)
    text = re.sub(r"worker\.py:\d+", "worker.py", text)
    # Where the dashboard's own is taken, it takes the next.
    text = re.sub(r"(http://127\.0\.0\.1:)\d+", r"\1PORT", text)
    return sorted(line.rstrip() for line in text.splitlines())


def test_nothing_of_ours_in_the_output_of_a_local_ray(project):
    out = os.path.join(project, "out")
    plain = run(PYTHON, JOBS, "speaks", out, cwd=project)
    traced = run(ROAR, "run", "-q", PYTHON, JOBS, "speaks", out, cwd=project)
    assert plain.returncode == traced.returncode == 0
    assert normal(plain.stdout) == normal(traced.stdout)
    assert normal(plain.stderr) == normal(traced.stderr)


@pytest.mark.parametrize("through_roar", [False, True])
def test_the_users_own_runtime_env_works(cluster, project, through_roar):
    out = os.path.join(project, "out")
    own = {"env_vars": {"TEST_VARIABLE": "set, ", "PYTHONPATH": HERE}}
    init = {"runtime_env": {"worker_process_setup_hook": "hook.setup"}}
    own["env_vars"]["TEST_INIT"] = json.dumps(init)
    words = (PYTHON, JOBS, "speaks", out)
    if through_roar:
        done = roar(
            "run", RAY, "job", "submit", "--address", cluster.address, "--runtime-env-json",
            json.dumps(own), "--", *words, cwd=project,
        )
        assert "recorded" in done.stderr, done.stderr
        wrote = [n for n in graph(project)["nodes"] if n["name"] == "says"]
        # The job is what was given, where it was given: that can be run again.
        [job] = document(roar("log", "--json", cwd=project).stdout)["jobs"]
        assert job["command"][:3] == [RAY, "job", "submit"]
        assert job["command"][-len(words):] == list(words)
        assert (job["cwd"], job["exit_code"]) == (os.path.realpath(project), 0)
        plan = document(roar("reproduce", "-n", "--json", "@1", cwd=project).stdout)
        assert [step["job"] for step in plan["steps"]] == [job["id"]]
    else:
        cluster.submit({**own, **BY_HAND}, *words, cwd=project)
        _, wrote = of_job(cluster, project, out)
    assert open(os.path.join(out, "said.txt")).read() == "set, hooked"
    assert [names(node["writes"], out) for node in wrote] == [["said.txt"]]


def test_the_exit_status_of_a_failing_job_is_rays(cluster, project):
    plain = run(
        RAY, "job", "submit", "--address", cluster.address, "--", "false", cwd=project
    )
    done = run(
        ROAR, "run", RAY, "job", "submit", "--address", cluster.address, "--", "false", cwd=project
    )
    assert done.returncode == plain.returncode != 0


def test_a_job_that_cannot_be_set_up_is_not_waited_for(cluster, project):
    def submitted(*before):
        # Ray remembers what it could not set up.
        name = "no-such-environment" + str(len(before))
        began = time.monotonic()
        done = run(
            *before, RAY, "job", "submit", "--address", cluster.address, "--runtime-env-json",
            json.dumps({"conda": name}), "--", PYTHON, "-c", "1", cwd=project,
        )
        assert done.returncode != 0
        return done, time.monotonic() - began

    _, alone = submitted()
    done, traced = submitted(ROAR, "run")
    assert "nothing was recorded" in done.stderr
    assert traced < alone + 12
