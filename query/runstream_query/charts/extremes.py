"""Lowest and highest value of any range of a long vector, without looking at all of it each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from runstream_schemas.buckets import F8, I8, Marks, finite, marks_of

BLOCK: Final = 64
"""Values a block spans: 10 million values have some 150,000 blocks, and a range leaves at most two of them unfinished."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """What the blocks of a vector hold, from its first value on; the last block may be short.

    Attributes:
        low, high: lowest and highest finite value of each block; NaN where no value is finite.
        marks: which other values occur in each block; None: there are none in the whole vector.
        size: values of the vector that the blocks stand for.
    """

    low: F8
    high: F8
    marks: Marks | None
    size: int

    @classmethod
    def of(cls, values: F8) -> Extremes:
        """Of a vector."""
        starts = np.arange(0, len(values), BLOCK)
        if bool(np.isfinite(values).all()):
            if not len(values):
                return cls(values, values, None, 0)
            return cls(np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts), None, len(values))
        cleaned = finite(values)
        return cls(
            np.fmin.reduceat(cleaned, starts),
            np.fmax.reduceat(cleaned, starts),
            np.bitwise_or.reduceat(marks_of(values), starts),
            len(values),
        )

    def extended(self, values: F8) -> Extremes:
        """Of `values`, which begin with the vector these are of."""
        kept = self.size // BLOCK
        tail = Extremes.of(values[kept * BLOCK :])
        marks = None
        if self.marks is not None or tail.marks is not None:
            marks = np.concatenate([_all_marks(self)[:kept], _all_marks(tail)])
        return Extremes(
            np.concatenate([self.low[:kept], tail.low]),
            np.concatenate([self.high[:kept], tail.high]),
            marks,
            len(values),
        )

    def over(self, values: F8, starts: I8, ends: I8) -> tuple[F8, F8, F8, Marks]:
        """Last, lowest and highest finite value (NaN: none) and the marks of ranges of `values`, none of them empty."""
        first, end = -(-starts // BLOCK), ends // BLOCK
        whole = first < end
        # What lies before and behind the whole blocks; a range without any lies in the first part.
        border = np.where(whole, first * BLOCK, ends)
        behind = np.where(whole, end * BLOCK, ends)
        end = np.where(whole, end, first)
        parts = [(values, starts, border), (values, behind, ends)]
        low = _over(np.fmin, [(self.low, first, end), *parts], np.nan, finite)
        high = _over(np.fmax, [(self.high, first, end), *parts], np.nan, finite)
        last = values[ends - 1]
        if self.marks is None:
            return last, low, high, np.zeros(len(starts), dtype=np.uint8)
        marks = _over(np.bitwise_or, [(self.marks, first, end)], 0, lambda array: array)
        marks |= _over(np.bitwise_or, parts, 0, marks_of)
        for i in np.flatnonzero(~np.isfinite(last)).tolist():
            last[i] = self._last(values, int(starts[i]), int(ends[i]))
        return last, low, high, marks

    def _last(self, values: F8, start: int, end: int) -> float:
        """The last finite value of a range; NaN: none."""
        while start < end:
            block = (end - 1) // BLOCK
            at = max(block * BLOCK, start)
            if not np.isnan(self.low[block]):
                held = np.flatnonzero(np.isfinite(values[at:end]))
                if len(held):
                    return float(values[at + held[-1]])
                end = at
                continue
            # Not one in this block: on to the last block before it that has any.
            held = np.flatnonzero(~np.isnan(self.low[start // BLOCK : block]))
            if not len(held):
                return float("nan")
            end = (start // BLOCK + int(held[-1]) + 1) * BLOCK
        return float("nan")


def _all_marks(extremes: Extremes) -> Marks:
    return np.zeros(len(extremes.low), dtype=np.uint8) if extremes.marks is None else extremes.marks


def _over(reduce: Any, parts: list[tuple[Any, I8, I8]], empty: float, clean: Any) -> Any:
    """`reduce` over the same ranges of several arrays together; `empty` where a range holds nothing in all of them."""
    result: Any = None
    for array, starts, ends in parts:
        sizes = ends - starts
        held = np.flatnonzero(sizes > 0)
        reduced = np.full(len(starts), empty, dtype=np.uint8 if empty == 0 else np.float64)
        if len(held):
            sizes = sizes[held]
            at = np.concatenate(([0], np.cumsum(sizes)[:-1]))
            places = np.repeat(starts[held] - at, sizes) + np.arange(int(sizes.sum()))
            reduced[held] = reduce.reduceat(clean(array[places]), at)
        result = reduced if result is None else reduce(result, reduced)
    return result
