"""Workloads in all their ways, by turns, and what came of it.

The ways take turns within each round, and another one begins each round, so that whatever
else the machine does falls on all of them. CPU time is the least of the runs, wall time the
median. A way that takes long is run once.
"""

import dataclasses
import statistics

import measured

SLOW_S = 8


@dataclasses.dataclass
class Result:
    runs: list
    failure: str = ""

    @property
    def cpu(self):
        return min(run.cpu for run in self.runs)

    @property
    def wall(self):
        return statistics.median(run.wall for run in self.runs)

    @property
    def least(self):
        return {"cpu": self.cpu, "wall": min(run.wall for run in self.runs)}


class Results:
    """By workload and way."""

    def __init__(self):
        self.of = {}

    def get(self, workload, way):
        """The result, if there is one that has runs."""
        result = self.of.get(workload, {}).get(way)
        return result if result and not result.failure else None

    def ratio(self, workload, way, which, base):
        """To the way `base`; of CPU or wall time."""
        one, other = self.get(workload, way), self.get(workload, base)
        return getattr(one, which) / getattr(other, which) if one and other else None

    def per_operation(self, workload, way, which, start):
        """Seconds, less what the way's start takes at least."""
        result, started = self.get(workload.name, way), self.get(start, way)
        if not result or not workload.operations:
            return None
        taken_off = started.least[which] if started else 0
        return (getattr(result, which) - taken_off) / workload.operations


def by_turns(workload, ways, rounds, env, patience, say):
    """Runs a workload in these ways; gives the `Result` of each."""
    results = {way: Result([]) for way in ways}
    names = list(ways)
    warm_up(workload, ways[names[0]], env, patience)
    for turn in range(rounds):
        first = turn % len(names)
        for way in names[first:] + names[:first]:
            result = results[way]
            if result.failure or (result.runs and result.runs[0].wall > SLOW_S):
                continue
            workload.before()
            try:
                run = measured.timed(ways[way](workload.command), env, workload.cwd, patience)
            except measured.Failed as failure:
                result.failure = str(failure)
                say("%s, %s: %s" % (workload.name, way, failure))
                continue
            result.runs.append(run)
        say("%s: round %d of %d" % (workload.name, turn + 1, rounds))
    return results


def warm_up(workload, way, env, patience):
    workload.before()
    measured.timed(way(workload.command), env, workload.cwd, patience)
