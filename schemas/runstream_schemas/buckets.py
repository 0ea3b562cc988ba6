"""A long vector as a screen shows it: by buckets of x, so that no spike is lost. The one home of downsampling.

Bucket edges are multiples of a power of two, and a bucket is always looked at whole, also where the wanted range begins or
ends inside it. So the same bucket size gives the same answer whichever range is shown: nothing jumps while zooming or while
a run grows, and answers can be cached.

Of each bucket there is what draws a line and a band (`Buckets`: last, lowest and highest value, which can be kept in files
and made coarser), or points of the vector itself (`downsample`: M4, which has the pixels of the full vector when it is drawn
as a line at that width; unlike with sampling or LTTB, a spike of one step is never lost).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Marks = NDArray[np.uint8]

MAX_WIDTH = 16384
"""Most buckets of one answer; wider than any screen."""
NAN, PLUS, MINUS = 1, 2, 4
"""Bits of marks: a NaN, +infinity, -infinity."""

Reduced = tuple[I8 | F8, F8, F8, F8, F8 | None, Marks]
"""x of the last point of each bucket; last, lowest, highest finite value; the smoothed value; marks."""


def bucket_size(first: int, last: int, width: int) -> int:
    """The smallest power of two of steps by which `first..last` takes at most `width` (or 2) aligned buckets."""
    shift = 0
    most = max(width, 2)  # steps below and above 0 never share a bucket
    while (last >> shift) - (first >> shift) >= most:
        shift += 1
    return 1 << shift


def bucket_starts(x: I8 | F8, size: float) -> I8:
    """Where each bucket of a vector in order of x begins that holds points.

    Args:
        size: a power of two.
    """
    if not len(x):
        return np.zeros(0, dtype=np.int64)
    if x.dtype == np.int64:
        shift = min(int(size).bit_length() - 1, 63)
        first, last = int(x[0]) >> shift, int(x[-1]) >> shift
        # With fewer buckets than points their edges are found, and the points not looked at.
        if last - first < len(x):
            numbers = np.arange(last - first + 1, dtype=np.int64) + first  # `last + 1` may be no int64
            starts = np.searchsorted(x, numbers << shift)
            return starts[np.append(starts[1:], len(x)) > starts]
        bucket = np.right_shift(x, shift)
    else:
        bucket = np.floor(x / size)
    return np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))


def marks_of(values: F8) -> Marks:
    """The bit of each value; 0: finite."""
    marks: Marks = np.where(np.isnan(values), NAN, 0).astype(np.uint8)
    marks[values == np.inf] = PLUS
    marks[values == -np.inf] = MINUS
    return marks


def finite(values: F8) -> F8:
    """The values, NaN in place of infinities."""
    cleaned: F8 = np.where(np.isfinite(values), values, np.nan)
    return cleaned


@dataclass(slots=True)
class Buckets:
    """One entry a bucket that holds points; buckets begin at multiples of their size.

    Attributes:
        x: the x of the last point.
        last, low, high: finite values; NaN where there is none.
        marks: which others occur.
        n: points.
    """

    x: I8 | F8
    last: F8
    low: F8
    high: F8
    marks: Marks
    n: I8

    @classmethod
    def of(cls, x: I8 | F8, values: F8, size: float) -> Buckets:
        """Of points in order of x; `size`: a power of two."""
        n = len(x)
        if n == 0:
            empty = np.zeros(0)
            return cls(x, empty, empty, empty, np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64))
        starts = bucket_starts(x, size)
        ends = np.append(starts[1:], n) - 1
        if bool(np.isfinite(values).all()):
            low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
            marks = np.zeros(len(starts), dtype=np.uint8)
            return cls(x[ends], values[ends], low, high, marks, ends - starts + 1)
        clean = finite(values)
        return cls(
            x[ends],
            _last(clean, starts, ends),
            np.fmin.reduceat(clean, starts),
            np.fmax.reduceat(clean, starts),
            np.bitwise_or.reduceat(marks_of(values), starts),
            ends - starts + 1,
        )

    @classmethod
    def joined(cls, parts: Sequence[Buckets], size: float) -> Buckets:
        """Of several, each behind the one before; a bucket may lie in two of them."""
        return cls(
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.last for part in parts]),
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.marks for part in parts]),
            np.concatenate([part.n for part in parts]),
        ).coarser(size)

    def cut(self, start: int, end: int) -> Buckets:
        """The entries from `start` to before `end`."""
        part = slice(start, end)
        return Buckets(
            self.x[part], self.last[part], self.low[part], self.high[part], self.marks[part], self.n[part]
        )

    def coarser(self, size: float) -> Buckets:
        """The same points in buckets of another size, a multiple of this one."""
        if not len(self.x):
            return self
        starts = bucket_starts(self.x, size)
        ends = np.append(starts[1:], len(self.x)) - 1
        return Buckets(
            self.x[ends],
            _last(self.last, starts, ends),
            np.fmin.reduceat(self.low, starts),
            np.fmax.reduceat(self.high, starts),
            np.bitwise_or.reduceat(self.marks, starts),
            np.add.reduceat(self.n, starts),
        )

    def reduced(self, smooth: F8 | None = None) -> Reduced:
        """As a line is drawn."""
        return self.x, self.last, self.low, self.high, smooth, self.marks


def _last(clean: F8, starts: I8, ends: I8) -> F8:
    """The last value of each bucket that is no NaN."""
    place = np.maximum.accumulate(np.where(np.isnan(clean), -1, np.arange(len(clean))))[ends]
    filled: F8 = np.where(place >= starts, clean[np.maximum(place, 0)], np.nan)
    return filled


def reduce_line(x: I8 | F8, values: F8, smooth: F8 | None, size: float) -> Reduced:
    """The buckets of a vector that is in order of x, as they are drawn."""
    buckets = Buckets.of(x, values, size)
    return buckets.reduced(None if smooth is None else smooth[np.cumsum(buckets.n) - 1])


@dataclass(slots=True)
class Downsampled:
    """Chosen points of a vector.

    Attributes:
        index: places of the chosen points in the given arrays, in order of step (ties: in the given order).
        bucket: steps a bucket spans, a power of two; 0: the range holds no points.
        points: how many points the range has in all.
    """

    index: I8
    bucket: int
    points: int


def downsample(
    steps: I8,
    values: F8,
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
    if not len(steps):
        return Downsampled(np.zeros(0, dtype=np.int64), 0, 0)
    first = int(steps[0]) if start is None else start
    last = int(steps[-1]) if stop is None else stop
    if last < first:  # an open range beyond the data
        return Downsampled(np.zeros(0, dtype=np.int64), 0, 0)
    size = bucket_size(first, last, width)
    begin, end = _below(steps, first // size * size), _below(steps, (last // size + 1) * size)
    starts = begin + bucket_starts(steps[begin:end], size)
    points = _below(steps, last + 1) - _below(steps, first)
    return Downsampled(_choose(values, starts, np.append(starts[1:], end)), size, points)


def _below(steps: I8, edge: int) -> int:
    """How many of the steps lie below an edge, which may lie beyond 64 bits."""
    return len(steps) if edge >= 1 << 63 else int(np.searchsorted(steps, max(edge, -(1 << 63))))


def _choose(values: F8, starts: I8, ends: I8) -> I8:
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
        marks = marks_of(part)
        places = [int(np.argmax(marks == mark)) for mark in (NAN, PLUS, MINUS) if np.any(marks == mark)]
        if not marks.all():
            clean = finite(part)
            places += [int(np.nanargmin(clean)), int(np.nanargmax(clean))]
        chosen.append(np.array(places, dtype=np.int64) + start)
    return np.unique(np.concatenate(chosen))
