"""Jobs that meet with trouble, or have much to do: `python faults.py NAME DIRECTORY [ARG…]`."""

import os
import sys
import time

import ray

MIB = 1 << 20


def at(out, name, text):
    with open(os.path.join(out, name), "w") as target:
        target.write(text)


def wait_until(out, name, seconds=60):
    end = time.monotonic() + seconds
    while not os.path.exists(os.path.join(out, name)):
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.02)


@ray.remote(max_retries=0)
def before(out):
    at(out, "before", "whole")


@ray.remote(max_retries=0)
def beside(out):
    at(out, "beside-first", "whole")
    wait_until(out, "killed")
    at(out, "beside-last", "whole")


@ray.remote(max_retries=0)
def greedy(out, most):
    at(out, "greedy", "half")
    kept = []
    for _ in range(most // (64 * MIB)):
        kept.append(b"\1" * (64 * MIB))
        time.sleep(0.02)
    time.sleep(10)
    at(out, "greedy", "whole")


def out_of_memory(out, most):
    ray.get(before.remote(out))
    waiting = beside.remote(out)
    wait_until(out, "beside-first")
    try:
        ray.get(greedy.remote(out, int(most)))
    except ray.exceptions.OutOfMemoryError as error:
        print(type(error).__name__)
    at(out, "killed", "")
    ray.get(waiting)


@ray.remote(max_retries=0)
def in_steps(out):
    """Goes on for as long as the test needs to kill what watches."""
    total = 0
    for step in range(20):
        at(out, "step-%d" % step, str(step))
        with open(os.path.join(out, "step-%d" % step)) as source:
            total += int(source.read())
        if step == 9:
            at(out, "pid", str(os.getpid()))
            wait_until(out, "go")
    return total


def steps(out):
    print("the total is", ray.get(in_steps.remote(out)))


@ray.remote(max_retries=0)
def many_files(out, count):
    """Waits twice, for what the test does to the disk."""
    for half, asked, told in (("a", "half", "go"), ("b", "all", "end")):
        for number in range(count):
            at(out, "%s-%03d" % (half, number), half)
        at(out, asked, "")
        wait_until(out, told)
    return 2 * count


def files(out, count):
    print("files:", ray.get(many_files.remote(out, int(count))))
    sys.exit(3)


@ray.remote
def writes(out, number):
    at(out, "of-%05d" % number, "%d" % number)


@ray.remote
def by_polars(out, name):
    import polars

    path = os.path.join(out, name)
    polars.DataFrame({"x": range(50_000)}).write_parquet(path + "-a.parquet")
    lazy = polars.scan_parquet([path + "-a.parquet", os.path.join(out, "given.parquet")])
    lazy.with_columns(y=polars.col("x") * 2).sink_parquet(path + "-b.parquet")
    return polars.read_parquet(path + "-b.parquet").height


@ray.remote
def by_pyarrow(out, name):
    import pyarrow
    import pyarrow.dataset
    import pyarrow.parquet

    parts = os.path.join(out, name)
    table = pyarrow.table({"x": range(3000), "part": [number % 3 for number in range(3000)]})
    pyarrow.dataset.write_dataset(
        table, parts, format="parquet", partitioning=["part"], use_threads=True
    )
    given = pyarrow.dataset.dataset(os.path.join(out, "given.parquet")).to_table(use_threads=True)
    pyarrow.parquet.write_table(given, parts + ".parquet")
    return pyarrow.parquet.read_table(parts + ".parquet", use_threads=True).num_rows


@ray.remote
def counts(out, names):
    """Reads what the others wrote, by the threads that served them."""
    import polars
    import pyarrow.dataset

    paths = [os.path.join(out, name) for name in names]
    return polars.scan_parquet(paths[0]).collect().height, pyarrow.dataset.dataset(paths[1]).count_rows()


def tables(out):
    import pyarrow
    import pyarrow.parquet

    given = pyarrow.table({"x": range(1000)})
    pyarrow.parquet.write_table(given, os.path.join(out, "given.parquet"))
    for turn in "12":
        print(ray.get(by_polars.remote(out, "polars-" + turn)))
        print(ray.get(by_pyarrow.remote(out, "pyarrow-" + turn)))
        print(ray.get(counts.remote(out, ["polars-%s-b.parquet" % turn, "pyarrow-%s" % turn])))


def tasks(out, count):
    ray.get([writes.remote(out, number) for number in range(int(count))])


@ray.remote(num_cpus=0)
class Analyst:
    def imports(self):
        import numpy
        import pyarrow.dataset
        import pyarrow.parquet

        return len(numpy.__version__) + len(pyarrow.__version__)

    def writes(self, out, name):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2]}), os.path.join(out, name))

    def pid(self):
        return os.getpid()


def workers(out, count):
    """Says which they are, and keeps them until the test has measured."""
    analysts = [Analyst.remote() for _ in range(int(count))]
    ray.get([analyst.imports.remote() for analyst in analysts])
    for turn in range(5):
        ray.get([
            analyst.writes.remote(out, "table-%d-%d" % (number, turn))
            for number, analyst in enumerate(analysts)
        ])
    pids = ray.get([analyst.pid.remote() for analyst in analysts])
    at(out, "pids.part", " ".join(map(str, pids)))
    os.rename(os.path.join(out, "pids.part"), os.path.join(out, "pids"))
    wait_until(out, "measured")


if __name__ == "__main__":
    os.makedirs(sys.argv[2], exist_ok=True)
    own = {"tasks": {"num_cpus": 2}, "tables": {"num_cpus": 1}}
    ray.init(**own.get(sys.argv[1], {}))
    globals()[sys.argv[1]](*sys.argv[2:])
    ray.shutdown()
