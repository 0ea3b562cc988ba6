"""A vector in order of x by buckets of x: the last, lowest and highest value of each, so that no spike is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Marks = NDArray[np.uint8]

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
        x: of the last point.
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
        starts = _starts(x, size)
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
        starts = _starts(self.x, size)
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


def _starts(x: I8 | F8, size: float) -> I8:
    """Where each bucket begins."""
    bucket = np.right_shift(x, int(size).bit_length() - 1) if x.dtype == np.int64 else np.floor(x / size)
    return np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))


def _last(clean: F8, starts: I8, ends: I8) -> F8:
    """The last value of each bucket that is no NaN."""
    place = np.maximum.accumulate(np.where(np.isnan(clean), -1, np.arange(len(clean))))[ends]
    found: F8 = np.where(place >= starts, clean[np.maximum(place, 0)], np.nan)
    return found


def reduce_line(x: I8 | F8, values: F8, smooth: F8 | None, size: float) -> Reduced:
    """The buckets of a vector that is in order of x, as they are drawn."""
    buckets = Buckets.of(x, values, size)
    return buckets.reduced(None if smooth is None else smooth[np.cumsum(buckets.n) - 1])
