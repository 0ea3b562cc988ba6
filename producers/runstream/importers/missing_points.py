"""What of a series is not stored yet: points are compared one by one, whichever order they came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..client.metrics import Series
from .foreign_runs import Points


def joined(parts: Sequence[Points]) -> Points:
    """The parts of one series as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first.values, list):
        values: Any = [value for part in parts for value in part.values]
    else:
        values = np.concatenate([part.values for part in parts])
    return Points(
        first.name,
        np.concatenate([part.steps for part in parts]),
        None
        if first.times is None
        else np.concatenate([part.times for part in parts if part.times is not None]),
        values,
    )


def missing(points: Points, stored: Sequence[Series]) -> Points:
    """Those of the points that are not stored, in their order."""
    there: Counter[tuple[int, int, Any]] = Counter()
    for series in stored:
        there.update(
            (step, time if points.times is not None else 0, _same(value))
            for step, time, value in zip(series.steps, series.times, series.values, strict=True)
        )
    values = points.values if isinstance(points.values, list) else points.values.tolist()
    times = [0] * len(points) if points.times is None else points.times.tolist()
    kept = []
    for place, point in enumerate(zip(points.steps.tolist(), times, map(_same, values), strict=True)):
        if there[point] > 0:
            there[point] -= 1
        else:
            kept.append(place)
    chosen = [values[place] for place in kept] if isinstance(points.values, list) else points.values[kept]
    return Points(
        points.name, points.steps[kept], None if points.times is None else points.times[kept], chosen
    )


def _same(value: Any) -> Any:
    """A value that equals itself: NaN does not."""
    return "NaN" if isinstance(value, float) and value != value else value
