"""The shim in the workers of a real Ray cluster.

Run with pytest, or as a plain script; needs `ray`. Workers write their attribution pages
to files (see shim_probe.py), which are read here by the layout of roar-tracee/src/abi.rs.
"""

import glob
import json
import os
import re
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHIM = os.path.join(ROOT, "python-shim")
sys.path[:0] = [SHIM, HERE]

from roar_shim import abi  # noqa: E402

KINDS = {0: "task", 1: "actor_init", 2: "actor_method", 3: "internal", 4: "job_supervisor"}
STATES = {1: "running", 2: "completed", 3: "failed"}


class PageFile:
    """A page as a reader sees it."""

    def __init__(self, path):
        with open(path, "rb") as page:
            self.data = page.read()
        self.pid = int(path.rsplit("-", 1)[1])
        self.only_running = self.word(abi.ONLY_RUNNING)
        length = self.word(abi.CONTEXT_LEN)
        self.context = json.loads(self.data[abi.CONTEXT : abi.CONTEXT + length] or b"{}")
        self.entries = []
        for n in range(1, self.word(abi.ISSUED) + 1):
            at = abi.ENTRIES + n % abi.ENTRY_COUNT * abi.ENTRY_SIZE
            if self.word(at + abi.NUMBER) == n:
                self.entries.append(self.entry(at))

    def word(self, at):
        return struct.unpack_from("<Q", self.data, at)[0]

    def string(self, reference):
        if not reference:
            return None
        (length,) = struct.unpack_from("<I", self.data, abi.STRINGS + reference)
        return self.data[abi.STRINGS + reference + 4 :][:length].decode()

    def entry(self, at):
        kind, attempt, func, detail, task, actor, job = struct.unpack_from(
            "<IIII24s16s4s", self.data, at + abi.KIND
        )
        return {
            "pid": self.pid,
            "number": self.word(at + abi.NUMBER),
            "state": STATES[self.word(at + abi.STATE)],
            "began": self.word(at + abi.BEGAN),
            "ended": self.word(at + abi.ENDED),
            "kind": KINDS[kind],
            "attempt": attempt,
            "func": self.string(func),
            "detail": self.string(detail),
            "task": task.hex(),
            "actor": actor.hex() if any(actor) else None,
            "job": job.hex(),
        }

    def slots(self):
        """The numbers of the threads that work for a task, by tid."""
        found = {}
        for at in range(abi.SLOTS, abi.ENTRIES, abi.SLOT_SIZE):
            if self.word(at):
                found[self.word(at)] = self.word(at + 8)
        return found


def pages(directory):
    return [PageFile(path) for path in sorted(glob.glob(os.path.join(directory, "page-*")))]


def entries(directory, func):
    found = [e for page in pages(directory) for e in page.entries if e["func"] == func]
    return sorted(found, key=lambda e: e["began"])


def cluster(directory, **extra):
    """A local Ray whose workers run the probe."""
    import ray

    os.environ["ROAR_TEST_DIR"] = directory
    os.environ["ROAR_SHIM_LOG"] = os.path.join(directory, "shim.log")
    os.environ["ROAR_CHAIN_HOOK"] = "shim_probe.user_hook"
    os.environ["PYTHONPATH"] = SHIM + os.pathsep + HERE
    os.environ["__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"] = "shim_probe.install"
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        _temp_dir=tempfile.mkdtemp(prefix="ray-"),
        **extra,
    )
    return ray


def test_layout_is_that_of_the_rust_side():
    with open(os.path.join(ROOT, "roar-tracee/src/abi.rs")) as source:
        text = re.sub(r"///.*|//.*", "", source.read())
    seen = 0
    for name, value in re.findall(r"pub const (\w+): (?:u64|u32|usize) = ([^;]+);", text):
        value = value.replace("u64::MAX", str(2**64 - 1))
        if value.startswith("u64::from_le_bytes"):
            continue
        expected = eval(value, {}, vars(abi))  # arithmetic over names of the same layout
        assert getattr(abi, name) == expected, name
        seen += 1
    for name, value in re.findall(r"pub const (\w+): &\[u8\] = b\"([^\"]+)\"", text):
        assert getattr(abi, name, value) == value, name
    assert seen > 30


def tasks_of_every_kind(ray, directory):
    """Runs them, and returns what Ray said their ids were."""
    flag = os.path.join(directory, "flag")
    said = {}

    def me():
        from roar_shim import worker

        context = ray.get_runtime_context()
        return context.get_task_id(), worker._page.current(), context.get_actor_id()

    @ray.remote(name="a name of its own")
    def plain():
        return me()

    @ray.remote
    def outer():
        return me(), ray.get(plain.remote())

    @ray.remote(max_retries=2, retry_exceptions=True)
    def flaky():
        if not os.path.exists(flag):
            open(flag, "w").close()
            raise KeyError("once")
        return me()

    @ray.remote(max_retries=0)
    def bad():
        raise ValueError(1)

    @ray.remote(max_retries=0)
    def unpicklable():
        import _thread

        return _thread.allocate_lock()

    @ray.remote(num_returns="dynamic", max_retries=0)
    def dynamic(fail):
        yield me()
        if fail:
            raise OSError("after the first")

    @ray.remote
    def streaming():
        yield me()
        yield me()

    @ray.remote
    def threads():
        import concurrent.futures
        import threading

        found = [me()[1]]
        thread = threading.Thread(target=lambda: found.append(me()[1]))
        thread.start()
        thread.join()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(lambda: me()[1]).result())
        return found

    @ray.remote
    def forks():
        from roar_shim import worker

        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"dropped" if worker._page is None else b"kept")
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(reader, 100).decode(), me()[1]

    @ray.remote(max_retries=0)
    def exits():
        os._exit(1)

    class Base:
        def inherited(self):
            return me()

    @ray.remote
    class Actor(Base):
        def __init__(self, fail=False):
            if fail:
                raise RuntimeError("no")
            self.at_start = me()

        def method(self):
            return self.at_start, me()

        def fails(self):
            raise IndexError(2)

        def leaves(self):
            ray.actor.exit_actor()

    @ray.remote(max_concurrency=3)
    class Threaded:
        def method(self):
            time.sleep(0.3)
            from roar_shim import worker

            return me(), worker._page.words[2]

    @ray.remote
    class Async:
        async def method(self):
            import asyncio

            found = [me()[1]]
            for _ in range(3):
                await asyncio.sleep(0.02)
                found.append(me()[1])
            found.append(await asyncio.to_thread(lambda: me()[1]))
            return me(), found

        async def fails(self):
            raise KeyError(3)

        def sync(self):
            return me()

    def failing(reference):
        try:
            ray.get(reference)
        except Exception as error:
            return type(error).__name__
        raise AssertionError("did not fail")

    said["plain"] = ray.get(plain.remote())
    said["outer"] = ray.get(outer.remote())
    said["flaky"] = ray.get(flaky.remote())
    failing(bad.remote())
    failing(unpicklable.remote())
    said["dynamic"] = ray.get(next(iter(ray.get(dynamic.remote(False)))))
    ray.wait([dynamic.remote(True)])
    said["streaming"] = [ray.get(item) for item in streaming.remote()]
    said["threads"] = ray.get(threads.remote())
    said["forks"] = ray.get(forks.remote())
    actor = Actor.remote()
    said["method"] = ray.get(actor.method.remote())
    said["inherited"] = ray.get(actor.inherited.remote())
    failing(actor.fails.remote())
    failing(actor.leaves.remote())
    failing(Actor.remote(True).method.remote())
    threaded = Threaded.remote()
    said["threaded"] = ray.get([threaded.method.remote() for _ in range(3)])
    asynchronous = Async.remote()
    said["async"] = ray.get([asynchronous.method.remote() for _ in range(4)])
    said["async_sync"] = ray.get(asynchronous.sync.remote())
    failing(asynchronous.fails.remote())
    failing(exits.remote())
    return said


def test_every_kind_of_task(tmp_path):
    directory = str(tmp_path)
    ray = cluster(directory)
    try:
        said = tasks_of_every_kind(ray, directory)
        time.sleep(0.5)
    finally:
        ray.shutdown()

    def one(func, n=0, count=None):
        found = entries(directory, module + func)
        assert count is None or len(found) == count, (func, found)
        return found[n]

    log = os.path.join(directory, "shim.log")
    assert not os.path.exists(log), open(log).read()
    module = __name__.replace("__main__", "test_shim") + "."

    first, nested = entries(directory, module + "plain")
    assert (first["task"], first["number"], None) == said["plain"]
    assert first["kind"] == "task" and first["state"] == "completed" and first["attempt"] == 0
    assert first["actor"] is None and first["job"] == "01000000"
    assert 0 < first["began"] < first["ended"]

    outer = one("outer", count=1)
    assert (outer["task"], outer["number"], None) == said["outer"][0]
    assert (nested["task"], nested["number"], None) == said["outer"][1]
    assert outer["began"] < nested["began"] < nested["ended"] < outer["ended"]

    failed, retried = entries(directory, module + "flaky")
    assert failed["task"] == retried["task"] == said["flaky"][0]
    assert (failed["attempt"], failed["state"], failed["detail"]) == (0, "failed", "KeyError")
    assert (retried["attempt"], retried["state"], retried["detail"]) == (1, "completed", None)

    assert (one("bad")["state"], one("bad")["detail"]) == ("failed", "ValueError")
    assert (one("unpicklable")["state"], one("unpicklable")["detail"]) == ("failed", "TypeError")
    dynamic = entries(directory, module + "dynamic")
    assert (dynamic[0]["task"], dynamic[0]["number"], None) == said["dynamic"]
    assert [(e["state"], e["detail"]) for e in dynamic] == [("completed", None), ("failed", "OSError")]
    streaming = one("streaming", count=1)
    assert [s[1] for s in said["streaming"]] == [streaming["number"]] * 2
    assert said["threads"] == [one("threads")["number"]] * 3
    assert said["forks"] == ("dropped", one("forks")["number"])
    assert one("exits")["state"] == "running"

    init, init_failed = entries(directory, module + "Actor.__init__")
    method = one("Actor.method", count=1)
    for entry, (task, number, actor) in zip((init, method), said["method"]):
        assert (entry["task"], entry["number"], entry["actor"]) == (task, number, actor)
    assert init["kind"] == "actor_init" and init["task"] == "ff" * 8 + init["actor"]
    assert method["kind"] == "actor_method" and method["job"] == "01000000"
    assert one("Actor.inherited")["task"] == said["inherited"][0]
    assert (one("Actor.fails")["state"], one("Actor.fails")["detail"]) == ("failed", "IndexError")
    assert one("Actor.leaves")["state"] == "completed"
    assert (init_failed["state"], init_failed["detail"]) == ("failed", "RuntimeError")

    threaded = {e["task"]: e["number"] for e in entries(directory, module + "Threaded.method")}
    assert threaded == {task: number for (task, number, _), _ in said["threaded"]}
    assert said["threaded"][0][1] == abi.MANY

    asynchronous = {e["task"]: e["number"] for e in entries(directory, module + "Async.method")}
    for (task, number, _), found in said["async"]:
        assert set(found) == {number} == {asynchronous[task]}
    assert one("Async.sync")["number"] == said["async_sync"][1]
    assert (one("Async.fails")["state"], one("Async.fails")["detail"]) == ("failed", "KeyError")

    for page in pages(directory):
        running = [e for e in page.entries if e["state"] == "running"]
        assert page.only_running == (running[0]["number"] if running else 0), page.entries
        if not running:
            assert not any(page.slots().values()), page.slots()
        if page.entries:
            assert page.context["role"] == "worker" and page.context["job_id"] == "01000000"
            assert page.context["session"].startswith("session_")
            assert len(page.context["node_id"]) == len(page.context["worker_id"]) == 56
        assert os.path.exists(os.path.join(directory, "chained-%d" % page.pid))


def test_cost_of_a_task(tmp_path):
    directory = str(tmp_path)
    ray = cluster(directory)
    try:

        @ray.remote
        def cost():
            import ray._private.worker as ray_worker
            from roar_shim import worker

            def per_window(rounds=2000):
                start = time.perf_counter()
                for _ in range(rounds):
                    with ray_worker._changeproctitle("ray::x", "ray::IDLE"):
                        pass
                return (time.perf_counter() - start) / rounds * 1e6

            page, with_shim = worker._page, per_window()
            worker._page = None
            without = per_window()
            worker._page = page
            return with_shim - without

        microseconds = ray.get(cost.remote())
    finally:
        ray.shutdown()
    print("begin and end of a task: %.1f us" % microseconds)
    assert microseconds < 50


if __name__ == "__main__":
    import pathlib

    for test in (test_layout_is_that_of_the_rust_side,):
        test()
    for test in (test_every_kind_of_task, test_cost_of_a_task):
        with tempfile.TemporaryDirectory() as scratch:
            test(pathlib.Path(scratch))
    print("ok")
