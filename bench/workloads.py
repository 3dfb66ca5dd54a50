"""What is run in every way, and what it needs: the rows of the tables.

A workload is long enough that starting the tracer is little of it, where what is asked is a
ratio; for costs per operation the start is measured and taken off (`START`).
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import typing

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
PYTHON = os.path.realpath(sys.executable)
STATIC = ("opens",)

START = "start"
OPENS = "opens"
STATIC_OPENS = "static-opens"
STATIC_AT_ONCE = "static-at-once"
IMPORTS = "imports"
LOADER = "loader"
FIND = "find"
TAR = "tar"
COPY = "cp"
GIT_STATUS = "git-status"
FIND_CAT = "find-cat"
MAKE = "make"
BIG_FILE = "big-file"
RUN = "run"


@dataclasses.dataclass
class Workload:
    name: str
    what: str
    command: list
    operations: int = 0
    """Of how many a cost per operation is asked; 0: of none."""
    before: typing.Callable = lambda: None
    """Done before every run, outside of what is measured."""
    cwd: str = "/"


class Scale:
    """Sizes, as a part of the whole ones."""

    def __init__(self, part):
        self.part = part

    def __call__(self, whole, least=1):
        return max(least, int(whole * self.part))


def compiled(directory):
    """The programs of `programs/`, by name; `NAME-static` where the machine can."""
    os.makedirs(directory, exist_ok=True)
    found = {}
    for source in sorted(os.listdir(PROGRAMS)):
        name, suffix = os.path.splitext(source)
        if suffix != ".c":
            continue
        builds = {name: ()} | ({name + "-static": ("-static",)} if name in STATIC else {})
        for target, options in builds.items():
            path = os.path.join(directory, target)
            source_path = os.path.join(PROGRAMS, source)
            done = subprocess.run(["cc", "-O2", *options, "-o", path, source_path])
            if done.returncode == 0:
                found[target] = path
    return found


def emptied(directory):
    def empty():
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        os.sync()
    return empty


def loops(programs, paths, scale):
    opens, creates = scale(200_000), scale(20_000)
    static, at_once = scale(200_000), scale(50_000)
    new = os.path.join(paths.written, "new")
    yield Workload(START, "`true`", [shutil.which("true")])
    yield Workload(
        OPENS, "open + close, C", [programs["opens"], paths.file, str(opens)], opens)
    yield Workload(
        "failing-opens", "open that fails, C",
        [programs["opens"], paths.file + ".not", str(opens)], opens)
    yield Workload(
        "creates", "create + write + close, C", [programs["creates"], new, str(creates)],
        creates, before=emptied(new))
    if "opens-static" in programs:
        loop = [programs["opens-static"], paths.file]
        yield Workload(STATIC_OPENS, "open + close, static", [*loop, str(static)], static)
        yield Workload(
            STATIC_AT_ONCE, "8 static programs opening at once",
            [programs["at_once"], "8", *loop, str(at_once)], 8 * at_once)
    forks = scale(100_000)
    yield Workload("forks", "%d processes forked" % forks, [programs["forks"], str(forks)], forks)


def python_programs(programs, paths, scale):
    imports = [PYTHON, os.path.join(PROGRAMS, "imports.py")]
    at_once = 20 * os.cpu_count()
    yield Workload(
        IMPORTS, "Python imports, %d times" % scale(20),
        [programs["in_turn"], str(scale(20)), *imports])
    yield Workload(
        LOADER, "%d small files, loaded in Python" % paths.samples,
        [PYTHON, os.path.join(PROGRAMS, "loader.py"), paths.loaded])
    yield Workload(
        "at-once", "%d Python programs at once" % at_once,
        [programs["at_once"], str(at_once), *imports])


def tools(programs, paths, scale):
    copies = os.path.join(paths.written, "copies")
    archive = os.path.join(copies, "archive.tar")
    tree, again = paths.tree, scale(20)
    shell = shutil.which("sh")
    yield Workload(
        FIND, "find in %d files, %d times over" % (paths.files, again),
        [shutil.which("find"), *[tree] * again, "-type", "f", "-size", "+9"])
    yield Workload(
        TAR, "tar of %d files" % paths.files,
        [shutil.which("tar"), "-cf", archive, "-C", tree, "."], before=emptied(copies))
    yield Workload(
        COPY, "cp -r of %d files" % paths.files,
        [shutil.which("cp"), "-r", tree, copies], before=emptied(copies))
    yield Workload(
        GIT_STATUS, "git status in %d files, %d times" % (paths.files, again),
        [programs["in_turn"], str(again), shutil.which("git"), "status", "--porcelain"],
        cwd=tree)
    yield Workload(
        FIND_CAT, "find piped to xargs cat, %d files" % paths.files,
        [shell, "-c", "find \"$1\" -type f -print0 | xargs -0 cat", "sh", tree])
    yield Workload(
        MAKE, "make -j2 of %d C files" % paths.sources,
        [shutil.which("make"), "-s", "-B", "-j2"], cwd=paths.project)
    size = scale(1024)
    big = os.path.join(copies, "big")
    yield Workload(
        BIG_FILE, "%d MiB written, then read" % size, [programs["big_file"], big, str(size)],
        before=emptied(copies))


def listed(programs, paths, scale):
    return [
        *loops(programs, paths, scale),
        *python_programs(programs, paths, scale),
        *tools(programs, paths, scale),
    ]
