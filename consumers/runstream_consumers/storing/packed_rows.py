"""Summaries of runs as they lie packed (see compaction/packing.py), made of those of many runs at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .copy_rows import copy_rows

PART: Final = 32
"""Series of one row of `packed_summaries`."""

PIECE: Final = 128
"""Values of a piece of `ranks`."""

PACKED_COLUMNS: Final = (
    "run_key", "part", "series_ids", "kinds", "counts", "finites", "firsts", "lasts", "mins", "maxs", "sums", "last_steps",
    "last_times", "first_times", "first_positions", "last_positions",
)  # fmt: skip
RANK_COLUMNS: Final = ("series_id", "stat", "low", "high", "run_keys", "packings", "values")

_MAY_BE_ALIKE = (
    "kind",
    "count",
    "finite",
    "last_step",
    "last_time",
    "first_time",
    "first_position",
    "last_position",
)
"""Of these there is one element, where all series of a row have the same."""
_ORDER = (
    "kind", "count", "finite", "first", "last", "min", "max", "sum", "last_step", "last_time", "first_time",
    "first_position", "last_position",
)  # fmt: skip

_FLAG = 2 * PART  # the first bit above the number of series

Fields = Mapping[str, NDArray[Any]]


def packed_rows(fields: Fields) -> Iterator[bytes]:
    """Rows of `PACKED_COLUMNS`.

    Args:
        fields: columns of `summaries.Rows` by name, sorted by run and series, numbers all of them.
    """
    run, starts = fields["run_key"], _begins(fields["run_key"])
    place = np.arange(len(run)) - np.repeat(starts, np.diff(starts, append=len(run)))
    starts = np.flatnonzero(place % PART == 0)
    length = np.diff(starts, append=len(run))
    layout = length.copy()
    for bit, name in enumerate(_MAY_BE_ALIKE):
        alike = np.minimum.reduceat(fields[name], starts) == np.maximum.reduceat(fields[name], starts)
        layout += alike * (_FLAG << bit)
    for number in np.unique(layout).tolist():
        first = starts[layout == number]
        n = number & _FLAG - 1
        at = first[:, np.newaxis] + np.arange(n)
        columns = [run[first], (place[first] // PART).astype(np.int32), fields["series_id"][at]]
        for name in _ORDER:
            values = fields[name][at]
            if name == "kind":
                values = values.astype(np.int16)
            if name in _MAY_BE_ALIKE and number & _FLAG << _MAY_BE_ALIKE.index(name):
                values = values[:, :1]
            columns.append(values)
        yield copy_rows(*columns)


def rank_rows(fields: Fields, packing: int) -> Iterator[bytes]:
    """Rows of `RANK_COLUMNS`: the values of each series and statistic, in order, in pieces.

    Args:
        fields: as of `packed_rows`, of metrics only.
        packing: the number of this packing of their runs.
    """
    run, series = fields["run_key"], fields["series_id"]
    finite = fields["finite"]
    mean = np.divide(fields["sum"], finite, out=np.full(len(run), np.nan), where=finite > 0)
    for stat, values in (
        ("last", fields["last"]),
        ("min", fields["min"]),
        ("max", fields["max"]),
        ("mean", mean),
    ):
        order = np.lexsort((run, values, series))
        order = order[~np.isnan(values[order])]
        if not len(order):
            continue
        begins = _begins(series[order])
        place = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
        starts = np.flatnonzero(place % PIECE == 0)
        length = np.diff(starts, append=len(order))
        for n in np.unique(length).tolist():
            at = order[starts[length == n][:, np.newaxis] + np.arange(n)]
            piece = values[at]
            yield copy_rows(
                series[at[:, 0]],
                np.full(len(at), stat.encode()),
                piece[:, 0],
                piece[:, -1],
                run[at],
                np.full(at.shape, packing, dtype=np.int64),
                piece,
            )


def _begins(column: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where another value begins."""
    return np.flatnonzero(np.diff(column, prepend=column[0] - 1))
