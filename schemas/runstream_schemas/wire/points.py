"""Points of one run as columns, grouped by series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..series import Kind, SeriesKey

I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]


@dataclass(slots=True)
class Points:
    """Points of one run, written by one source.

    Attributes:
        series: (key, kind) of each series; a series with values of two kinds is listed once per kind.
        order: shape (n,), unsigned: index into `series` of each point, in order of logging.
        seqs: shape (n,): slot of each point in its source, in order of logging, never falling.
        steps, times: shape (n,): grouped by series (a stable sort by `order`); times in microseconds since the epoch.
        values: shape (n,): 64 raw bits each, grouped alike; FLOAT: the bits of a float64; INT: of an int64; BOOL: 0 or 1;
            TEXT: index into `texts`; NULL: 0.
        texts: values of the TEXT points, grouped alike.
        counts: points of each series.
    """

    series: list[tuple[SeriesKey, Kind]]
    order: NDArray[Any]
    seqs: I8
    steps: I8
    times: I8
    values: U8
    texts: list[str]
    counts: I8

    @property
    def starts(self) -> I8:
        """Index of the first point of each series in the grouped columns."""
        return np.cumsum(self.counts) - self.counts

    def permutation(self) -> I8:
        """Where each point, in grouped order, stood in order of logging."""
        return np.argsort(self.order, kind="stable")

    def floats(self, index: int) -> NDArray[np.float64]:
        """Values of series `index` as float64; NaN for TEXT and NULL."""
        start = int(self.counts[:index].sum())
        part = self.values[start : start + int(self.counts[index])]
        kind = self.series[index][1]
        if kind == Kind.FLOAT:
            return part.view(np.float64)
        if kind in (Kind.INT, Kind.BOOL):
            return part.view(np.int64).astype(np.float64)
        return np.full(len(part), np.nan)

    def python_values(self, index: int) -> list[float | int | bool | str | None]:
        """Values of series `index` as Python objects of their kind."""
        start = int(self.counts[:index].sum())
        part = self.values[start : start + int(self.counts[index])]
        kind = self.series[index][1]
        if kind == Kind.FLOAT:
            return list(part.view(np.float64).tolist())
        if kind == Kind.INT:
            return list(part.view(np.int64).tolist())
        if kind == Kind.BOOL:
            return [bool(v) for v in part.tolist()]
        if kind == Kind.TEXT:
            return [self.texts[i] for i in part.tolist()]
        return [None] * len(part)


def build_points(
    logged: Iterable[tuple[SeriesKey, Kind, int, int, int, float | int | bool | str | None]],
) -> Points:
    """Points from rows (key, kind, seq, step, time, value) in order of logging. One row at a time: for tests."""
    rows = list(logged)
    index: dict[tuple[SeriesKey, Kind], int] = {}
    for key, kind, *_ in rows:
        index.setdefault((key, kind), 0)
    series = sorted(index, key=lambda item: item[1])  # stable: by kind, then first seen
    index = {item: i for i, item in enumerate(series)}
    order = np.array([index[row[0], row[1]] for row in rows], dtype=order_dtype(len(series)))
    grouped = np.argsort(order, kind="stable")
    texts: list[str] = []
    values = np.zeros(len(rows), dtype=np.uint64)
    for place, row_index in enumerate(grouped.tolist()):
        _, kind, _, _, _, value = rows[row_index]
        if kind == Kind.FLOAT:
            values[place] = np.float64(value).view(np.uint64)
        elif kind == Kind.TEXT:
            values[place] = len(texts)
            texts.append(str(value))
        elif kind != Kind.NULL:
            values[place] = np.int64(value).view(np.uint64)
    return Points(
        series=series,
        order=order,
        seqs=np.array([row[2] for row in rows], dtype=np.int64),
        steps=np.array([row[3] for row in rows], dtype=np.int64)[grouped],
        times=np.array([row[4] for row in rows], dtype=np.int64)[grouped],
        values=values,
        texts=texts,
        counts=np.bincount(order, minlength=len(series)).astype(np.int64),
    )


def first_places(order: NDArray[Any], series: int) -> I8:
    """Where each of `series` series is logged first, by `Points.order`; `len(order)` for one that is not."""
    places = np.full(series, len(order), dtype=np.int64)
    places[order[::-1]] = np.arange(len(order) - 1, -1, -1)  # of several assignments the last holds
    return places


def last_places(order: NDArray[Any], series: int) -> I8:
    """Where each of `series` series is logged last, by `Points.order`; -1 for one that is not."""
    places = np.full(series, -1, dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def order_dtype(series: int) -> np.dtype[Any]:
    """The narrowest unsigned type that counts `series` series; numpy sorts 8 and 16 bits by radix."""
    return np.dtype(np.uint8 if series <= 1 << 8 else np.uint16 if series <= 1 << 16 else np.uint32)


def count_below(kinds: Sequence[int], kind: Kind) -> int:
    """How many of `kinds` come before `kind`."""
    return sum(1 for k in kinds if k < kind)
