"""A trainer to measure with: many runs, ten series each, interleaved as a training loop logs them. Started as processes.

Half of the series are noisy float64, a third were float32 once, one is smooth, one holds small integers.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

SERIES = 10
CYCLE = 65_536
"""Steps after which the prepared values repeat: making them must not be what is measured."""


def prepared(seed: int = 0) -> list[dict[str, float | int]]:
    """One dict of ten values a step."""
    random = np.random.default_rng(seed)
    columns: list[list[float | int]] = []
    for _ in range(5):
        columns.append(random.normal(size=CYCLE).tolist())
    for _ in range(3):
        columns.append(random.normal(size=CYCLE).astype(np.float32).astype(np.float64).tolist())
    columns.append(np.sin(np.arange(CYCLE) / 500).tolist())
    columns.append([float(v) for v in random.integers(0, 100, CYCLE)])
    return [{f"metric_{i}": columns[i][step] for i in range(SERIES)} for step in range(CYCLE)]


def main() -> None:
    """Log, and print how many points and in how many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=32)
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--steps", type=int, default=1000, help="of every run")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="points a second in all; 0: as fast as it goes"
    )
    parser.add_argument("--single", action="store_true", help="log() each value instead of log_metrics()")
    options = parser.parse_args()
    from runstream.core import Experiment, Workspace

    experiment = Experiment(Workspace.get("default"), "bench")
    runs = [experiment.start_logging(snapshot_directory=None, outputs=False) for _ in range(options.runs)]
    steps = [{name: row[name] for name in list(row)[: options.series]} for row in prepared()]
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    logged = 0
    per_step = options.runs * options.series
    for step in range(options.steps):
        values = steps[step % CYCLE]
        if options.single:
            for run in runs:
                log = run.log
                for name, value in values.items():
                    log(name, value)
        else:
            for run in runs:
                run.log_metrics(values, step)
        logged += per_step
        if options.rate:
            ahead = start + logged / options.rate - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
    taken = time.perf_counter() - start
    for run in runs:
        run.complete()
    print(f"{logged} {taken:.6f}", flush=True)


if __name__ == "__main__":
    main()
