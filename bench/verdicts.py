"""What is asked of the figures, and whether they meet it.

A row that has no figure, because its workload was left out or failed, is "not measured".
"""

import memory as supervisor_memory
import ways
import whole
import workloads

NOT_MEASURED = "not measured"
# Ratios to native: CPU, wall.
RATIOS = (
    ("Python imports", workloads.IMPORTS, 1.03, 1.06),
    ("make -j2", workloads.MAKE, 1.03, 1.06),
    ("find", workloads.FIND, 1.15, 1.25),
    ("tar", workloads.TAR, 1.15, 1.25),
    ("git status", workloads.GIT_STATUS, 1.15, 1.25),
    ("find piped to xargs cat", workloads.FIND_CAT, 1.15, 1.25),
    ("cp -r", workloads.COPY, 1.25, 1.4),
    ("small files in Python", workloads.LOADER, 1.05, 1.05),
)
# Nanoseconds on top of native.
COSTS = (
    ("open + close, read-only", workloads.OPENS, 250),
    ("open + close, static program", workloads.STATIC_OPENS, 3000),
)
AT_ONCE = ("8 static programs opening at once", 1.5)
BOTH = ("cpu", "wall")


def row(what, asked, measured, is_met):
    return what, asked, measured, "yes" if is_met else "**no**"


def missing(what, asked):
    return what, asked, NOT_MEASURED, ""


class Judge:
    """Judges one campaign."""

    def __init__(self, results, chosen):
        self.results = results
        self.workloads = {workload.name: workload for workload in chosen}

    def added(self, name, way):
        """Nanoseconds on top of native per operation: of CPU and of wall time."""
        workload = self.workloads.get(name)
        found = []
        for which in BOTH:
            costs = [
                workload and self.results.per_operation(workload, one, which, workloads.START)
                for one in (way, ways.NATIVE)
            ]
            if None in costs:
                return None
            found.append(1e9 * (costs[0] - costs[1]))
        return found

    def cost(self, what, name, limit, way):
        asked = "native + %d ns" % limit
        found = self.added(name, way)
        if found is None:
            return missing(what, asked)
        return row(what, asked, "%+.0f CPU, %+.0f wall" % tuple(found), max(found) <= limit)

    def ratio(self, what, name, limits, way):
        asked = "%.2f × CPU, %.2f × wall" % limits
        found = [self.results.ratio(name, way, which, ways.NATIVE) for which in BOTH]
        if None in found:
            return missing(what, asked)
        is_met = all(ratio <= limit for ratio, limit in zip(found, limits))
        return row(what, asked, "%.2f × CPU, %.2f × wall" % tuple(found), is_met)

    def at_once(self, limit, way):
        """An open's cost with eight programs, as a ratio to that with one on this kernel."""
        what, asked = AT_ONCE[0], "%.1f × the cost of an open with one" % limit
        one = self.workloads.get(workloads.STATIC_OPENS)
        eight = self.workloads.get(workloads.STATIC_AT_ONCE)
        found = []
        for which in BOTH:
            costs = [
                workload and self.results.per_operation(workload, one_way, which, workloads.START)
                for workload, one_way in ((eight, way), (one, ways.ACCEL_ON))
            ]
            if None in costs:
                return missing(what, asked)
            found.append(costs[0] / costs[1])
        return row(what, asked, "%.2f × CPU, %.2f × wall" % tuple(found), max(found) <= limit)

    def tracing(self, way, times, suffix=""):
        """The figures of tracing without digests, each multiplied."""
        for what, name, limit in COSTS:
            yield self.cost(what + suffix, name, times * limit, way)
        for what, name, *limits in RATIOS:
            yield self.ratio(what + suffix, name, tuple(times * each for each in limits), way)
        what, *rest = self.at_once(times * AT_ONCE[1], way)
        yield what + suffix, *rest

    def rivals(self):
        """Every way of somebody else, in every row that it has: less, in CPU and wall time."""
        names = list(dict.fromkeys(
            way for of in self.results.of.values() for way in of
            if ways.is_rival(way) and way != ways.PEER_RUN))
        for rival in names:
            compared, lost = 0, []
            for name in self.workloads:
                for which in BOTH:
                    ratio = self.results.ratio(name, ways.ACCEL_ON, which, rival)
                    compared += ratio is not None
                    if ratio is not None and ratio >= 1:
                        lost.append("%s %s %.2f" % (name, which, ratio))
            asked = "less than it, in every row"
            if not compared:
                yield missing("against " + rival, asked)
                continue
            measured = "less in %d of %d" % (compared - len(lost), compared)
            yield row("against " + rival, asked, "; ".join([measured, *lost]), not lost)

    def whole_run(self):
        what, asked = "whole `roar run`, second time", "1.10 × wall, or + 50 ms"
        native = self.results.get(workloads.RUN, ways.NATIVE)
        traced = self.results.get(workloads.RUN, whole.OWN_RUN)
        if not native or not traced:
            return missing(what, asked)
        ratio, more = traced.wall / native.wall, traced.wall - native.wall
        measured = "%.2f × wall, %+.0f ms" % (ratio, 1e3 * more)
        return row(what, asked, measured, ratio <= 1.10 or more <= 0.050)

    def digests(self, passes):
        what = "written and read, with digests, to the end of the report"
        asked = "native + one BLAKE3 pass"
        native = self.results.get(workloads.BIG_FILE, ways.NATIVE)
        traced = self.results.get(workloads.BIG_FILE, ways.HASHING)
        if not native or not traced or not passes:
            return missing(what, asked)
        more = traced.wall - native.wall
        measured = "native %+.2f s; a pass takes %s" % (more, ", ".join(
            "%.2f s (%s)" % (seconds, threads) for threads, seconds in passes.items()))
        return row(what, asked, measured, more <= passes[whole.ALL_THREADS])

    def memory(self, found):
        what, asked = "supervisor's memory", "16 MiB + 200 bytes per distinct file"
        if not found:
            return missing(what, asked)
        over = {}
        for name, of in found.items():
            peak = max(of.plain.supervisor, of.hashing.supervisor)
            if peak > supervisor_memory.allowed(of.files):
                over[name] = peak / (1 << 20)
        measured = "; ".join(
            ["within it in %d of %d" % (len(found) - len(over), len(found)),
             *("%s %.1f MiB" % each for each in over.items())])
        return row(what, asked, measured, not over)

    def store(self, figures):
        rate = figures.get("merge: wall")
        took = figures.get("ancestors of a result: wall")
        what, asked = "merge", "at least 200 000 events a second"
        yield (missing(what, asked) if rate is None
               else row(what, asked, "%.0f a second" % rate, rate >= 200_000))
        what, asked = "ancestors in 1 000 000 edges", "50 ms"
        yield (missing(what, asked) if took is None
               else row(what, asked, "%.1f ms" % took, took <= 50))

    def all(self, memory, passes, store):
        return [
            *self.tracing(ways.ACCEL_ON, 1),
            *self.tracing(ways.BEFORE_6_6, 2, ", before 6.6"),
            *self.rivals(),
            self.whole_run(),
            self.digests(passes),
            self.memory(memory),
            *self.store(store),
        ]
