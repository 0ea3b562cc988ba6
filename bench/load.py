"""Latency at 1, 10, 50 and 90 % of the maximum, and CPU a million points by process; embedded and through Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np

from .cluster import Cluster, cluster, finish, go, start_writers
from .latency import probe
from .peers.measure import processes_of
from .result import Measured, Result

SHARES = (0.01, 0.1, 0.5, 0.9)
WRITERS, RUNS, SERIES = 2, 32, 10
TICKS = os.sysconf("SC_CLK_TCK")


def run(quick: bool) -> Measured:
    """Two writers on the same cores; about three minutes with Kafka."""
    seconds = 4.0 if quick else 10.0
    results: list[Result] = []
    for kafka in (False, True):
        with cluster(kafka=kafka) as made:
            made.up()
            results += measure(made, "through Kafka" if kafka else "embedded", 1_000_000.0 * seconds, seconds)
    note = (
        f"{WRITERS} processes write {RUNS} runs of {SERIES} series; a probe logs a value beside them and looks until it "
        "is readable. CPU is user and system time, Postgres with all its backends. The maximum is what is stored while the "
        "writers share the cores."
    )
    return Measured(results, [note])


def measure(made: Cluster, where: str, points: float, seconds: float) -> list[Result]:
    """The maximum with CPU by process, then the latencies."""
    steps = max(100, int(points / (WRITERS * RUNS * SERIES)))
    writers = start_writers(made, WRITERS, "--runs", str(RUNS), "--steps", str(steps))
    before = cpu_by_process(made.home)
    start = go(writers)
    # The writers' own share, read just before they end, is at most a tenth of a second short.
    own: dict[str, float] = {}
    while any(writer.poll() is None for writer in writers):
        now = cpu_by_process(made.home)
        own["writers"] = max(own.get("writers", 0.0), now.get("writers", 0.0) - before.get("writers", 0.0))
        time.sleep(0.1)
    logged = finish(writers)
    most = logged / (made.wait_stored(logged) - start)
    after = cpu_by_process(made.home)
    used = {name: after[name] - before.get(name, 0.0) for name in after if name != "writers"} | own
    results = [Result("most", [most / 1e6], "M points/s", higher_is_better=True, of=where)]
    stored = logged
    for share in SHARES:
        rate = share * most
        steps = max(10, int(rate * (seconds + 2) / (WRITERS * RUNS * SERIES)))
        writers = start_writers(
            made, WRITERS, "--runs", str(RUNS), "--steps", str(steps), "--rate", str(rate / WRITERS)
        )
        go(writers)
        time.sleep(1)
        delays = asyncio.run(probe(made.dsn(), made.environment, seconds))
        stored += finish(writers) + len(delays)
        made.wait_stored(stored)
        print(f"  {where}, {share:.0%}: {len(delays)} probes", file=sys.stderr, flush=True)
        for name, quantile in (("p50", 50), ("p95", 95), ("p99", 99)):
            results.append(
                Result(
                    f"log() to readable, {name} at {share:.0%}",
                    [1e3 * float(np.percentile(delays, quantile))],
                    "ms",
                    of=where,
                )
            )
    for name in sorted(used, key=used.__getitem__, reverse=True):
        results.append(
            Result(f"CPU for a million points: {name}", [used[name] / logged * 1e6], "s", of=where)
        )
    return results


def cpu_by_process(home: Path) -> dict[str, float]:
    """CPU seconds so far of the processes of a home, by what they are."""
    used: dict[str, float] = {}
    for process in processes_of(f"RUNSTREAM_HOME={home}") - {os.getpid()}:
        entry = Path(f"/proc/{process}")
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        name = role(line)
        # Children that have ended count with their parent.
        used[name] = used.get(name, 0.0) + sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICKS
    return used


def role(line: str) -> str:
    """What a process is, by its command line."""
    if "kafka.Kafka" in line:
        return "Kafka"
    if "postgres" in line.split(" ", 1)[0] or line.startswith("postgres:"):
        return "Postgres"
    if "bench.writers" in line:
        return "writers"
    words = line.split()
    if "runstream" in words:
        what = words[words.index("runstream") + 1 : words.index("runstream") + 2]
        return "the service, all roles" if what in ([], ["up"]) else what[0]
    return "other"
