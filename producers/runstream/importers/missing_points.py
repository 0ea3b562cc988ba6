"""What of a series is not stored yet: points are compared one by one, whichever order they came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..client.metrics import Series
from .foreign_runs import Points


def missing(parts: Sequence[Points], stored: Sequence[Series]) -> Iterator[Points]:
    """Those of the points that are not stored, in their order.

    Args:
        parts: all points there are of one name: a point that is there twice is to be stored twice.
        stored: what is stored of that name.
    """
    timed = all(points.times is not None for points in parts)
    there: Counter[tuple[int, int, Any]] = Counter()
    for series in stored:
        there.update(
            (step, time if timed else 0, _same(value))
            for step, time, value in zip(series.steps, series.times, series.values, strict=True)
        )
    for points in parts:
        values = points.values if isinstance(points.values, list) else points.values.tolist()
        times = points.times.tolist() if timed and points.times is not None else [0] * len(points)
        kept = []
        for place, point in enumerate(zip(points.steps.tolist(), times, map(_same, values), strict=True)):
            if there[point] > 0:
                there[point] -= 1
            else:
                kept.append(place)
        if kept:
            chosen = [values[at] for at in kept] if isinstance(points.values, list) else points.values[kept]
            times_us = None if points.times is None else points.times[kept]
            yield Points(points.name, points.steps[kept], times_us, chosen)


def _same(value: Any) -> Any:
    """A value that equals itself: NaN does not."""
    return None if isinstance(value, float) and value != value else value
