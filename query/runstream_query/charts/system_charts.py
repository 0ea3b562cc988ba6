"""System metrics of a run as charts draw them: a line each machine, over time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from runstream_schemas.buckets import MAX_WIDTH, bucket_size, reduce_line
from runstream_schemas.errors import QueryError
from runstream_schemas.series import SeriesClass

from ..points.reader import Query
from ..points.vectors import Series
from .charts import Chart, Line
from .overview import clip


async def system_charts(
    query: Query,
    run_id: str,
    names: Sequence[str] = (),
    *,
    width: int = 800,
    start: int | None = None,
    stop: int | None = None,
) -> list[Chart]:
    """A chart for each system metric; in place of runs its lines have the names of the machines.

    Args:
        names: which metrics, in this order; none: all there are, in the order first sampled.
        width: most buckets.
        start, stop: range of times wanted, microseconds since the epoch; None: all there is.

    Raises:
        QueryError: a width or range that makes no sense.
        StoreError: a Parquet file is missing or damaged.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise QueryError(f"width={width}: expected 1 to {MAX_WIDTH}")
    if start is not None and stop is not None and start > stop:
        raise QueryError(f"from={start} lies after to={stop}; swap the two")
    vectors = await query.vectors([run_id], names=names or None, cls=(SeriesClass.SYSTEM,))
    by_name: dict[str, list[Series]] = {name: [] for name in names}
    for series in vectors:
        by_name.setdefault(series.name, []).append(series)

    def draw() -> list[Chart]:
        return [_draw(name, nodes, width, start, stop) for name, nodes in by_name.items()]

    return await asyncio.to_thread(draw)


def _draw(name: str, nodes: Sequence[Series], width: int, start: int | None, stop: int | None) -> Chart:
    if not nodes:
        return Chart(name, "time", 1, 0, 0, [])
    first = min(int(series.times.min()) for series in nodes)
    last = max(int(series.times.max()) for series in nodes)
    begin, end = first if start is None else start, last if stop is None else stop
    size = bucket_size(begin, end, width) if end >= begin else 1
    lines = []
    for series in sorted(nodes, key=lambda series: series.key.column):
        order = np.argsort(series.times, kind="stable")  # a clock may have been set back
        times, values = series.times[order], series.floats()[order]
        # One bucket more on each side: the line comes from where it was.
        edges = [clip((begin // size - 1) * size), clip((end // size + 2) * size)]
        low, high = np.searchsorted(times, edges).tolist()
        inside = np.searchsorted(times, clip(end), "right") - np.searchsorted(times, clip(begin))
        reduced = reduce_line(times[low:high], values[low:high], None, size)
        lines.append(Line(series.key.column, *reduced, int(inside), len(times), int(times[0])))
    return Chart(name, "time", size, first, last, lines)
