"""Points a second from `log()` to stored: with the writers on the same cores, and draining a backlog without them."""

from __future__ import annotations

import sys
import time

from .cluster import STORED, Cluster, cluster, finish, go, start_writers
from .result import Result

RUNS = 64
WRITERS = 2


def sustained(made: Cluster, steps: int) -> tuple[float, float]:
    """Two processes log as fast as they can; (points/s until all is stored, points/s of the writers alone)."""
    made.up()
    writers = start_writers(made, WRITERS, "--runs", str(RUNS // WRITERS), "--steps", str(steps))
    start = go(writers)
    logged = finish(writers)
    written = time.perf_counter()
    stored = made.wait_stored(logged)
    made.down()
    return logged / (stored - start) / 1e6, logged / (written - start) / 1e6


def drained(made: Cluster, steps: int, *, compacted: bool) -> float:
    """Everything is spooled first; points/s from the first stored point to the last."""
    writers = start_writers(made, WRITERS, "--runs", str(RUNS // WRITERS), "--steps", str(steps))
    go(writers)
    logged = finish(writers)
    made.up()
    # The start of a JVM and of a consumer group takes seconds, whatever waits to be stored.
    start = made.wait_stored(1)
    first = made.query(STORED)[0]
    stored = made.wait_stored(logged, compacted=compacted)
    made.down()
    print(f"  {first} of {logged} were stored when the measurement began", file=sys.stderr)
    return (logged - first) / (stored - start) / 1e6


def run(quick: bool) -> list[Result]:
    """Embedded and through a real Kafka."""
    steps = 20_000 if quick else 100_000  # 64 M points
    repeats = 1 if quick else 3
    idle_compactor = {"RUNSTREAM_COMPACT_AFTER": "3600", "RUNSTREAM_COMPACT_BYTES": str(1 << 40)}
    eager = {"RUNSTREAM_COMPACT_AFTER": "0", "RUNSTREAM_COMPACT_INTERVAL": "0.5"}
    results = []
    for kafka in (False, True):
        where = "Kafka" if kafka else "embedded"
        together, alone = [], []
        for _ in range(repeats):
            with cluster(kafka=kafka, settings=eager if kafka else idle_compactor) as made:
                both, writing = sustained(made, steps // 2)
            together.append(both)
            alone.append(writing)
        must, aim = (2, 2.5) if kafka else (2, 3)
        more = ", compaction running" if kafka else ""
        results.append(
            Result(
                f"{where}: log() to stored with the writers{more}", together, "M points/s", must, aim, True
            )
        )
        results.append(Result(f"{where}: the writers meanwhile", alone, "M points/s", higher_is_better=True))
        for compacted in (False, True):
            rates = []
            for _ in range(repeats):
                with cluster(kafka=kafka, settings=eager if compacted else idle_compactor) as made:
                    rates.append(drained(made, steps, compacted=compacted))
            must, aim = (5.0, 9.0) if compacted else (8.0, 13.0)
            what = "and to Parquet" if compacted else "to Postgres"
            results.append(
                Result(
                    f"{where}: backlog {what}",
                    rates,
                    "M points/s",
                    must if kafka else None,
                    aim if kafka else None,
                    True,
                )
            )
    return results
