"""Ratios of what runstream does to plain reference work, in one run: `python -m bench.quick`.

A slow or loaded machine slows both sides, so the ratios hold where times do not. CPU time is compared. The sides take turns
and the best of each counts: what else runs on the machine can only make it slower.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("baseline.json")
FALL = 0.5
"""A ratio fails below this share of its baseline."""

ROUNDS = 20
SECONDS = 150.0
"""After which no further round is begun."""

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Reference time by our time: higher is better.

    Attributes:
        name: what is compared with what.
        ours, reference: one round of each.
    """

    name: str
    ours: Work
    reference: Work


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and compare with the committed baseline; 1 when a ratio fell by half."""
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help=f"make what is measured the baseline, {BASELINE.name}"
    )
    options = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="rsq"))
    os.environ.update(RUNSTREAM_HOME=str(home), RUNSTREAM_AUTOSTART="0")
    try:
        with ratios() as all_ratios:
            measured = measure(all_ratios)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.write:
        BASELINE.write_text(
            json.dumps({name: round(value, 3) for name, value in measured.items()}, indent=1) + "\n"
        )
        print("\n".join(f"{value:8.3f}  {name}" for name, value in measured.items()))
        return 0
    lines, failed = compare(measured, json.loads(BASELINE.read_text()))
    print("\n".join(lines))
    if failed:
        print(
            f"error: below {FALL:.0%} of {BASELINE.name}: {'; '.join(failed)}. If that is meant, "
            "`python -m bench.quick --write` on a quiet machine makes a new baseline.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def measure(all_ratios: list[Ratio], rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, float]:
    """Best time of the reference by the best of ours, of each; the sides take turns."""
    best = {ratio.name: [float("inf"), float("inf")] for ratio in all_ratios}
    deadline = time.monotonic() + seconds
    for number in range(rounds + 1):
        if number > 1 and time.monotonic() > deadline:
            break
        for ratio in all_ratios:
            for side, work in enumerate((ratio.ours, ratio.reference)):
                start = time.process_time_ns()
                work()
                taken = time.process_time_ns() - start
                if number:  # the first round warms up
                    best[ratio.name][side] = min(best[ratio.name][side], taken)
    return {name: reference / ours for name, (ours, reference) in best.items()}


def compare(measured: dict[str, float], baseline: dict[str, float]) -> tuple[list[str], list[str]]:
    """A line a ratio, and the names of those that fell by half or are not in both."""
    lines = [f"{'ratio':>8} {'baseline':>9} {'share':>6}"]
    failed = []
    for name in [*measured, *(name for name in baseline if name not in measured)]:
        if name not in measured or name not in baseline:
            failed.append(name)
            lines.append(f"  {name}: {'not measured' if name in baseline else 'not in the baseline'}")
            continue
        share = measured[name] / baseline[name]
        if not share >= FALL:
            failed.append(name)
        lines.append(
            f"{measured[name]:8.3f} {baseline[name]:9.3f} {share:6.0%}  {name}{'  FELL' if not share >= FALL else ''}"
        )
    return lines, failed


@contextmanager
def ratios() -> Iterator[list[Ratio]]:
    """What is watched: each step of a point's way, beside plain work of the same kind on the same data."""
    import msgpack
    import numpy as np

    from runstream.core import Experiment, Workspace
    from runstream.spool.collecting.collector import Collector
    from runstream_schemas.buckets import downsample
    from runstream_schemas.series import Kind, SeriesKey
    from runstream_schemas.settings import Settings
    from runstream_schemas.wire.payload import encode_points
    from runstream_schemas.wire.payload_reading import decode_points
    from runstream_schemas.wire.points import Points

    experiment = Experiment(Workspace.get("default"), "bench")
    rng = np.random.default_rng(0)
    n, series = 50_000, 10
    values = rng.normal(size=n)
    numbers = values.tolist()
    rows = [{f"m{i}": value + i for i in range(series)} for value in numbers[: n // series]]

    def fresh() -> Any:
        return experiment.start_logging(snapshot_directory=None, outputs=False)

    runs = {name: fresh() for name in ("log", "log_metrics", "log_array")}

    def log() -> None:
        log_scalar = runs["log"].log
        for number in numbers:
            log_scalar("loss", number)

    def append() -> None:
        """What the least a Python logger does: the time, and a tuple to a list."""
        kept: list[tuple[str, float, float]] = []
        add, clock = kept.append, time.time
        for number in numbers:
            add(("loss", clock(), number))

    def log_metrics() -> None:
        many = runs["log_metrics"].log_metrics
        for step, row in enumerate(rows):
            many(row, step)

    def pack() -> None:
        packed, clock = msgpack.packb, time.time
        for step, row in enumerate(rows):
            packed((step, clock(), row))

    def log_array() -> None:
        runs["log_array"].log_array("a", values)

    def write() -> None:
        """Three columns of as many numbers, into a new file."""
        with Path(os.environ["RUNSTREAM_HOME"], "copy").open("wb", buffering=0) as file:
            for _ in range(3):
                file.write(values.tobytes())

    collector = Collector(Settings.load())

    def collect() -> None:
        while collector.collect(1 << 30, now=True) or collector.busy:
            for source in list(collector.sources.values()):
                for item in list(source.waiting):
                    collector.stored(item)

    each = n // series
    points = Points(
        [(SeriesKey(0, f"m{i}"), Kind.FLOAT) for i in range(series)],
        np.tile(np.arange(series, dtype=np.uint8), each),
        np.arange(n, dtype=np.int64),
        np.tile(np.arange(each), series),
        1_700_000_000_000_000 + np.tile(np.arange(each), series) * 1000 + rng.integers(0, 50, n),
        values.view(np.uint64),
        [],
        np.full(series, each, dtype=np.int64),
    )
    payload = encode_points(points)
    raw = b"".join(column.tobytes() for column in (points.steps, points.times, points.values))
    shrunk = zlib.compress(raw, 1)
    long_steps, long_values = np.arange(10 * n), rng.normal(size=10 * n)

    def reduce() -> None:
        """Where least and greatest of the same buckets are, with numpy alone."""
        buckets = long_values.reshape(-1, 250)
        buckets.argmin(axis=1)
        buckets.argmax(axis=1)

    yield [
        Ratio("log() / append of a tuple with the time", log, append),
        Ratio("log_metrics() of ten / msgpack of the dict", log_metrics, pack),
        Ratio("log_array() / write of three columns to a file", log_array, write),
        Ratio(
            "encode an event / zlib of its columns",
            lambda: encode_points(points),
            lambda: zlib.compress(raw, 1),
        ),
        Ratio("decode an event / zlib back", lambda: decode_points(payload), lambda: zlib.decompress(shrunk)),
        Ratio(
            "chart of 500,000 points / numpy's argmin and argmax",
            lambda: downsample(long_steps, long_values, 2000, ordered=True),
            reduce,
        ),
        Ratio(
            "collect what these logged / zlib of as many columns",
            collect,
            lambda: [zlib.compress(raw, 1) for _ in range(3)],
        ),
        _parquet(rng),
    ]
    for run in runs.values():
        run.complete()
    collect()


def _parquet(rng: Any) -> Ratio:
    """From the payloads in Postgres to a file as compaction writes it, beside pyarrow's defaults with the rows at hand."""
    import pyarrow.parquet as pq

    from runstream_consumers.compaction.sorted_points import SourcePoints, sort_points
    from runstream_schemas.wire.payload_reading import decode_points

    from .compaction import DATA, encode_only, make_chunks

    chunks = make_chunks(rng, DATA["noisy float64"], 2, 32_000)
    points = sort_points(
        "run", [SourcePoints(0, first, n, decode_points(part)) for first, n, part in chunks]
    )["metrics"]
    table = points.metrics_table()
    return Ratio(
        "decode, sort and write Parquet / pyarrow's defaults",
        lambda: encode_only([chunks]),
        lambda: pq.write_table(table, io.BytesIO()),
    )


if __name__ == "__main__":
    sys.exit(main())
