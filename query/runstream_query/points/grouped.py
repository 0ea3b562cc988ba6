"""Points of many series as whole columns, grouped by series: a wide run has 100,000, of a few points a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.points import I8, U8

from .vectors import PointColumns

DIFFERENT = 255
"""Stands for the kind of a series whose values are of several."""
_NUMERIC = frozenset((Kind.FLOAT, Kind.INT, Kind.BOOL))


@dataclass(slots=True)
class GroupedPoints:
    """Points of one run, consecutive in order of logging.

    Attributes:
        keys: the series, in the order first logged; each once.
        counts: points of each.
        kinds: `Kind` of the values of each, or `DIFFERENT`.
        steps, times, values: columns of all points, grouped by series, as in `PointColumns`.
        texts: what the values of kind TEXT are indices into.
        kind_of_point: kind of each point; None where no series is `DIFFERENT`.
    """

    keys: list[SeriesKey]
    counts: I8
    kinds: NDArray[np.uint8]
    steps: I8
    times: I8
    values: U8
    texts: list[str]
    kind_of_point: NDArray[np.uint8] | None = None

    def by_series(self) -> dict[SeriesKey, PointColumns]:
        """The points of each series, numbers as views; of those that have any."""
        kind_of = [*Kind]
        columns, end = {}, 0
        for key, count, kind in zip(self.keys, self.counts.tolist(), self.kinds.tolist(), strict=True):
            part = slice(end, end + count)
            end += count
            if kind in _NUMERIC and count:
                columns[key] = PointColumns(
                    kind_of[kind], self.steps[part], self.times[part], self.values[part]
                )
            elif count:
                columns[key] = self._with_texts(None if kind == DIFFERENT else kind_of[kind], part)
        return columns

    def _with_texts(self, kind: Kind | None, part: slice) -> PointColumns:
        """Points of a series with the texts of its own."""
        values, kinds = self.values[part], self.point_kinds()[part]
        at = np.flatnonzero(kinds == Kind.TEXT)
        texts = [self.texts[i] for i in values[at].tolist()]
        if texts:
            values = values.copy()
            values[at] = np.arange(len(texts), dtype=np.uint64)
        return PointColumns(
            kind, self.steps[part], self.times[part], values, texts, kinds if kind is None else None
        )

    def point_kinds(self) -> NDArray[np.uint8]:
        """The kind of each point."""
        return np.repeat(self.kinds, self.counts) if self.kind_of_point is None else self.kind_of_point


def bring_together(parts: Sequence[GroupedPoints]) -> GroupedPoints:
    """One group of all, each series' points in the order of `parts`."""
    if len(parts) == 1:
        return parts[0]
    index: dict[SeriesKey, int] = {}
    codes = np.array(
        [index.setdefault(key, len(index)) for part in parts for key in part.keys], dtype=np.int64
    )
    counts = np.concatenate([part.counts for part in parts])
    kinds = np.concatenate([part.kinds for part in parts])
    pieces = np.argsort(codes, kind="stable")  # in their new order
    rows = rows_of_pieces(np.cumsum(counts) - counts, counts, pieces)
    texts: list[str] = []
    values = [part.values for part in parts]
    for number, part in enumerate(parts):
        if part.texts and texts:
            is_text = part.point_kinds() == Kind.TEXT
            values[number] = np.where(is_text, part.values + np.uint64(len(texts)), part.values)
        texts += part.texts
    begins = np.searchsorted(codes[pieces], np.arange(len(index)))
    lowest, highest = np.minimum.reduceat(kinds[pieces], begins), np.maximum.reduceat(kinds[pieces], begins)
    of_series = np.where(lowest == highest, lowest, np.uint8(DIFFERENT)).astype(np.uint8)
    kind_of_point = None
    if (of_series == DIFFERENT).any():
        kind_of_point = np.concatenate([part.point_kinds() for part in parts])[rows]
    return GroupedPoints(
        list(index),
        np.add.reduceat(counts[pieces], begins),
        of_series,
        np.concatenate([part.steps for part in parts])[rows],
        np.concatenate([part.times for part in parts])[rows],
        np.concatenate(values)[rows],
        texts,
        kind_of_point,
    )


def rows_of_pieces(starts: I8, counts: I8, pieces: I8) -> I8:
    """Rows of pieces, which begin at `starts` and are `counts` long, one piece after the other in the order `pieces`."""
    lengths = counts[pieces]
    return np.repeat(starts[pieces] - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
