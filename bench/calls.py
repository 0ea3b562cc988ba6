"""What a call costs the training loop: `log`, `log_metrics`, `log_array`, and the roll to a new segment."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import Result, repeat


def run(quick: bool) -> list[Result]:
    """Costs by the public methods of a `Run`, with default settings but for the place of the home."""
    from runstream.core import Experiment, Workspace
    from runstream.spool.collecting.collector import Collector
    from runstream_schemas.settings import Settings

    home = Path(tempfile.mkdtemp(prefix="rsb"))
    import os

    os.environ.update(RUNSTREAM_HOME=str(home), RUNSTREAM_AUTOSTART="0")
    try:
        experiment = Experiment(Workspace.get("default"), "bench")
        collector = Collector(Settings.load())

        def fresh() -> Any:
            while collector.collect(1 << 30, now=True) or collector.busy:
                for source in list(collector.sources.values()):
                    for item in list(source.waiting):
                        collector.stored(item)
            return experiment.start_logging(snapshot_directory=None, outputs=False)

        n = 1_000_000  # fewer weigh the first segments, which are small
        calls = range(n)

        def log_loop() -> float:
            run = fresh()
            start = time.perf_counter()
            for _ in calls:
                run.log("loss", 0.5)
            taken = time.perf_counter() - start
            run.complete()
            return taken / n * 1e6

        def log_metrics_loop() -> float:
            run = fresh()
            values = {f"m{i}": 0.5 * i for i in range(10)}
            start = time.perf_counter()
            for step in range(n // 10):
                run.log_metrics(values, step)
            taken = time.perf_counter() - start
            run.complete()
            return taken / n * 1e6

        array = np.random.default_rng(0).normal(size=1_000_000)

        def log_array_once() -> float:
            run = fresh()
            start = time.perf_counter()
            run.log_array("a", array)
            taken = time.perf_counter() - start
            run.complete()
            return taken

        clock = time.perf_counter_ns
        overhead = np.median([-clock() + clock() for _ in range(10_000)])

        def one_by_one() -> NDArray[np.float64]:
            run = fresh()
            single = np.empty(n, dtype=np.int64)
            for i in calls:
                start = clock()
                run.log("loss", 0.5)
                single[i] = clock() - start
            run.complete()
            timed: NDArray[np.float64] = (single - overhead) / 1000
            return timed

        repeats = 3 if quick else 7
        singles = [one_by_one() for _ in range(repeats)]

        def quantile(q: float) -> list[float]:
            return [float(np.percentile(single, q)) for single in singles]

        return [
            Result("log(), in a loop", repeat(log_loop, repeats), "us", 0.5, 0.3),
            Result("log(), p99", quantile(99), "us", 2),
            Result("log(), p99.9", quantile(99.9), "us"),
            Result("log(), segment rolls: p99.99", quantile(99.99), "us"),
            Result("log(), worst of all", [value / 1000 for value in quantile(100)], "ms", 2),
            Result("log_metrics() of 10, per point", repeat(log_metrics_loop, repeats), "us", 0.3),
            Result("log_array() of 1 M, per point", repeat(log_array_once, repeats), "us", 0.05),
        ]
    finally:
        shutil.rmtree(home, ignore_errors=True)
