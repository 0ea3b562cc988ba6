"""One metric over another: the x of a point is the value the other metric had by then."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

PREFIX = "metric:"
"""What an axis begins with whose x is the metric named behind it."""


def values_by_step(steps: I8, values: F8, at: I8) -> F8:
    """The value of a metric at each wanted step: the last one logged at that step or before; NaN before the first.

    Args:
        steps, values: the metric, in order of logging.
        at: steps, in any order.
    """
    if not len(steps):
        return np.full(len(at), np.nan)
    if bool(np.any(steps[1:] < steps[:-1])):
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
    place = np.searchsorted(steps, at, side="right") - 1
    held: F8 = np.where(place >= 0, values[np.maximum(place, 0)], np.nan)
    return held


def along(steps: I8, values: F8, other_steps: I8, other_values: F8) -> tuple[F8, F8]:
    """A metric over another: x and value in order of x. Points whose x is no finite number are left out."""
    x = values_by_step(other_steps, other_values, steps)
    kept = np.flatnonzero(np.isfinite(x))
    kept = kept[np.argsort(x[kept], kind="stable")]
    return x[kept], values[kept]


def bucket_width(first: float, last: float, width: int) -> float:
    """The smallest power of two by which `first..last` takes about `width` buckets."""
    span = last / width - first / width  # the difference itself may exceed the range of floats
    if not 0 < span < math.inf:
        return 1.0
    return 2.0 ** min(max(math.ceil(math.log2(span)), -1022), 1022)
