"""The files that the workloads read: made once, and again when another size is asked."""

import array
import contextlib
import dataclasses
import os
import shutil
import subprocess

IN_DIRECTORY = 100
SAMPLE = array.array("f", range(256)).tobytes()
HEADERS = ("stdio.h", "stdlib.h", "string.h", "math.h", "time.h", "pthread.h", "sys/stat.h")
MAKEFILE = """\
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c
\tcc -O1 -c -o $@ $<
"""


@dataclasses.dataclass
class Paths:
    scratch: str
    written: str
    file: str
    tree: str
    files: int
    loaded: str
    samples: int
    project: str
    sources: int


def small_files(directory, count, content):
    for index in range(count):
        parent = os.path.join(directory, "%04d" % (index // IN_DIRECTORY))
        if index % IN_DIRECTORY == 0:
            os.makedirs(parent)
        with open(os.path.join(parent, "%02d" % (index % IN_DIRECTORY)), "wb") as made:
            made.write(content(index))


def git(directory, *arguments):
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    subprocess.run(["git", *who, *arguments], cwd=directory, check=True)


def repository(directory, count):
    small_files(directory, count, lambda index: (b"%d\n" % index) * 200)
    git(directory, "init", "--quiet")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "-m", "files")


def c_project(directory, count):
    os.makedirs(directory)
    for index in range(count):
        with open(os.path.join(directory, "unit%d.c" % index), "w") as made:
            made.writelines("#include <%s>\n" % header for header in HEADERS)
            made.writelines(
                "double f%d_%d(double x) { return %d * sqrt(x) + %d; }\n" % (index, n, n, index)
                for n in range(50))
    with open(os.path.join(directory, "Makefile"), "w") as made:
        made.write(MAKEFILE)


@contextlib.contextmanager
def in_memory(directory):
    """A file system in memory at a directory, where that can be had; whether it was.

    What a disk's file system does with the files of earlier runs takes more time than they.
    """
    is_mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "bench", directory], stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", directory], check=True)


def prepared(root, scale):
    """What lies under `root`, of these sizes."""
    files, samples, sources = scale(5000, 100), scale(50_000, 100), scale(40, 4)
    paths = Paths(
        scratch=os.path.join(root, "scratch"), written=os.path.join(root, "written"),
        file=os.path.join(root, "file"),
        tree=os.path.join(root, "tree"), files=files,
        loaded=os.path.join(root, "loaded"), samples=samples,
        project=os.path.join(root, "project"), sources=sources)
    sizes, stamp = repr((files, samples, sources)), os.path.join(root, "sizes")
    for made in (paths.scratch, paths.written):
        os.makedirs(made, exist_ok=True)
    if os.path.exists(stamp) and open(stamp).read() == sizes:
        return paths
    for made in (paths.tree, paths.loaded, paths.project):
        shutil.rmtree(made, ignore_errors=True)
    with open(paths.file, "w") as made:
        made.write("content\n")
    repository(paths.tree, files)
    small_files(paths.loaded, samples, lambda _: SAMPLE)
    c_project(paths.project, sources)
    with open(stamp, "w") as made:
        made.write(sizes)
    return paths
