#!/usr/bin/env python3
"""All benches: workloads traced in every way, side by side, and what is asked of the figures.

    make bench
    BENCH_ROUNDS=1 BENCH_SIZE=0.05 BENCH_ONLY=opens,imports bench/run.py

BENCH_ROUNDS    runs of each way (5; at least 3 for results.md)
BENCH_ONLY      workloads and sections, by name; `--list` says which there are
BENCH_SIZE      a part of the whole sizes (1)
BENCH_PATIENCE  seconds after which a run is ended (120)
BENCH_PEERS     0: without the peers, which are installed from PyPI on first use
BENCH_ROAR      the program (target/release/roar)

A whole campaign is written to bench/results/results.md, any other to bench/results/quick.md.
"""

import os
import platform
import sys

import campaign
import fixtures
import measured
import memory
import others
import tables
import verdicts
import ways
import whole
import workloads

ROOT = others.ROOT
CACHE = os.path.join(ROOT, ".cache", "bench")
PEERS = os.path.join(ROOT, ".cache", "bench-peers")
RESULTS = os.path.join(ROOT, "bench", "results")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SIZE = float(os.environ.get("BENCH_SIZE", "1"))
PATIENCE = float(os.environ.get("BENCH_PATIENCE", "120"))
ONLY = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name]
WITH_PEERS = os.environ.get("BENCH_PEERS", "1") != "0"
ROAR = os.path.abspath(
    os.environ.get("BENCH_ROAR") or os.path.join(ROOT, "target", "release", "roar"))
LEAST_STARTS = 20  # it is short, and taken off from others
MEMORY, STORE, RAY, STARTUP, SHIM = SECTIONS = ("memory", "store", "ray", "startup", "shim")


def say(line):
    print(line, file=sys.stderr, flush=True)


def is_chosen(name):
    return not ONLY or name in ONLY


def environment():
    """Of what is run: the same for every way, and nothing of the user's."""
    home = os.path.join(CACHE, "home")
    os.makedirs(home, exist_ok=True)
    return {
        "PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8",
        "DO_NOT_TRACK": "1", "REPROZIP_USAGE_STATS": "off",
    }


def machine():
    with open("/proc/meminfo") as meminfo:
        kib = int(meminfo.readline().split()[1])
    return "Linux %s, %s, %d CPUs, %.0f GiB; Python %s. Load before: %.2f. %d rounds, size %g." % (
        platform.release(), platform.machine(), os.cpu_count(), kib / (1 << 20),
        platform.python_version(), os.getloadavg()[0], ROUNDS, SIZE)


class Bench:
    """One campaign: what is run, and what came of it."""

    def __init__(self):
        scale = workloads.Scale(SIZE)
        self.machine = machine()
        self.env = environment()
        self.programs = workloads.compiled(os.path.join(CACHE, "programs"))
        paths = fixtures.prepared(CACHE, scale)
        self.scratch, self.written = paths.scratch, paths.written
        self.mebibytes = scale(1024)
        listed = workloads.listed(self.programs, paths, scale)
        self.listed = [workload for workload in listed if None not in workload.command]
        self.chosen = [workload for workload in self.listed if self.is_run(workload.name)]
        self.ways = ways.own(ROAR, self.programs["before_6_6"]) | ways.strace()
        self.left_out = [
            "%s: not installed" % workload.what for workload in listed
            if workload not in self.listed]
        if ways.STRACE not in self.ways:
            self.left_out.append("strace: not installed")
        self.results = campaign.Results()
        self.memory, self.passes, self.store = {}, {}, {}
        self.texts = []

    def is_run(self, name):
        """The start is needed wherever a cost per operation is."""
        is_needed = name == workloads.START and any(
            workload.operations and is_chosen(workload.name) for workload in self.listed)
        return is_chosen(name) or is_needed

    def add_peers(self):
        if not WITH_PEERS:
            self.left_out.append("peers: BENCH_PEERS is 0")
            return
        found, left_out = ways.peers(PEERS, self.scratch, workloads.PYTHON, self.env)
        self.ways |= found
        self.left_out += left_out

    def trace(self):
        for workload in self.chosen:
            rounds = max(ROUNDS, LEAST_STARTS) if workload.name == workloads.START else ROUNDS
            try:
                self.results.of[workload.name] = campaign.by_turns(
                    workload, self.ways, rounds, self.env, PATIENCE, say)
            except measured.Failed as failure:
                self.left_out.append("%s, untraced: %s" % (workload.what, failure))
            self.write()
        if is_chosen(workloads.BIG_FILE):
            self.passes = whole.blake3_pass(
                PEERS, workloads.PYTHON, self.programs["big_file"], self.mebibytes, self.written,
                ROUNDS)

    def run_whole(self):
        peer = os.path.join(PEERS, "roar-cli", "bin", "roar")
        workload, found = whole.runs(
            ROAR, peer if WITH_PEERS and os.path.exists(peer) else None, self.scratch, self.env)
        self.results.of[workload.name] = campaign.by_turns(
            workload, found, ROUNDS, self.env, PATIENCE, say)
        self.texts.append(("A whole run, with digests and recording: wall time", tables.ratios(
            self.results, [workload], list(found), "wall")))

    def weigh(self):
        for workload in self.chosen or self.listed:
            self.memory[workload.name] = memory.of(workload, ROAR, self.scratch, self.env)
            say("%s: memory" % workload.name)

    def run_others(self):
        if is_chosen(STORE):
            text, self.store = others.store(self.scratch)
            self.texts.append(("The store", "```\n%s```\n" % text))
        for name, title, run in (
            (RAY, "Ray", lambda: others.ray(ROAR, ROUNDS, self.scratch)),
            (STARTUP, "Starting a program", lambda: others.startup(ROAR)),
            (SHIM, "Ray's shim", others.shim),
        ):
            if is_chosen(name):
                say(name)
                self.texts.append((title, run()))
                self.write()

    def write(self):
        """So far."""
        is_whole = not ONLY and SIZE == 1 and ROUNDS >= 3 and WITH_PEERS
        os.makedirs(RESULTS, exist_ok=True)
        with open(os.path.join(RESULTS, "results.md" if is_whole else "quick.md"), "w") as written:
            written.write(self.text())

    def text(self):
        columns = list(self.ways)
        parts = ["# What tracing costs", self.machine, *self.left_out]
        if self.results.of:
            for title, make, which in (
                ("CPU time: ratios to native", tables.ratios, "cpu"),
                ("Wall time: ratios to native", tables.ratios, "wall"),
                ("CPU time per operation", tables.per_operation, "cpu"),
                ("Wall time per operation", tables.per_operation, "wall"),
            ):
                parts += ["## " + title, make(self.results, self.chosen, columns, which)]
        if self.memory:
            parts += ["## The supervisor's peak memory", tables.memory(
                self.memory, self.listed, memory.allowed)]
        for title, text in self.texts:
            parts += ["## " + title, text]
        judge = verdicts.Judge(self.results, self.chosen)
        parts += ["## What is asked", tables.verdicts(
            judge.all(self.memory, self.passes, self.store))]
        return "".join(part.rstrip("\n") + "\n\n" for part in parts).rstrip("\n") + "\n"


def main():
    measured.become_subreaper()
    bench = Bench()
    if sys.argv[1:] == ["--list"]:
        print("\n".join([workload.name for workload in bench.listed] + [workloads.RUN, *SECTIONS]))
        return
    bench.add_peers()
    with fixtures.in_memory(bench.written) as is_in_memory:
        if not is_in_memory:
            bench.left_out.append("a file system in memory: what is written is on the disk")
        bench.trace()
        if is_chosen(MEMORY):
            bench.weigh()
            bench.write()
    if is_chosen(workloads.RUN):
        bench.run_whole()
        bench.write()
    bench.run_others()
    bench.write()
    print(bench.text())


if __name__ == "__main__":
    main()
