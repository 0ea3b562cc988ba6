"""What a point and a query cost as runs, series and points become more: 1 to 10,000 of the first two, 10^4 to 10^8 points.

Through the public interface, embedded, over HTTP; the services share the cores with the logging process. A level that would
take longer than what is left of the time is left out, and that is said.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .cluster import Cluster, cluster
from .result import Measured, Result, comparison

RUNS = (1, 10, 100, 1_000, 10_000)
SERIES = (1, 10, 100, 1_000, 10_000)
POINTS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
SECONDS = {"runs": 110.0, "series": 60.0, "points": 420.0}
"""Bound of each of the three; no level begins that would probably end later."""

POINTS_A_RUN = 100
POINTS_OF_SERIES = 200_000
"""Points of the run whose series become more; at least one for each."""

BLOCK = 100_000
STORED = "start, log 100 points, end, until stored"


@dataclass(slots=True)
class Growth:
    """One axis: row to level to samples."""

    of: str
    unit_of: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)

    def add(self, row: str, unit: str, level: int, samples: list[float]) -> None:
        """Note what was measured."""
        self.unit_of[row] = unit
        self.rows.setdefault(row, {})[level] = samples

    def results(self) -> list[Result]:
        """As a table with one column a level."""
        return [
            Result(row, samples, self.unit_of[row], of=f"{level:,}")
            for row, levels in self.rows.items()
            for level, samples in levels.items()
        ]

    def last_change(self, row: str) -> float | None:
        """The last level's median by that two levels before: 1 is flat. None: fewer levels were measured."""
        medians = [statistics.median(samples) for _, samples in sorted(self.rows[row].items())]
        return medians[-1] / medians[-3] if len(medians) >= 3 else None


def run(quick: bool) -> Measured:
    """The three axes, each in a home of its own; about four and a half minutes."""
    drop = 2 if quick else 0
    grown = []
    for of, levels, measure in (
        ("runs", RUNS, runs_level),
        ("series", SERIES, series_level),
        ("points", POINTS, points_level),
    ):
        growth = Growth(of)
        with cluster() as made, environment_of(made):
            made.up()
            climb(
                growth,
                levels[: len(levels) - drop],
                SECONDS[of],
                lambda level, g=growth, m=measure, c=made: m(g, c, level),
            )
        grown.append(growth)
    return report(grown)


def report(grown: list[Growth]) -> Measured:
    """Tables, how they changed over the last two steps of ten, and plots."""
    notes, plots = [], {}
    for growth in grown:
        notes.append(f"By {growth.of}:\n\n{comparison(growth.results())}")
        changes = {row: growth.last_change(row) for row in growth.rows}
        said = ", ".join(f"{row}: {change:.2g} times" for row, change in changes.items() if change)
        if said:
            notes.append(f"From a hundredth of the last column to the last: {said}.")
        if growth.left_out:
            notes.append(
                f"Left out for time: {', '.join(f'{level:,}' for level in growth.left_out)} {growth.of}."
            )
        plots[f"growth_{growth.of}.svg"] = plot(growth)
    return Measured([], notes, plots)


def climb(
    growth: Growth,
    levels: tuple[int, ...],
    seconds: float,
    measure: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measure level after level, each ten times the one before, while the time lasts."""
    start, last = clock(), 0.0
    for number, level in enumerate(levels):
        began = clock()
        if number and began - start + 10 * last > seconds and last > 1:
            growth.left_out.extend(levels[number:])
            return
        measure(level)
        last = clock() - began


@contextmanager
def environment_of(made: Cluster) -> Iterator[None]:
    """This process uses the cluster's home meanwhile."""
    before = dict(os.environ)
    os.environ.update({key: value for key, value in made.environment.items() if key.startswith("RUNSTREAM_")})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def runs_level(growth: Growth, made: Cluster, level: int) -> None:
    """As many runs as are missing to the level, of five series and twenty steps each; then lists and one series."""
    import runstream.query

    known = max((0, *growth.rows.get(STORED, ())))
    row = {f"m{i}": float(i) for i in range(5)}
    start = time.perf_counter()
    new = level - known
    last = None
    for _ in range(new):
        last = _start(f"runs_{level}")
        for step in range(POINTS_A_RUN // len(row)):
            last.log_metrics(row, step)
        last.complete()
    assert last is not None
    last.flush()
    made.wait_stored(level * POINTS_A_RUN)
    taken = time.perf_counter() - start
    growth.add(STORED, "us a point", level, [taken / new / POINTS_A_RUN * 1e6])
    last_id = last.id
    growth.add("newest 50 with summaries", "ms", level, _ms(lambda: runstream.query.runs(limit=50)))
    growth.add(
        "best 50 by a metric", "ms", level, _ms(lambda: runstream.query.runs(order="metric:m3:min", limit=50))
    )
    growth.add("one series of one run", "ms", level, _ms(lambda: runstream.query.metrics(last_id, "m3")))


def series_level(growth: Growth, made: Cluster, level: int) -> None:
    """One run with that many series, logged as dicts of all of them; then one series, and the run's summaries."""
    import runstream.query

    made_run = _start("series")
    steps = max(1, POINTS_OF_SERIES // level)
    row = {f"group/m{i}": 0.5 for i in range(level)}
    values = np.random.default_rng(level).normal(size=max(level, steps))
    rows = [dict.fromkeys(row, float(value)) for value in values[: min(steps, 1000)]]
    start = time.perf_counter()
    for step in range(steps):
        made_run.log_metrics(rows[step % len(rows)], step)
    logged = time.perf_counter() - start
    made_run.flush()
    taken = time.perf_counter() - start
    made_run.complete()
    points = steps * level
    growth.add("log_metrics()", "us a point", level, [logged / points * 1e6])
    growth.add("log_metrics(), until stored", "us a point", level, [taken / points * 1e6])
    growth.add("one series", "ms", level, _ms(lambda: runstream.query.metrics(made_run.id, "group/m0")))
    growth.add(
        "the run with all summaries", "ms", level, _ms(lambda: runstream.query.runs("series", limit=1))
    )


def points_level(growth: Growth, made: Cluster, level: int) -> None:
    """One run of ten series and that many points in all, in blocks; then its compaction, a chart, and one series whole."""
    import runstream.query
    from runstream.client.http import client_for
    from runstream_schemas.settings import Settings

    noise = np.random.default_rng(0).normal(size=4_000_000)
    offsets = np.random.default_rng(level).integers(0, len(noise) - BLOCK, size=max(10, level // BLOCK))
    run = _start(f"points_{level}")
    block = min(BLOCK, level // 10)
    start = time.perf_counter()
    for number in range(level // 10 // block):
        for series in range(10):
            first = int(offsets[(number * 10 + series) % len(offsets)])
            run.log_array(f"m{series}", noise[first : first + block])
    run.flush()
    stored = time.perf_counter() - start
    run.complete()
    start = time.perf_counter()
    made.command("compact", timeout=300)
    compacted = time.perf_counter() - start
    client = client_for(Settings.load())

    def chart() -> None:
        client.get_json("/api/v1/series", [("run", run.id), ("name", "m3"), ("width", "1000")])

    growth.add("log_array(), until stored", "us a point", level, [stored / level * 1e6])
    growth.add("to Parquet", "us a point", level, [compacted / level * 1e6])
    whole = _ms(lambda: runstream.query.metrics(run.id, "m3"))
    growth.add("one series whole", "us a point", level, [value / (level // 10) * 1e3 for value in whole])
    growth.add("chart of one series", "ms", level, _ms(chart))
    growth.add("newest 50 with summaries", "ms", level, _ms(lambda: runstream.query.runs(limit=50)))


def plot(growth: Growth) -> str:
    """Costs over the level, both axes logarithmic, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": growth.of, "font.size": 9}):
        figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        for row, levels in growth.rows.items():
            x = sorted(levels)
            y = [statistics.median(levels[level]) for level in x]
            axes.plot(x, y, marker="o", markersize=3, label=f"{row} ({growth.unit_of[row]})")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(growth.of)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return file.getvalue()


def _start(experiment: str) -> Any:
    from runstream import Experiment, Workspace

    return Experiment(Workspace.get("default"), experiment).start_logging(
        snapshot_directory=None, outputs=False
    )


def _ms(read: Callable[[], object], repeats: int = 5, seconds: float = 6.0) -> list[float]:
    """Milliseconds of each of up to five calls after one that warms up, within some seconds."""
    times: list[float] = []
    deadline = time.monotonic() + seconds
    for number in range(repeats + 1):
        start = time.perf_counter()
        read()
        if number or time.monotonic() > deadline:
            times.append((time.perf_counter() - start) * 1e3)
        if time.monotonic() > deadline:
            break
    return times
