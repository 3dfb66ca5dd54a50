"""Tasks of every kind, and what they start."""

import concurrent.futures
import multiprocessing.pool
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy,
)
from touching import AsLoaded, first, path, touch, touch_and_fail, wait_for

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "touching.py")
TOUCH = "cat {0}/in/{1} > {0}/out/{1}"


def ended(reference):
    try:
        ray.get(reference)
    except Exception as error:
        return type(error).__name__
    return "completed"


@ray.remote
def plain():
    touch("plain")


@ray.remote
def reads_only():
    open(path("in/reads_only")).close()


@ray.remote
def nothing():
    return 1


LOADED = AsLoaded("loads-function")
UNLOADABLE = AsLoaded("loads-not", touch_and_fail)


@ray.remote
def loads():
    touch("loads" if LOADED is None else "")


@ray.remote(max_retries=0)
def loads_not():
    return UNLOADABLE


@ray.remote
class Loads:
    loaded = AsLoaded("loads-class")

    def method(self):
        touch("loads-method")


@ray.remote
def inner():
    touch("inner")


@ray.remote
def outer():
    touch("outer-before")
    ray.get(inner.remote())
    touch("outer-after")


@ray.remote
def placed():
    touch("placed")


@ray.remote
def spread():
    touch("spread")


@ray.remote
def affine():
    touch("affine")


@ray.remote(max_retries=2, retry_exceptions=True)
def raises():
    for attempt in range(3):
        if first("raises-%d" % attempt):
            touch("raises-%d" % attempt)
            if attempt < 2:
                raise OSError("not yet")
            return


@ray.remote(max_retries=1)
def dies():
    if first("dies"):
        touch("dies-0")
        os.kill(os.getpid(), signal.SIGKILL)
    touch("dies-1")


@ray.remote(max_retries=0)
def cancelled():
    touch("cancelled")
    for _ in range(3000):
        time.sleep(0.01)


@ray.remote(max_retries=0)
def cancelled_by_force():
    touch("cancelled_by_force")
    time.sleep(30)


@ray.remote
def after_cancel(name):
    touch(name)


@ray.remote(max_retries=0)
def system_exit():
    touch("system_exit")
    sys.exit(3)


@ray.remote
def streaming():
    for number in range(3):
        touch("streaming-%d" % number)
        yield number
        time.sleep(0.05)
    touch("streaming-end")


@ray.remote(num_returns="dynamic")
def dynamic():
    for number in range(3):
        touch("dynamic-%d" % number)
        yield number


@ray.remote
def consumes(number):
    touch("consumes-%d" % number)


@ray.remote
def threads():
    thread = threading.Thread(target=touch, args=("thread",))
    thread.start()
    timer = threading.Timer(0.05, touch, ("timer",))
    timer.start()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(touch, ["pool-0", "pool-1", "pool-2"]))
    with multiprocessing.pool.ThreadPool(2) as pool:
        pool.map(touch, ["threadpool-0", "threadpool-1"])
    thread.join()
    timer.join()


@ray.remote
class Lingers:
    """Its threads and processes go on while the next method runs."""

    def starts(self):
        def later():
            wait_for("lingers-next")
            touch("lingers-thread")
            time.sleep(0.2)

        self.thread = threading.Thread(target=later)
        self.thread.start()
        touch("lingers-starts")

    def next(self):
        touch("lingers-next")
        self.thread.join()
        touch("lingers-joined")


@ray.remote
class Pools:
    """Its pools' threads serve one method after the other."""

    def __init__(self):
        self.threads = concurrent.futures.ThreadPoolExecutor(1)

    def use(self, name):
        self.threads.submit(touch, "pools-thread-" + name).result()


@ray.remote
class ProcessPool:
    def __init__(self, method):
        self.method = method
        context = multiprocessing.get_context(method)
        self.pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    def use(self, name):
        self.pool.submit(touch, "%s-pool-%s" % (self.method, name)).result()


@ray.remote
class MultiprocessingPool:
    def __init__(self):
        self.pool = multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2)

    def use(self, name):
        self.pool.map(touch, ["mp-%s-%d" % (name, i) for i in range(2)])
        if name == "b":
            self.pool.close()
            self.pool.join()


@ray.remote
class Processes:
    """One way to start a process, several methods."""

    def __init__(self, method):
        self.method = method

    def use(self, name):
        name = "%s-%s" % (self.method, name)
        context = multiprocessing.get_context(self.method)
        process = context.Process(target=touch, args=(name,))
        process.start()
        process.join()
        # Not terminated: a worker that has a handler of SIGTERM, as Ray's have, may have looked
        # for signals just before it waits for ever.
        pool = context.Pool(2)
        pool.map(touch, [name + "-0", name + "-1"])
        pool.close()
        pool.join()


@ray.remote
def forks():
    pid = os.fork()
    if pid == 0:
        try:
            touch("fork")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@ray.remote
def shells():
    data = path("")
    subprocess.run([sys.executable, SCRIPT, "subprocess"], check=True)
    subprocess.run(["env", "-i", "sh", "-c", TOUCH.format(data, "scrubbed")], check=True)
    assert os.system(TOUCH.format(data, "system")) == 0
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", TOUCH.format(data, "spawned")], {"PATH": "/bin:/usr/bin"})
    os.waitpid(pid, 0)
    os.popen(TOUCH.format(data, "popen")).close()


@ray.remote
def daemon():
    data = path("")
    script = "(setsid sh -c 'while [ ! -s %s/out/after-daemon ]; do sleep 0.05; done; %s' &)"
    command = script % (data, TOUCH.format(data, "daemon"))
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)


@ray.remote
def after_daemon():
    touch("after-daemon")
    wait_for("daemon")


@ray.remote
def sqlite():
    connection = sqlite3.connect(path("out/table.db"))
    connection.execute("create table t (x)")
    connection.execute("insert into t values (1)")
    connection.commit()
    connection.close()


@ray.remote
def sqlite_reads():
    connection = sqlite3.connect("file:%s?mode=ro" % path("out/table.db"), uri=True)
    assert connection.execute("select x from t").fetchone() == (1,)
    connection.close()


@ray.remote
def arrays():
    import numpy

    numpy.save(path("out/array.npy"), numpy.arange(10))
    mapped = numpy.memmap(path("out/mapped"), dtype="uint8", mode="w+", shape=(10,))
    mapped[:] = 1
    mapped.flush()


@ray.remote
def arrays_read():
    import numpy

    assert numpy.load(path("out/array.npy")).sum() == 45
    assert numpy.memmap(path("out/mapped"), dtype="uint8", mode="r").sum() == 10


@ray.remote
def tables(name):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), path("out/" + name))


@ray.remote
class Tables:
    """Arrow's own threads open the files; they outlive the method that began them."""

    def read(self, name):
        import pyarrow.dataset

        return pyarrow.dataset.dataset(path("out/" + name)).to_table(use_threads=True).num_rows


def main():
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    ray.get([plain.remote(), reads_only.remote(), nothing.remote(), outer.remote()])
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    in_group = PlacementGroupSchedulingStrategy(placement_group=group)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ray.get([
        placed.options(scheduling_strategy=in_group).remote(),
        spread.options(scheduling_strategy="SPREAD").remote(),
        affine.options(scheduling_strategy=here).remote(),
    ])
    ray.util.remove_placement_group(group)
    ray.get([raises.remote(), dies.remote(), loads.remote(), Loads.remote().method.remote()])

    soft, hard = cancelled.remote(), cancelled_by_force.remote()
    wait_for("cancelled")
    wait_for("cancelled_by_force")
    ray.cancel(soft)
    ray.cancel(hard, force=True)
    print(ended(soft), ended(hard), ended(system_exit.remote()), ended(loads_not.remote()))
    ray.get([after_cancel.remote("after_cancel-%d" % number) for number in range(4)])

    for item in streaming.remote():
        ray.get(consumes.remote(ray.get(item)))
    for item in ray.get(dynamic.remote()):
        ray.get(item)

    ray.get([threads.remote(), forks.remote(), shells.remote()])
    lingers = Lingers.remote()
    ray.get([lingers.starts.remote(), lingers.next.remote()])
    ray.kill(lingers)
    pools = Pools.remote()
    ray.get([pools.use.remote("a"), pools.use.remote("b")])
    ray.kill(pools)
    for kind, arguments in [
        (Processes, ("fork",)), (Processes, ("spawn",)), (Processes, ("forkserver",)),
        (ProcessPool, ("fork",)), (ProcessPool, ("spawn",)), (MultiprocessingPool, ()),
    ]:
        actor = kind.remote(*arguments)
        ray.get([actor.use.remote("a"), actor.use.remote("b")])
        ray.kill(actor)
    ray.get(daemon.remote())
    ray.get(after_daemon.remote())

    for task in (sqlite, sqlite_reads, arrays, arrays_read):
        ray.get(task.remote())
    ray.get([tables.remote("a.parquet"), tables.remote("b.parquet")])
    reader = Tables.remote()
    assert ray.get([reader.read.remote("a.parquet"), reader.read.remote("b.parquet")]) == [3, 3]


main()
