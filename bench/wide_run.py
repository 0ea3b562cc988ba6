"""One run of 100,000 series of ten steps each, as of a large model's layers: logged, stored, read hot and from Parquet."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .cluster import Cluster, cluster
from .growth import environment_of
from .result import Measured, Result
from .runs_many import Memory

SERIES, STEPS = 100_000, 10
HELD_BACK = {"RUNSTREAM_COMPACT_AFTER": "3600", "RUNSTREAM_COMPACT_INTERVAL": "3600"}


def run(quick: bool) -> Measured:
    """100,000 series (quick: 10,000)."""
    series = SERIES // 10 if quick else SERIES
    results: list[Result] = []

    def add(name: str, unit: str, samples: list[float], must: float | None = None) -> None:
        results.append(Result(name, samples, unit, must))
        print(
            f"{name}: {', '.join(f'{sample:.4g}' for sample in samples)} {unit}", file=sys.stderr, flush=True
        )

    with cluster(settings=HELD_BACK) as made, environment_of(made):
        made.up()
        memory = Memory(made)
        threading.Thread(target=memory.watch, daemon=True).start()
        run_id = _log(made, series, add)
        _read(made, run_id, "hot", add)
        began = time.perf_counter()
        made.command("compact", timeout=300)
        add("to Parquet", "us a point", [(time.perf_counter() - began) / series / STEPS * 1e6])
        _read(made, run_id, "Parquet", add)
        memory.stopped.set()
        add("service's memory: peak", "MB", [memory.peak / 1e6], 600)
    return Measured(results)


def _log(made: Cluster, series: int, add: Callable[..., None]) -> str:
    """Log all series ten times; returns the run's id."""
    from runstream import Experiment, Workspace

    run = Experiment(Workspace.get("default"), "wide").start_logging(snapshot_directory=None, outputs=False)
    names = [f"layer.{i // 100}/weight.{i % 100}/norm" for i in range(series)]
    rows = [{name: float(i + step) for i, name in enumerate(names)} for step in range(STEPS)]
    took = []
    began = time.perf_counter()
    for step, row in enumerate(rows):
        before = time.perf_counter()
        run.log_metrics(row, step)
        took.append((time.perf_counter() - before) / series * 1e6)
    add("log_metrics(), the first call", "us a point", took[:1])
    add("log_metrics(), further ones", "us a point", took[1:], 1)
    run.flush()
    add("until stored", "us a point", [(time.perf_counter() - began) / series / STEPS * 1e6], 4)
    run.complete()
    return run.id


def _read(made: Cluster, run_id: str, tier: str, add: Callable[..., None]) -> None:
    import runstream.query
    from runstream.client.http import client_for
    from runstream_schemas.settings import Settings

    client = client_for(Settings.load())
    name = "layer.50/weight.17/norm"
    run_path = f"/api/v1/runs/{run_id}"

    def add_read(what: str, read: Callable[[], Any], must: float | None = None) -> None:
        times = []
        for _ in range(4):
            began = time.perf_counter()
            read()
            times.append((time.perf_counter() - began) * 1e3)
        add(f"{what}: the first time, {tier}", "ms", times[:1], must)
        add(f"{what}: again, {tier}", "ms", times[1:], must)

    add_read("one series", lambda: runstream.query.metrics(run_id, name), 50)
    chart = [("run", run_id), ("name", name), ("width", "1000")]
    add_read("chart of one series", lambda: client.get_json("/api/v1/series", chart), 50)
    add_read("its record", lambda: client.get_json(run_path, []))
    add_read("names and summaries for its page", lambda: client.get_json(f"{run_path}/series", []), 1500)
    add_read("a list with summaries", lambda: runstream.query.runs("wide", limit=1))
    statement = f"select count(*), sum(value) from metrics where name = '{name}'"
    add_read("SQL over one of them", lambda: runstream.query.sql(statement))
    add_read("all series as Arrow", lambda: runstream.query.metrics(run_id), 3000)
