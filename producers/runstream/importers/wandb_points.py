"""Points of the history of W&B that are to become arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US

_MOST_EXACT = 1 << 53

Point = tuple[int, float, Any]
"""Step, time in seconds since the epoch, value."""


def alike(points: list[Point]) -> list[list[Point]]:
    """Points in as few arrays as keep their values: integers among floats are floats where that changes none of them."""
    kinds = {type(value) for _, _, value in points}
    big = int in kinds and any(type(value) is int and abs(value) > _MOST_EXACT for _, _, value in points)
    if len(kinds) == 1 or (kinds == {int, float} and not big):
        return [points]
    parts: list[list[Point]] = []
    for point in points:
        if not parts or type(parts[-1][-1][2]) is not type(point[2]):
            parts.append([])
        parts[-1].append(point)
    return parts


def as_array(values: tuple[Any, ...]) -> Any:
    """Values of one kind as an array; integers beyond 64 bits become floats."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, np.bool_)
    if kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in values):
        return np.array(values, np.int64)
    return np.array(values, np.float64)


def bounded(when: float) -> float:
    """A time within the years 1 to 9999."""
    return min(max(when, TIME_MIN_US / 1e6), TIME_MAX_US / 1e6) if when == when else 0.0


def step_and_time(step: Any, when: Any, next_step: int, latest: float) -> tuple[int, float]:
    """Step and time of a row of the history.

    Args:
        step, when: as the row says them, whatever that is.
        next_step, latest: in place of what is no step or time.
    """
    at = step if isinstance(step, int) and -(1 << 63) <= step < 1 << 63 else next_step
    return at, bounded(when) if isinstance(when, (int, float)) else latest
