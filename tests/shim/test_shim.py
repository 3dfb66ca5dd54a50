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
        number, state, detail, began, ended, func, attempt, task = struct.unpack_from(
            "<QIIQQII24s", self.data, at
        )
        func = self.string(func)
        if func.startswith("ray.dashboard.modules.job.job_supervisor."):
            kind = "job_supervisor"
        elif task[8:20] == b"\xff" * 12:
            kind = "task"
        else:
            kind = "actor_init" if task[:8] == b"\xff" * 8 else "actor_method"
        return {
            "pid": self.pid,
            "number": number,
            "state": STATES[state],
            "began": began,
            "ended": ended,
            "kind": kind,
            "attempt": attempt,
            "func": func,
            "detail": self.string(detail),
            "task": task.hex(),
            "actor": task[8:].hex() if kind.startswith("actor") else None,
            "job": task[20:].hex(),
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


def test_a_full_table_leaves_tasks_unattributed():
    from roar_shim.page import Page

    fd = os.memfd_create("page")
    os.ftruncate(fd, abi.PAGE_SIZE)
    os.pwrite(fd, struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
    page = Page(fd)
    os.close(fd)
    task_id = bytes(8) + b"\xff" * 12 + b"\x01\0\0\0"
    numbers = [page.begin(task_id, 0, 0) for _ in range(abi.ENTRY_COUNT)]
    assert numbers == list(range(1, abi.ENTRY_COUNT + 1))
    for number in numbers:
        assert not page.end(number, abi.COMPLETED)
    assert page.words[abi.ONLY_RUNNING >> 3] == 0

    # Entry 1 is next, and nobody freed it.
    assert page.begin(task_id, 0, 0) == 0
    assert page.words[abi.ONLY_RUNNING >> 3] == 0
    entry_of_2 = (abi.ENTRIES + 2 * abi.ENTRY_SIZE) >> 3
    page.words[entry_of_2] = 0
    second = page.begin(task_id, 0, 0)
    assert second == abi.ENTRY_COUNT + 2 == page.words[abi.ISSUED >> 3]
    # The unattributed one still runs, so the other is not the only one.
    assert page.words[abi.ONLY_RUNNING >> 3] == abi.MANY
    page.end(0, abi.COMPLETED)
    assert page.words[abi.ONLY_RUNNING >> 3] == second
    page.words[(abi.DIRTY >> 3) + 2] = 1
    assert page.end(second, abi.COMPLETED)


def test_what_finds_no_entry_is_nobodys(tmp_path):
    ray = cluster(str(tmp_path))
    try:

        def fill():
            from roar_shim import worker

            for _ in range(abi.ENTRY_COUNT):
                worker._page.end(worker._page.begin(bytes(24), 0, 0), abi.COMPLETED)

        def now():
            from roar_shim import worker

            return worker._page.current()

        @ray.remote
        class Sync:
            def fill(self):
                fill()

            def now(self):
                return now()

        @ray.remote
        class Async:
            async def fill(self):
                fill()

            async def now(self):
                return now()

        for actor in (Sync.remote(), Async.remote()):
            ray.get(actor.fill.remote())
            assert ray.get(actor.now.remote()) == abi.MANY
    finally:
        ray.shutdown()


def test_slots_are_given_back_by_threads():
    import threading

    from roar_shim.page import Page

    fd = os.memfd_create("page")
    os.ftruncate(fd, abi.PAGE_SIZE)
    os.pwrite(fd, struct.pack("<QQ", abi.MAGIC, abi.VERSION), 0)
    page = Page(fd)
    os.close(fd)
    seen = set()

    def work():
        page.work_for(7)
        seen.add(page.local.slot.word)
        assert page.words[page.local.slot.word - 1] == threading.get_native_id()

    for _ in range(100):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(seen) <= 2, seen
    assert all(page.words[word] == page.words[word - 1] == 0 for word in seen)


def test_a_cancelled_task_ends_and_the_next_is_right(tmp_path):
    directory = str(tmp_path)
    ray = cluster(directory)
    try:

        began = os.path.join(directory, "began")

        @ray.remote(max_retries=0)
        def slow():
            open(began, "w").close()
            start = time.time()
            while time.time() - start < 30:
                time.sleep(0.02)

        @ray.remote
        def after():
            from roar_shim import worker

            return worker._page.current(), worker._page.words[2]

        reference = slow.remote()
        while not os.path.exists(began):
            time.sleep(0.1)
        time.sleep(0.5)
        ray.cancel(reference)
        try:
            ray.get(reference)
        except Exception:
            pass
        found = ray.get([after.remote() for _ in range(4)])
        time.sleep(0.3)
    finally:
        ray.shutdown()
    assert all(number == only != 0 for number, only in found), found
    (cancelled,) = entries(directory, __name__.replace("__main__", "test_shim") + ".slow")
    assert (cancelled["state"], cancelled["detail"]) == ("failed", "KeyboardInterrupt")
    assert all(page.only_running == 0 for page in pages(directory))


def test_a_submitted_job(tmp_path):
    """The job supervisor's page names the submission; so do its job's workers."""
    import ray
    from ray.job_submission import JobSubmissionClient

    directory = str(tmp_path)
    for name in ("__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR", "ROAR_CHAIN_HOOK", "PYTHONPATH"):
        os.environ.pop(name, None)
    script = os.path.join(directory, "script.py")
    with open(script, "w") as target:
        target.write(
            "import ray\nray.init()\n@ray.remote\ndef work(): return 1\n"
            "assert ray.get(work.remote()) == 1\n"
        )
    context = ray.init(
        num_cpus=2,
        include_dashboard=True,
        dashboard_port=8712,
        logging_level="ERROR",
        _temp_dir=tempfile.mkdtemp(prefix="ray-"),
    )
    try:
        client = JobSubmissionClient("http://" + context.dashboard_url)
        words = [
            "env",
            "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR=shim_probe.install",
            "PYTHONPATH=" + SHIM + os.pathsep + HERE,
            "ROAR_TEST_DIR=" + directory,
            sys.executable,
        ]
        client.submit_job(
            entrypoint=sys.executable + " " + script,
            submission_id="roar-test",
            runtime_env={"py_executable": " ".join(words)},
        )
        deadline = time.time() + 60
        while not client.get_job_status("roar-test").is_terminal() and time.time() < deadline:
            time.sleep(0.3)
        assert client.get_job_status("roar-test") == "SUCCEEDED", client.get_job_logs("roar-test")
    finally:
        ray.shutdown()
    found = {e["kind"]: (page, e) for page in pages(directory) for e in page.entries}
    page, supervisor = found["job_supervisor"]
    assert (supervisor["detail"], supervisor["state"]) == ("roar-test", "running")
    assert page.only_running == supervisor["number"] and len(page.entries) == 1
    page, task = found["task"]
    assert task["func"] == "script.work"
    assert page.context["submission_id"] == "roar-test"


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
            # The end of a window comes a moment after its result.
            time.sleep(0.5)
            slots = PageFile(os.path.join(directory, "page-%d" % page.pid)).slots()
            assert not any(slots.values()), slots
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

            def per_window(rounds=1000):  # thrice is within the table's size
                start = time.perf_counter()
                for _ in range(rounds):
                    with ray_worker._changeproctitle("ray::x", "ray::IDLE"):
                        pass
                return (time.perf_counter() - start) / rounds * 1e6

            time.sleep(2)  # other workers are still starting
            page, with_shim = worker._page, min(per_window() for _ in range(3))
            worker._page = None
            without = min(per_window() for _ in range(3))
            worker._page = page
            return with_shim - without

        microseconds = ray.get(cost.remote())
    finally:
        ray.shutdown()
    print("begin and end of a task: %.1f us" % microseconds)
    assert microseconds < 50


if __name__ == "__main__":
    import pathlib

    test_layout_is_that_of_the_rust_side()
    test_a_full_table_leaves_tasks_unattributed()
    test_slots_are_given_back_by_threads()
    for test in (
        test_what_finds_no_entry_is_nobodys,
        test_every_kind_of_task,
        test_a_cancelled_task_ends_and_the_next_is_right,
        test_cost_of_a_task,
        test_a_submitted_job,
    ):
        with tempfile.TemporaryDirectory() as scratch:
            test(pathlib.Path(scratch))
        time.sleep(1)
    print("ok")
