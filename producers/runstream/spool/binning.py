"""Values to a histogram, in the process that has them: 10,000 of them cost some 30 µs.

numpy counts; a process without it counts lists of numbers by itself, which takes some hundred times as long.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runstream_schemas.errors import brief
from runstream_schemas.values.histograms import MAX_BINS, Histogram, encode_histogram, even_edges

from ..exceptions import UserErrorException
from .values import check_int

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 64
"""Bins of a histogram, if the call does not say how many."""

_TO_THE_RIGHT = 2.0**-30  # of a bin's width: an edge's own value must not fall below it by a rounding error
_SMALL, _LARGE = 1e-30, 1e30  # widths of the range between which nothing overflows, in float32 either


class _Refused(UserErrorException):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"log_histogram({brief(name)}): {why}")


def histogram_text(name: str, values: Any, bins: int = BINS) -> str:
    """The text of a histogram of `values`.

    Args:
        name: the name of the series, for errors.
        values: numbers in an array, tensor or iterable of any shape; or a pair (counts, edges), as `numpy.histogram` has it.
        bins: how many, of equal width, from the least finite value to the greatest.

    Raises:
        UserErrorException: no numbers; counts and edges that do not fit together; too many bins.
    """
    if isinstance(values, tuple) and len(values) == 2 and all(_is_sequence(part) for part in values):
        return _binned(name, *values)
    if type(bins) is not int or not 1 <= bins <= MAX_BINS:
        raise _Refused(name, f"bins={brief(bins)}: expected an integer from 1 to {MAX_BINS}")
    try:
        import numpy as np
    except ImportError:
        return encode_histogram(_plain(name, values, bins), uniform=True)
    return encode_histogram(_counted(np, _numbers(np, name, values), bins), uniform=True)


def _is_sequence(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and (
        hasattr(value, "__len__") and getattr(value, "shape", None) != ()
    )


def _numbers(np: Any, name: str, values: Any) -> NDArray[Any]:
    """The values as one row of floats, in their own precision where that is float32 or float64."""
    if not isinstance(values, np.ndarray):
        if hasattr(values, "detach"):  # a tensor: off the graph and the device, and in a type numpy has
            values = values.detach().cpu()
            values = values.float() if "bfloat16" in str(values.dtype) else values
        elif not hasattr(values, "__array__") and not isinstance(values, (list, tuple)):
            values = (
                list(values)
                if isinstance(values, Iterable) and not isinstance(values, (str, bytes))
                else values
            )
        try:
            values = np.asarray(values)
        except Exception as error:  # of a class of somebody else's
            raise _Refused(
                name, f"{brief(values)} is no array of numbers ({error}); give an array or a list of numbers"
            ) from None
    if values.dtype.kind not in "biuf" and values.size:
        raise _Refused(name, f"values of type {values.dtype} are no numbers; use .astype(float)")
    flat = values if values.ndim == 1 else values.reshape(-1)
    if flat.dtype.char not in "fd" or not flat.dtype.isnative:
        flat = flat.astype(np.float32 if flat.dtype.char == "e" else np.float64)
    return flat  # type: ignore[no-any-return]


def _counted(np: Any, data: NDArray[Any], bins: int) -> Histogram:
    if not len(data):
        return Histogram([], [], 0)
    low, high = float(np.minimum.reduce(data)), float(np.maximum.reduce(data))
    if math.isfinite(low) and math.isfinite(high):
        return _finite(np, data, low, high, bins)
    finite = data[np.isfinite(data)]
    others = (
        int(np.count_nonzero(np.isnan(data))),
        int(np.count_nonzero(np.isposinf(data))),
        int(np.count_nonzero(np.isneginf(data))),
    )
    if not len(finite):
        return Histogram([], [], 0, None, None, None, *others)
    held = _finite(np, finite, float(finite.min()), float(finite.max()), bins)
    return Histogram(held.counts, held.edges, held.count, held.min, held.max, held.sum, *others)


def _finite(np: Any, data: NDArray[Any], low: float, high: float, bins: int) -> Histogram:
    """A fixed number of bins of equal width, counted in five passes."""
    first, last = _range(low, high, bins)
    counts = None
    per_width = bins / (last - first) if _SMALL < last - first < _LARGE else 0.0
    # Far from zero, or in a narrow range, the fast way loses digits.
    if per_width and abs(first * per_width) < (1 << 40 if data.dtype.char == "d" else 1 << 12):
        places = data * per_width
        places += _TO_THE_RIGHT - first * per_width
        counts = np.bincount(
            places.astype(np.int32), minlength=bins
        )  # to intp in two steps: three times as fast
    if counts is None or len(counts) > bins + 1:
        edges = np.array(even_edges(first, last, bins))
        places = np.searchsorted(edges, data.astype(np.float64), side="right") - 1
        counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    listed = counts.tolist()
    if len(listed) > bins:  # the greatest value belongs to the last bin
        listed[bins - 1] += listed.pop()
    if low > -_LARGE and high < _LARGE and (data.dtype.char == "d" or len(data) <= 1 << 16):
        total = float(np.add.reduce(data))
    else:
        with np.errstate(over="ignore"):
            total = float(np.add.reduce(data, dtype=np.float64))
    return Histogram(listed, [first, last], len(data), low, high, total if math.isfinite(total) else None)


def _range(low: float, high: float, bins: int) -> tuple[float, float]:
    """First and last edge: around a single value, or values too near for so many bins, as wide as tells them apart."""
    width = high / bins - low / bins
    if width > 0 and low + width > low and high - width < high:
        return low, high
    half = max(0.5, abs(low) * 2.0**-20, abs(high) * 2.0**-20)
    return max(low - half, -_MAX), min(high + half, _MAX)


_MAX = math.nextafter(math.inf, 0.0)


def _plain(name: str, values: Any, bins: int) -> Histogram:
    """The same without numpy."""
    try:
        data = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise _Refused(
            name,
            f"expected numbers in a list of one dimension ({error}); arrays need numpy: pip install numpy",
        ) from None
    finite = [value for value in data if math.isfinite(value)]
    others = (sum(map(math.isnan, data)), data.count(math.inf), data.count(-math.inf))
    if not finite:
        return Histogram([], [], 0, None, None, None, *others)
    low, high = min(finite), max(finite)
    first, last = _range(low, high, bins)
    edges = even_edges(first, last, bins)
    counts = [0] * bins
    for value in finite:
        counts[min(max(bisect_right(edges, value) - 1, 0), bins - 1)] += 1
    try:
        total: float | None = math.fsum(finite)
    except OverflowError:
        total = None
    return Histogram(counts, [first, last], len(finite), low, high, total, *others)


def _binned(name: str, counts: Sequence[Any], edges: Sequence[Any]) -> str:
    """A histogram that somebody else counted."""
    numbers = [_count(name, count) for count in _listed(counts)]
    try:
        borders = [float(edge) for edge in _listed(edges)]
    except (TypeError, ValueError) as error:
        raise _Refused(name, f"edges are no numbers ({error}); give a list of numbers") from None
    if len(numbers) > MAX_BINS:
        raise _Refused(name, f"{len(numbers)} bins; the most is {MAX_BINS}: add neighbours up")
    if len(borders) != len(numbers) + 1:
        raise _Refused(
            name,
            f"{len(numbers)} counts and {len(borders)} edges; expected (counts, edges) with one edge more",
        )
    if not all(map(math.isfinite, borders)) or any(a >= b for a, b in pairwise(borders)):
        raise _Refused(
            name, "edges have to be finite, and each greater than the one before; give edges in rising order"
        )
    return encode_histogram(Histogram(numbers, borders if numbers else [], sum(numbers)))


def _listed(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _count(name: str, count: Any) -> int:
    if isinstance(count, (int, float)) and count >= 0 and math.isfinite(count) and count == int(count):
        return check_int(name, int(count))
    raise UserErrorException(
        f"{brief(count)} is no count: expected whole numbers from 0 on; densities times their bins' widths are none"
    )
