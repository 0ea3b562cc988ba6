"""A long vector as a screen shows it: first, last, lowest and highest point of every bucket of steps (M4).

Bucket edges are multiples of a power of two of the step, and a bucket is always looked at whole, also where the wanted
range begins or ends inside it. So the same bucket size gives the same points whichever range is shown: nothing jumps while
zooming or while a run grows, and answers can be cached. Drawn as a line at that width, the result has the pixels of the
full vector; unlike with sampling or LTTB, a spike of one step is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.buckets import bucket_size

MAX_WIDTH = 16384
"""Most buckets of one answer; wider than any screen."""


@dataclass(slots=True)
class Downsampled:
    """Chosen points of a vector.

    Attributes:
        index: places of the chosen points in the given arrays, in order of step (ties: in the given order).
        bucket: steps a bucket spans, a power of two; 0: the range holds no points.
        points: how many points the range has in all.
    """

    index: NDArray[np.int64]
    bucket: int
    points: int


def downsample(
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    width: int,
    *,
    start: int | None = None,
    stop: int | None = None,
    ordered: bool | None = None,
) -> Downsampled:
    """Choose the points to draw.

    Each bucket gives its first, last, lowest and highest point, and also its first NaN, +inf and -inf, so that a gap and an
    infinity stay visible beside finite values.

    Args:
        steps: step of each point, any order.
        values: value of each point; NaN and infinities allowed.
        width: most buckets, e.g. pixels of the chart; 1 to `MAX_WIDTH`.
        start: first step wanted, inclusive; None: the vector's first.
        stop: last step wanted, inclusive; None: the vector's last.
        ordered: whether `steps` never fall, if the caller knows it.

    Raises:
        ValueError: a width or a range that makes no sense.
    """
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"width={width}: expected 1 to {MAX_WIDTH} buckets")
    if start is not None and stop is not None and start > stop:
        raise ValueError(f"the range from {start} to {stop} is empty; give the smaller step first")
    if ordered is None:
        ordered = bool(np.all(steps[1:] >= steps[:-1]))
    if not ordered:
        order = np.argsort(steps, kind="stable")
        result = downsample(steps[order], values[order], width, start=start, stop=stop, ordered=True)
        result.index = order[result.index]
        return result
    if len(steps) == 0:
        return Downsampled(np.zeros(0, dtype=np.int64), 0, 0)
    first = int(steps[0]) if start is None else start
    last = int(steps[-1]) if stop is None else stop
    if last < first:  # an open range beyond the data
        return Downsampled(np.zeros(0, dtype=np.int64), 0, 0)
    low, high = _between(steps, first, last)
    size = bucket_size(first, last, width)
    shift = size.bit_length() - 1
    b0, b1 = first >> shift, last >> shift
    edges = np.array([edge << shift for edge in range(b0, b1 + 1)], dtype=object)
    bounds = np.append(_search(steps, edges), _search(steps, np.array([(b1 + 1) << shift], dtype=object)))
    return Downsampled(_choose(values, bounds), size, high - low)


def _between(steps: NDArray[np.int64], first: int, last: int) -> tuple[int, int]:
    bounds = _search(steps, np.array([first, last + 1], dtype=object))
    return int(bounds[0]), int(bounds[1])


def _search(steps: NDArray[np.int64], edges: NDArray[Any]) -> NDArray[np.int64]:
    """Where each edge would stand; edges may lie beyond 64 bits (the end of the last bucket)."""
    over = edges > (1 << 63) - 1
    under = edges < -(1 << 63)
    found = np.searchsorted(steps, np.where(over | under, 0, edges).astype(np.int64))
    return np.where(over, len(steps), np.where(under, 0, found)).astype(np.int64)


def _choose(values: NDArray[np.float64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    starts, ends = bounds[:-1], bounds[1:]
    held = ends > starts
    starts, ends = starts[held], ends[held]
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    low = np.empty(len(starts), dtype=np.int64)
    high = np.empty(len(starts), dtype=np.int64)
    sizes = ends - starts
    inner = slice(1, len(starts) - 1)
    if len(starts) > 3 and bool(np.all(sizes[inner] == sizes[1])):
        # One point a step, the usual case: all but the border buckets have one size, so numpy reduces them in one call.
        size = int(sizes[1])
        block = values[int(starts[1]) : int(ends[-2])].reshape(-1, size)
        low[inner] = starts[inner] + block.argmin(axis=1)
        high[inner] = starts[inner] + block.argmax(axis=1)
        rest = [0, len(starts) - 1]
    else:
        rest = list(range(len(starts)))
    for i in rest:
        part = values[starts[i] : ends[i]]
        low[i] = starts[i] + part.argmin()
        high[i] = starts[i] + part.argmax()
    chosen = [starts, ends - 1, low, high]
    # argmin and argmax stop at the first NaN; an infinity would hide the highest finite value.
    strange = np.flatnonzero(~np.isfinite(values[low]) | ~np.isfinite(values[high]))
    for i in strange.tolist():
        start = int(starts[i])
        part = values[start : int(ends[i])]
        finite = np.isfinite(part)
        extra = [
            int(np.flatnonzero(mask)[0])
            for mask in (np.isnan(part), part == np.inf, part == -np.inf)
            if mask.any()
        ]
        if finite.any():
            extra.append(int(np.where(finite, part, np.inf).argmin()))
            extra.append(int(np.where(finite, part, -np.inf).argmax()))
        chosen.append(np.array(extra, dtype=np.int64) + start)
    return np.unique(np.concatenate(chosen))
