"""Workers that are no Python: Ray's C++ and Java APIs."""

import os
import subprocess

import pytest
import ray
from conftest import HERE, PYTHON, RAY, graph, roar

WORKLOADS = os.path.join(HERE, "workloads")
DRIVER = os.path.join(WORKLOADS, "languages.py")
API = os.path.join(os.path.dirname(ray.__file__), "cpp")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("languages"))
    made = {"cpp": os.path.join(directory, "upper.so"), "java": os.path.join(directory, "upper.jar")}
    commands = [
        # Ray's library has the C++ standard library's old names.
        ["g++", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=0", "-shared", "-fPIC",
         "-I" + os.path.join(API, "include"), os.path.join(WORKLOADS, "upper.cc"),
         "-o", made["cpp"], "-L" + os.path.join(API, "lib"), "-Wl,--no-as-needed", "-lray_api"],
        ["javac", "-d", directory, os.path.join(WORKLOADS, "Upper.java")],
        ["jar", "cf", made["java"], "-C", directory, "Upper.class"],
    ]
    for command in commands:
        subprocess.run(command, check=True)
    return made


@pytest.fixture
def out(project):
    made = os.path.join(project, "out")
    os.mkdir(made)
    return made


def files(out, project):
    """What each node did in `out`: name, kind, reads, writes; and the edges' files."""
    document = graph(project)
    names = {node["id"]: node["name"] for node in document["nodes"]}

    def inside(found):
        return {os.path.basename(f["path"]) for f in found if os.path.dirname(f["path"]) == out}

    nodes = [
        (node["name"], (node["kind"], inside(node["reads"]), inside(node["writes"])))
        for node in document["nodes"]
    ]
    # A worker that got no task has still read its libraries.
    idle = ("Java worker", ("ray_task", set(), set()))
    nodes = [node for node in nodes if node != idle]
    assert len(dict(nodes)) == len(nodes), nodes
    edges = {
        (names[edge["from"]], names[edge["to"]], os.path.basename(edge["path"]))
        for edge in document["edges"] if edge["via"] == "file"
    }
    return document, dict(nodes), edges


@pytest.mark.parametrize("language, worker", [("cpp", "C++ worker"), ("java", "Java worker")])
def test_the_files_of_a_task_are_its_workers(libraries, project, out, language, worker):
    done = roar("run", PYTHON, DRIVER, language, libraries[language], out, cwd=project)
    assert "SOME WORDS, 10\n" in done.stdout
    document, nodes, edges = files(out, project)
    assert nodes == {
        "python": ("ray_driver", {"counted"}, {"words"}),
        worker: ("ray_task", {"words"}, {"upper"}),
        "count": ("ray_task", {"upper"}, {"counted"}),
    }
    assert edges == {
        ("python", worker, "words"), (worker, "count", "upper"),
        ("count", "python", "counted"),
    }
    # The raylet may outlive the driver for a moment.
    assert {gap["kind"] for gap in document["coverage"]["gaps"]} <= {"still_running"}


def test_a_cpp_task_of_a_cluster_is_a_gap(cluster, libraries, project, out):
    """Ray starts such a worker by no way that a job could name."""
    done = roar(
        "run", RAY, "job", "submit", "--address", cluster.address, "--", PYTHON, DRIVER, "cpp",
        libraries["cpp"], out, cwd=project,
    )
    assert "SOME WORDS, 10\n" in done.stdout
    document, nodes, edges = files(out, project)
    assert nodes == {
        "python": ("ray_driver", {"counted"}, {"words"}),
        "Upper": ("ray_task", set(), set()),
        "count": ("ray_task", {"upper"}, {"counted"}),
    }
    assert edges == {("count", "python", "counted")}
    assert document["coverage"] == {"complete": False, "gaps": [{
        "kind": "untraced_worker", "count": 1,
        "detail": "untraced work: a worker in another language (CPP)",
    }]}
    assert "untraced work: a worker in another language (CPP)" in done.stderr
