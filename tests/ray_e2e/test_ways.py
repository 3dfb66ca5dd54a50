"""Every way to start: options of `ray job submit`, how the launcher gets there, fetching."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from conftest import (
    HERE, PYTHON, RAY, ROAR, Cluster, document, environment, graph, make_project, roar, run,
    wait_for,
)

JOBS = os.path.join(HERE, "jobs.py")


def submission(cluster, *options, entrypoint, before=()):
    """Arguments of roar that submit a job."""
    return (
        "run", *before, RAY, "job", "submit", "--address", cluster.address, "--log-color=false",
        *options, "--", *entrypoint,
    )


def submit(cluster, *options, cwd, code=0, entrypoint, before=(), **extra):
    """`roar run ray job submit`; what it printed."""
    arguments = submission(cluster, *options, entrypoint=entrypoint, before=before)
    return roar(*arguments, cwd=cwd, code=code, **extra)


def written(project, out):
    """What each task of the graph wrote below `out`: {(kind, name): {paths}}."""
    found = {}
    for node in graph(project)["nodes"]:
        names = {
            os.path.relpath(file["path"], out) for file in node["writes"]
            if file["path"].startswith(out + os.sep)
        }
        if names:
            found.setdefault((node["kind"], node["name"]), set()).update(names)
    return found


@pytest.fixture
def out(project):
    return os.path.join(project, "out")


@pytest.fixture
def alone(tmp_path):
    """roar in a directory where no node finds its launcher unless it is shipped there."""
    directory = os.path.join(str(tmp_path), "elsewhere")
    os.mkdir(directory)
    for name in ("roar", "roar-worker"):
        shutil.copy(os.path.join(os.path.dirname(ROAR), name), directory)
    return os.path.join(directory, "roar")


@pytest.fixture(scope="module")
def bare():
    """A cluster on whose `PATH` there is nothing of ours."""
    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    started = Cluster(os.path.join(directory, "ray"), PATH="/usr/local/bin:/usr/bin:/bin")
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)


SAID = {("ray_task", "says"): {"said.txt"}}


@pytest.mark.parametrize("ship", ["auto", "working_dir", "py_modules"])
def test_nothing_is_installed_on_the_cluster(bare, project, out, alone, ship):
    away = os.path.join(project, "work")
    os.mkdir(away)
    for name in ("jobs.py", "hook.py"):
        shutil.copy(os.path.join(HERE, name), away)
    # What is uploaded is all that there is: the launcher's own place is empty meanwhile.
    script = (
        'import os, sys; os.rename(sys.argv[1], sys.argv[1] + ".gone");'
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    launcher = os.path.join(os.path.dirname(alone), "roar-worker")
    done = run(
        alone, "run", RAY, "job", "submit", "--address", bare.address, "--working-dir", away,
        "--", PYTHON, "-c", script, launcher, "jobs.py", "speaks", out,
        cwd=project, ROAR_SHIP=ship,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "recorded" in done.stderr, done.stderr
    assert os.path.exists(launcher + ".gone")
    assert written(project, out) == SAID
    assert sorted(os.listdir(away)) == ["hook.py", "jobs.py"]


def test_a_launcher_that_is_not_shipped_is_not_found(bare, project, out, alone):
    os.rename(os.path.join(os.path.dirname(alone), "roar-worker"), alone + "-gone")
    done = run(
        alone, "run", RAY, "job", "submit", "--address", bare.address, "--", PYTHON, JOBS,
        "speaks", out, cwd=project, ROAR_SHIP="path",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "nothing was recorded" in done.stderr, done.stderr
    assert "roar-worker is missing on node" in done.stderr, done.stderr
    assert open(os.path.join(out, "said.txt")).read() == ""


def test_all_options_of_ray_job_submit(cluster, project, out):
    environment_file = os.path.join(project, "env.yaml")
    with open(environment_file, "w") as file:
        file.write("env_vars:\n  TEST_VARIABLE: 'yes '\n")
    done = submit(
        cluster, "--runtime-env", environment_file, "--working-dir", HERE,
        "--submission-id", "mine-" + os.path.basename(project), "--metadata-json", '{"a": "b"}',
        "--entrypoint-num-cpus", "1", "--entrypoint-memory", "1000",
        "--headers", '{"X-Test": "1"}', "--verify", "true", "--log-style", "record", "--verbose",
        entrypoint=(PYTHON, "jobs.py", "speaks", out), cwd=project, before=("-v",),
    )
    assert "roar: the job goes to %s\n" % cluster.address in done.stderr
    assert "recorded" in done.stderr, done.stderr
    assert open(os.path.join(out, "said.txt")).read() == "yes "
    assert written(project, out) == SAID
    known = run(
        RAY, "job", "list", "--address", cluster.address, "--log-color=false", cwd=project
    ).stdout
    assert "mine-" + os.path.basename(project) in known


@pytest.mark.parametrize("variable", ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"])
def test_the_environment_names_the_cluster(cluster, project, out, variable):
    done = roar(
        "run", RAY, "job", "submit", "--address", "http://127.0.0.1:9", "--", PYTHON, JOBS,
        "speaks", out, cwd=project, **{variable: cluster.address},
    )
    assert "recorded" in done.stderr, done.stderr
    assert written(project, out) == SAID


def test_what_the_user_set_is_chained(cluster, project, out):
    own = {
        "py_executable": PYTHON + " -X utf8=0",
        "worker_process_setup_hook": "hook.setup",
        "env_vars": {"TEST_VARIABLE": "own "},
        "working_dir": HERE,
    }
    done = submit(
        cluster, "--runtime-env-json", json.dumps(own),
        entrypoint=(PYTHON, "jobs.py", "speaks", out), cwd=project,
    )
    assert "recorded" in done.stderr, done.stderr
    assert open(os.path.join(out, "said.txt")).read() == "own hooked"
    assert written(project, out) == SAID


def test_the_drivers_own_runtime_env_is_no_conflict(cluster, project, out):
    """A driver that sets what roar has set for the job, too."""
    init = {"runtime_env": {
        "py_modules": [os.path.join(project, "mine")], "env_vars": {"TEST_VARIABLE": "driver "},
    }}
    os.mkdir(init["runtime_env"]["py_modules"][0])
    open(os.path.join(project, "mine", "__init__.py"), "w").close()
    own = {"env_vars": {"TEST_INIT": json.dumps(init)}}
    submit(
        cluster, "--runtime-env-json", json.dumps(own),
        entrypoint=(PYTHON, JOBS, "speaks", out), cwd=project,
    )
    assert open(os.path.join(out, "said.txt")).read() == "driver "
    assert written(project, out) == SAID


def test_output_may_go_into_the_working_directory(cluster, tmp_path):
    project = str(tmp_path)
    for name, text in (("job.py", "print(open('in').read())"), ("in", "x"), ("not", "y")):
        with open(os.path.join(project, name), "w") as file:
            file.write(text)
    excludes = json.dumps({"excludes": ["/not"]})
    # The first time there is no record yet.
    for _ in range(2):
        with open(os.path.join(project, "o"), "w") as o, open(os.path.join(project, "e"), "w") as e:
            done = subprocess.run(
                [ROAR, *submission(
                    cluster, "--working-dir", ".", "--runtime-env-json", excludes,
                    entrypoint=(PYTHON, "-c", "import os; print(sorted(os.listdir()))"),
                )],
                cwd=project, env=environment(), stdin=subprocess.DEVNULL, stdout=o, stderr=e,
            )
        with open(os.path.join(project, "o")) as o, open(os.path.join(project, "e")) as e:
            said = o.read(), e.read()
        assert done.returncode == 0, said
        assert "['e', 'in', 'job.py', 'o']" in said[0], said


def test_a_refused_job_is_rays_own_error(cluster, project):
    """Nothing to collect, and nobody waits for it."""
    with open(os.path.join(project, "large"), "wb") as file:
        for _ in range(101):
            file.write(os.urandom(1 << 20))
    began = time.monotonic()
    done = submit(
        cluster, "--working-dir", project, entrypoint=("true",), cwd=project, code=1
    )
    assert time.monotonic() - began < 60
    assert "the working_dir is 101 MiB, and Ray takes at most 100 MiB" in done.stderr
    assert "left no record" not in done.stderr
    assert "recorded" not in done.stderr


def test_a_submitted_jobs_report(cluster, project, out):
    report = os.path.join(project, "report.json")

    def gaps(warnings):
        done = submit(
            cluster, "--working-dir", HERE, entrypoint=(PYTHON, "jobs.py", "speaks", out),
            cwd=project, before=("--json", report), ROAR_PROJECT_DIR=project,
        )
        assert done.stderr.count("warning") == warnings
        with open(report) as file:
            found = document(file.read())
        os.remove(report)
        assert (found["schema"], found["run"]["exit_code"]) == ("roar.trace/1", 0)
        kinds = {task["kind"]: [os.path.basename(f["path"]) for f in task["writes"]]
                 for task in found["tasks"]}
        assert kinds["ray_task"] == ["said.txt"]
        return {gap["kind"] for gap in found["coverage"]["gaps"]}

    assert "store" not in gaps(0)
    # The same where nothing can be kept.
    shutil.rmtree(os.path.join(project, ".roar"))
    with open(os.path.join(project, ".roar"), "w"):
        pass
    assert "store" in gaps(1)


@pytest.mark.parametrize("options, extra", [(("--no-wait",), None), ((), "collect = false")])
def test_a_report_of_a_job_that_is_not_collected_is_an_error(tmp_path, options, extra):
    project = str(tmp_path)
    if extra:
        with open(os.path.join(project, "roar.toml"), "w") as file:
            file.write("[ray]\n%s\n" % extra)
    done = roar(
        "run", "--json", "r.json", RAY, "job", "submit", "--address", "http://127.0.0.1:1",
        *options, "--", "true", cwd=project, code=2, ROAR_PROJECT_DIR=project,
    )
    assert done.stderr.startswith("roar: cannot report with --json"), done.stderr
    assert "roar ray fetch" in done.stderr
    assert not {".roar", "r.json"} & set(os.listdir(project))


def test_a_job_that_could_not_be_set_up_has_failed(cluster, project):
    own = json.dumps({"working_dir": "https://127.0.0.1:1/none.zip"})
    submit(cluster, "--runtime-env-json", own, entrypoint=("true",), cwd=project, code=1)
    (job,) = jobs_of(project)
    assert (job["exit_code"], job["ended_at"] is None) == (1, False)


def fetched(cluster, project, id, **extra):
    """What `roar ray fetch` says, once the job has ended."""
    def is_over():
        done = run(RAY, "job", "status", "--address", cluster.address, id, cwd=project)
        return "succeeded" in done.stdout

    wait_for(is_over, 60, "the end of " + id)
    done = roar("ray", "fetch", "--json", "--address", cluster.address, id, cwd=project, **extra)
    return document(done.stdout)


def test_a_job_not_waited_for_is_fetched(cluster, project, out):
    id = "later-" + os.path.basename(project)
    done = submit(
        cluster, "--no-wait", "--submission-id", id, entrypoint=(PYTHON, JOBS, "speaks", out),
        cwd=project,
    )
    assert "`roar ray fetch %s` collects it" % id in done.stderr
    # What was given is known; what came of it is not.
    assert graph(project)["nodes"] == []
    given = jobs_of(project)
    assert given[0]["command"][1:4] == ["job", "submit", "--address"]
    found = fetched(cluster, project, id)
    assert (found["status"], found["tasks"], found["missed"]) == ("SUCCEEDED", 2, 0)
    assert written(project, out) == SAID
    before = graph(project)
    assert [job["command"] for job in jobs_of(project)] == [given[0]["command"]]
    fetched(cluster, project, id)
    assert graph(project) == before


def jobs_of(project):
    return document(roar("log", "--json", cwd=project).stdout)["jobs"]


def test_a_job_submitted_by_hand_is_fetched_alone(cluster, project, out):
    by_hand = {"py_executable": os.path.join(os.path.dirname(ROAR), "roar-worker") + " --"}
    ids = []
    for name in ("one", "two"):
        done = cluster.submit(
            by_hand, PYTHON, JOBS, "speaks", os.path.join(out, name), cwd=project,
        )
        ids += re.search(r"'(raysubmit_\w+)' succeeded", done.stdout).groups()
    assert fetched(cluster, project, ids[1])["tasks"] == 2
    assert written(project, out) == {("ray_task", "says"): {"two/said.txt"}}
    roar("ray", "fetch", "--address", cluster.address, ids[0], cwd=project)
    assert written(project, out) == {("ray_task", "says"): {"one/said.txt", "two/said.txt"}}


def test_what_cannot_be_fetched_is_one_line(cluster, project):
    done = roar("ray", "fetch", "--address", cluster.address, "nobody", cwd=project, code=1)
    assert done.stderr.startswith("roar: there is no job nobody at %s (" % cluster.address)
    done = roar("ray", "fetch", "--address", "http://127.0.0.1:9", "x", cwd=project, code=1)
    assert done.stderr.startswith("roar: cannot ask the dashboard at http://127.0.0.1:9 (")
    assert done.stderr.count("\n") == 1


def test_collecting_can_be_left_for_later(cluster, project, out):
    roar("config", "set", "ray.collect", "false", cwd=project)
    done = submit(cluster, entrypoint=(PYTHON, JOBS, "speaks", out), cwd=project)
    (id,) = re.search(r"roar ray fetch (\S+)` collects", done.stderr).groups()
    assert fetched(cluster, project, id)["tasks"] == 2
    assert written(project, out) == SAID


def test_ray_can_be_a_command_like_any_other(cluster, project, out):
    job = submission(cluster, entrypoint=(PYTHON, JOBS, "speaks", out), before=("-q",))
    done = run(ROAR, *job, cwd=project, ROAR_WRAP="0")
    # In this job there is only Ray, whose drivers do crash, if very rarely.
    if "\nSegmentation fault\n" in done.stdout:
        done = roar(*job, cwd=project, ROAR_WRAP="0")
    assert (done.returncode, done.stderr.count("roar")) == (0, 0), done.stdout + done.stderr
    assert {node["kind"] for node in graph(project)["nodes"]} == {"command"}


def test_ctrl_c_ends_the_waiting_and_not_the_job(cluster, project, out):
    os.mkdir(out)
    flag = os.path.join(out, "go")
    wait = "import os,time\nopen(%r,'w').close()\nwhile not os.path.exists(%r): time.sleep(.1)\n"
    wait = (wait + "open(%r,'w').close()") % tuple(os.path.join(out, n) for n in ("ready", "go", "done"))
    endings = []
    for name, before in (("plain", ()), ("traced", (ROAR, "run"))):
        id = "%s-%s" % (name, os.path.basename(project))
        process = subprocess.Popen(
            [*before, RAY, "job", "submit", "--address", cluster.address, "--submission-id", id,
             "--", PYTHON, "-c", wait],
            cwd=project, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        try:
            wait_for(lambda: os.path.exists(os.path.join(out, "ready")), 60, "the job")
            os.remove(os.path.join(out, "ready"))
            time.sleep(1)
            # The terminal's doing: the whole foreground group.
            os.killpg(process.pid, signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
        endings.append(process.returncode)
        if before:
            assert "`roar ray fetch %s` collects it" % id in stderr, stderr
    open(flag, "w").close()
    assert endings[0] == endings[1] != 0, endings
    fetched(cluster, project, id)
    assert written(project, out) == {("ray_driver", "python"): {"done"}}


def test_a_prepared_manifest_starts_workers_through_the_launcher(project, out):
    """What the manifest says, said to a cluster as KubeRay would."""
    import yaml

    source = os.path.join(HERE, "manifest.yaml")
    target = os.path.join(project, "prepared.yaml")
    roar("ray", "prepare", source, "-o", target, cwd=project)
    with open(source) as file:
        before = file.read()
    with open(target) as file:
        after = file.read()
    assert roar("ray", "prepare", source, cwd=project).stdout == after
    assert roar("ray", "prepare", source, "-o", "-", cwd=project).stdout == after
    assert roar("ray", "prepare", target, cwd=project).stdout == after
    spec = yaml.safe_load(after)["spec"]
    own = yaml.safe_load(before)["spec"]
    pods = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    variables = []
    for group in pods:
        container = group["template"]["spec"]["containers"][0]
        variables.append({entry["name"]: entry["value"] for entry in container["env"]})
        container["env"] = [e for e in container["env"] if e["name"].startswith("TEST")]
        if not container["env"]:
            del container["env"]
    runtime_env = yaml.safe_load(spec.pop("runtimeEnvYAML"))
    assert yaml.safe_load(own.pop("runtimeEnvYAML")) == {"env_vars": runtime_env["env_vars"]}
    assert spec == own
    given = {"RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_OVERRIDE_JOB_RUNTIME_ENV"}
    assert [set(found) for found in variables] == [given | {"TEST_OWN"}, given]

    directory = tempfile.mkdtemp(prefix="roar-e2e-", dir="/tmp")
    path = os.pathsep.join([os.path.dirname(ROAR), os.path.dirname(PYTHON), os.environ["PATH"]])
    cluster = Cluster(os.path.join(directory, "ray"), **{**variables[0], "PATH": path})
    try:
        done = cluster.submit(
            runtime_env, PYTHON, JOBS, "speaks", os.path.join(out, "job"), cwd=project
        )
        (id,) = re.search(r"'(raysubmit_\w+)' succeeded", done.stdout).groups()
        fetched(cluster, project, id)
        assert written(project, out) == {("ray_task", "says"): {"job/said.txt"}}
        # Somebody in the head's container.
        joins = json.dumps({"address": cluster.gcs, "_node_ip_address": "127.0.0.1"})
        done = run(
            PYTHON, JOBS, "speaks", os.path.join(out, "joined"), cwd=project,
            TEST_INIT=joins, **variables[0],
        )
        assert done.returncode == 0, done.stderr
        cluster.wait_sealed()
        roar("merge", cluster.fragments, cwd=project)
        assert written(project, out) == {("ray_task", "says"): {"job/said.txt", "joined/said.txt"}}
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("text", ["a: [1\nb", "kind: Pod\n", ""])
def test_a_manifest_that_is_none_is_one_line(project, text):
    with open(os.path.join(project, "bad.yaml"), "w") as file:
        file.write(text)
    done = roar("ray", "prepare", "bad.yaml", cwd=project, code=1)
    assert done.stderr.startswith("roar: cannot prepare bad.yaml (")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


WAYS = os.path.join(HERE, "ways.py")
TASK = ("ray_task", "writes")


@pytest.mark.parametrize("name, wrote", [
    ("twice", {"first", "second"}),
    ("never_shut_down", {"only"}),
])
def test_a_local_ray_again_and_never_shut_down(project, out, name, wrote):
    roar("run", PYTHON, WAYS, name, out, cwd=project)
    assert written(project, out) == {TASK: wrote}


def test_a_script_that_joins_a_cluster(cluster, project, out):
    """Its tasks are those of the run, and no other's that are in the cluster's logs."""
    by_hand = {"py_executable": os.path.join(os.path.dirname(ROAR), "roar-worker") + " --"}
    cluster.submit(
        by_hand, PYTHON, WAYS, "never_shut_down", os.path.join(out, "other"), cwd=project
    )
    options = {"address": cluster.gcs, "_node_ip_address": "127.0.0.1"}
    done = roar("run", PYTHON, WAYS, "joins", out, json.dumps(options), cwd=project)
    assert "tasks recorded" in done.stderr, done.stderr
    assert written(project, out) == {TASK: {"joined"}}
    assert len({node["job"] for node in graph(project)["nodes"]}) == 1


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_a_script_and_its_tasks_see_what_they_would_see(request, project, out, where):
    options = {"logging_level": "ERROR", "num_cpus": 2}
    if where == "cluster":
        cluster = request.getfixturevalue("cluster")
        options = {"address": cluster.gcs, "_node_ip_address": "127.0.0.1"}
    words = PYTHON, WAYS, "surroundings", out, json.dumps(options)
    plain = run(*words, cwd=project)
    assert "'job'" in plain.stdout and "'task'" in plain.stdout and "True)" in plain.stdout
    done = roar("run", *words, cwd=project)
    assert done.stdout == plain.stdout
    names = {"bare", "bare-own", "configured", "configured-own"}
    assert written(project, out) == {("ray_task", "sees"): names}


def test_the_scripts_own_runtime_env_is_chained(project, out):
    own = {
        "env_vars": {"TEST_VARIABLE": "own ", "PYTHONPATH": HERE},
        "worker_process_setup_hook": "hook.setup",
    }
    roar(
        "run", PYTHON, WAYS, "joins", out, json.dumps({"runtime_env": own}), cwd=project
    )
    assert open(os.path.join(out, "joined")).read() == "own hooked"
    assert written(project, out) == {TASK: {"joined"}}


def test_the_scripts_own_py_executable_is_used(project, out):
    own = json.dumps({"runtime_env": {"py_executable": PYTHON + " -X dev"}})
    plain = run(PYTHON, WAYS, "joins", out, own, cwd=project)
    done = roar("run", PYTHON, WAYS, "joins", out, own, cwd=project)
    assert done.stdout == plain.stdout != ""
    assert "True" in done.stdout
    assert written(project, out) == {TASK: {"joined"}}


def test_a_script_that_asks_for_an_image_gets_as_far_as_without_roar(project, out):
    own = json.dumps({"runtime_env": {"image_uri": "no-such-image", "env_vars": {}}})
    code = "import ray, json, sys; ray.init(**json.loads(sys.argv[1])); print('connected')"
    done = roar("run", PYTHON, "-c", code, own, cwd=project)
    assert done.stdout == "connected\n"


def paths(files):
    return [file["path"] for file in files]


@pytest.mark.parametrize("where", ["local", "submitted"])
def test_two_jobs_at_once_never_mix(request, tmp_path, where):
    projects, running = [], []
    for name in ("one", "two"):
        os.mkdir(os.path.join(str(tmp_path), name))
        projects.append(make_project(os.path.join(str(tmp_path), name)))
    command = []
    if where == "submitted":
        cluster = request.getfixturevalue("cluster")
        command = [RAY, "job", "submit", "--address", cluster.address, "--"]
    try:
        for mine, other in (projects, projects[::-1]):
            words = [PYTHON, WAYS, "slowly", os.path.join(mine, "out"), os.path.join(other, "out")]
            running.append(subprocess.Popen(
                [ROAR, "run", *command, *words], cwd=mine, env=environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            ))
        for process in running:
            output, _ = process.communicate(timeout=150)
            assert process.returncode == 0, output
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
    for project in projects:
        assert written(project, str(tmp_path)) == {
            TASK: {os.path.join(os.path.basename(project), "out", n) for n in ("begun", "done")}
        }


@pytest.mark.parametrize("traced", [False, True])
def test_a_job_submitted_from_a_job_is_a_job_of_its_own(cluster, project, out, traced):
    launcher = os.path.join(os.path.dirname(ROAR), "roar-worker")
    inner = {"py_executable": launcher + " --"} if traced else {}
    done = submit(
        cluster, entrypoint=(PYTHON, WAYS, "submits", out, cluster.address, json.dumps(inner)),
        cwd=project,
    )
    (id,) = re.search(r"inner (\w+) SUCCEEDED", done.stdout).groups()
    assert written(project, out) == {TASK: {"outer"}}
    if traced:
        fetched(cluster, project, id)
        assert written(project, out) == {TASK: {"outer", "only"}}
        assert len({node["job"] for node in graph(project)["nodes"]}) == 2


def test_an_actor_can_be_one_node(project, out):
    roar("run", PYTHON, WAYS, "keeps", out, cwd=project)
    calls = graph(project)
    kinds = [node["kind"] for node in calls["nodes"]]
    assert kinds.count("ray_actor_method") == 8
    # Each call's own version, though the next overwrote it.
    wrote = [
        file["size"] for n in calls["nodes"] if n["name"] == "Keeper.keep" for file in n["writes"]
    ]
    assert sorted(wrote) == [4, 4, 5, 5]

    roar("config", "set", "ray.actor_attribution", "per_actor", cwd=project)
    recorded = graph(project)
    actors = {n["id"]: n for n in recorded["nodes"] if n["kind"].startswith("ray_actor")}
    assert {n["name"] for n in actors.values()} == {"Keeper"}
    files = {
        (frozenset(os.path.relpath(p, out) for p in paths(n["reads"]) if p.startswith(out)),
         frozenset(os.path.relpath(p, out) for p in paths(n["writes"]) if p.startswith(out)))
        for n in actors.values()
    }
    assert files == {(frozenset([x]), frozenset([x + ".kept"])) for x in ("a", "b")}
    name = {node["id"]: node["name"] for node in recorded["nodes"]}
    edges = {
        (name[e["from"]], name[e["to"]], os.path.relpath(e["path"], out))
        for e in recorded["edges"] if e["path"].startswith(out)
    }
    assert edges == {
        ("writes", "Keeper", "a"), ("writes", "Keeper", "b"),
        ("Keeper", "reads", "a.kept"), ("Keeper", "reads", "b.kept"),
    }
    others = [n for n in calls["nodes"] if not n["kind"].startswith("ray_actor")]
    assert {n["id"] for n in recorded["nodes"]} - set(actors) == {n["id"] for n in others}
    for command in ("status", "log"):
        roar(command, "--json", cwd=project)


def test_the_ray_client_is_one_warning(cluster, project, out):
    """A client of the cluster's own client server; and a driver is none."""
    address = {"address": "ray://127.0.0.1:%d" % cluster.client_port}
    done = roar("run", PYTHON, WAYS, "joins", out, json.dumps(address), cwd=project)
    lines = [line for line in done.stderr.splitlines() if "ray://" in line and "roar" in line]
    assert lines == ["roar: warning: the tasks that went through ray:// were not traced"]
    assert open(os.path.join(out, "joined")).read() == ""
    done = roar("run", PYTHON, WAYS, "never_shut_down", out, cwd=project)
    assert "ray://" not in done.stderr


def test_a_sink_has_the_record_too(cluster, project, out):
    sink = os.path.join(project, "sink")
    roar("config", "set", "ray.sink", sink, cwd=project)
    submit(cluster, entrypoint=(PYTHON, JOBS, "speaks", out), cwd=project)
    assert written(project, out) == SAID
    expected = {node["id"] for node in graph(project)["nodes"]}
    other = os.path.join(project, "other")
    os.mkdir(other)
    os.mkdir(os.path.join(other, ".roar"))
    document(roar("merge", "--json", sink, cwd=other).stdout)
    assert {node["id"] for node in graph(other)["nodes"]} == expected


def test_the_environment_names_the_project_and_wins_over_the_files(project, tmp_path):
    elsewhere = os.path.join(str(tmp_path), "elsewhere")
    os.mkdir(elsewhere)
    os.mkdir(os.path.join(elsewhere, ".roar"))
    with open(os.path.join(project, "roar.toml"), "w") as file:
        file.write('[ray]\nship = "path"\nsink = "shared"\n')
    document(roar("config", "set", "--json", "ray.ship", "pip", cwd=project).stdout)

    def settings(cwd, **extra):
        found = document(roar("config", "list", "--json", cwd=cwd, **extra).stdout)
        return {s["key"]: (s["value"], s["source"]) for s in found["settings"]}

    own, shared = os.path.join(project, ".roar", "config.toml"), os.path.join(project, "roar.toml")
    expected = {
        "ray.enabled": (True, "default"),
        "ray.actor_attribution": ("per_call", "default"),
        "ray.ship": ("pip", own),
        "ray.pip_install": (False, "default"),
        "ray.collect": (True, "default"),
        "ray.sink": ("shared", shared),
    }
    assert settings(project) == expected
    assert settings(elsewhere, ROAR_PROJECT_DIR=project) == expected
    found = settings(project, ROAR_SHIP="path", ROAR_WRAP="0")
    assert found == {
        **expected, "ray.ship": ("path", "$ROAR_SHIP"), "ray.enabled": (False, "$ROAR_WRAP"),
    }
    roar("run", "-q", "true", cwd=elsewhere, ROAR_PROJECT_DIR=project)
    assert [node["name"] for node in graph(project)["nodes"]] == ["true"]
    assert os.listdir(os.path.join(elsewhere, ".roar")) == []


@pytest.mark.parametrize("text, why", [
    ("[ray]\nship = 'boat'\n", "ray.ship: it is one of auto, "),
    ("[ray]\nshop = 1\n", "ray.shop: unknown key"),
    ("[ray]\n\nship\n", "line 3: "),
])
def test_bad_settings_are_one_line_before_anything_runs(project, text, why):
    path = os.path.join(project, "roar.toml")
    with open(path, "w") as file:
        file.write(text)
    done = roar("run", "touch", "ran", cwd=project, code=125)
    assert done.stderr.startswith("roar: cannot use %s (%s" % (path, why))
    assert not os.path.exists(os.path.join(project, "ran"))
    roar("trace", "-q", "touch", "ran", cwd=project)
