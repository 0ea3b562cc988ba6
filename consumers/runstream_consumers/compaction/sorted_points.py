"""From chunks as they were logged to the columns of a file: points of one run by series, within it in order of logging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from runstream_schemas.order import UNKNOWN_PLACE, Piece, Place, place_of, position
from runstream_schemas.parquet.arrow import (
    METRICS,
    ROW_BITS,
    SCHEMAS,
    constant,
    plain,
    repeated,
    time_column,
    value_columns,
)
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.values.typed_values import TYPED, kind_of_class
from runstream_schemas.wire.points import I8, U8, Points, first_places

_LONG_PIECE = 256  # points on average from which stretches are copied whole


@dataclass(slots=True)
class SourcePoints:
    """Points of one chunk and where they come from.

    Attributes:
        ordinal: the source's number within the run.
        first: first slot of the chunk.
        slots: slots of the chunk.
    """

    ordinal: int
    first: int
    slots: int
    points: Points

    @property
    def start(self) -> int:
        """Position of its first slot."""
        return position(self.ordinal, self.first)

    @property
    def end(self) -> int:
        """Position after its last slot."""
        return position(self.ordinal, self.first + self.slots)


@dataclass(slots=True)
class SortedPoints:
    """Points of one run, sorted.

    Attributes:
        series: keys in the order they lie in the columns (as first seen).
        counts: points of each series.
        steps: steps; rows of tables (`runstream_schemas.parquet.arrow.ROW_BITS`).
        times: microseconds since the epoch.
        bits: values as 64 raw bits; TEXT: index into `texts`.
        kinds: `Kind` of each value, or the one that all have.
        first_positions, last_positions: for each series, the batches that hold its first and its last point.
        place: which positions of the run these are.
    """

    run_id: str
    series: list[SeriesKey]
    counts: I8
    steps: I8
    times: I8
    bits: U8
    kinds: NDArray[np.uint8] | Kind
    texts: list[str]
    first_positions: I8
    last_positions: I8
    place: Place = UNKNOWN_PLACE

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def ends(self) -> I8:
        """Where each series ends in the columns."""
        return np.cumsum(self.counts)

    def metrics_table(self) -> pa.Table:
        """The rows of a metrics file."""
        cls = np.repeat(np.array([key.cls for key in self.series], dtype=np.int8), self.counts)
        n = len(self)
        names = repeated([key.name for key in self.series], self.counts)
        values = value_columns(self.bits, self.kinds, self.texts)
        columns = [
            constant(self.run_id, n),
            names,
            plain(cls, pa.int8()),
            plain(self.steps, pa.int64()),
            time_column(self.times),
            *values,
        ]
        return pa.Table.from_arrays(columns, schema=METRICS)

    def columns_table(self, kind: str) -> pa.Table:
        """The rows of a file whose series have columns: of tables, or of system metrics."""
        names = repeated([key.name for key in self.series], self.counts)
        columns = repeated([key.column for key in self.series], self.counts)
        values = value_columns(self.bits, self.kinds, self.texts)
        run_id = constant(self.run_id, len(self))
        parts = [run_id, names, columns, plain(self.steps, pa.int64()), time_column(self.times), *values]
        return pa.Table.from_arrays(parts, schema=SCHEMAS[kind])

    def table(self, kind: str) -> pa.Table:
        """The rows of a file of that kind."""
        if kind == "metrics":
            return self.metrics_table()
        return self._typed_table(kind) if kind in TYPED else self.columns_table(kind)

    def _typed_table(self, kind: str) -> pa.Table:
        n = len(self)
        names = repeated([key.name for key in self.series], self.counts)
        cls = np.full(n, TYPED[kind].cls, dtype=np.int8)
        parts = [constant(self.run_id, n), names, plain(cls, pa.int8()), plain(self.steps, pa.int64())]
        columns = TYPED[kind].columns(self._as_texts())
        return pa.Table.from_arrays([*parts, time_column(self.times), *columns], schema=SCHEMAS[kind])

    def _as_texts(self) -> list[str]:
        kinds = np.full(len(self), self.kinds) if isinstance(self.kinds, Kind) else self.kinds
        return [
            self.texts[bits] if kind == Kind.TEXT else f"{bits} of kind {kind}"
            for bits, kind in zip(self.bits.tolist(), kinds.tolist(), strict=True)
        ]


def sort_points(run_id: str, chunks: Sequence[SourcePoints]) -> dict[str, SortedPoints]:
    """Sort the points of one run, by kind of file: metrics, cells of tables, typed values; only those there are.

    Points of a series lie in the order of `runstream_schemas.order`.

    Args:
        chunks: chunks of one run, in any order.
    """
    chunks = sorted(chunks, key=lambda chunk: chunk.start)
    pieces = _Pieces(chunks)
    kinds = np.array([kind_of_class(key.cls) for key in pieces.keys], dtype=object)
    return {kind: pieces.gather(run_id, kinds == kind) for kind in dict.fromkeys(kinds.tolist())}


class _Pieces:
    """All chunks' columns end to end, and the stretches ("pieces") of them that belong to one series."""

    def __init__(self, chunks: Sequence[SourcePoints]) -> None:
        self._chunks = chunks
        index: dict[SeriesKey, int] = {}
        key, kind, count, chunk_of, texts_before = [], [], [], [], []
        self._texts: list[str] = []
        for number, chunk in enumerate(chunks):
            points = chunk.points
            for i in _logged_order(points):
                index.setdefault(points.series[i][0], len(index))
            for series_key, series_kind in points.series:
                key.append(index[series_key])
                kind.append(int(series_kind))
            count.append(points.counts)
            chunk_of.append(np.full(len(points.series), number, dtype=np.int64))
            texts_before.append(len(self._texts))
            self._texts.extend(points.texts)
        self.keys = list(index)
        self._key = np.array(key, dtype=np.int64)
        self._kind = np.array(kind, dtype=np.uint8)
        self._count = _join(count, np.int64)
        self._chunk = _join(chunk_of, np.int64)
        self._start = np.cumsum(self._count) - self._count
        self._ordinal = np.array([chunk.ordinal for chunk in chunks], dtype=np.int64)
        # Chunks whose slots follow one another are one stretch: nothing comes between them any more.
        self._starts = starts = np.array([chunk.start for chunk in chunks], dtype=np.int64)
        ends = np.array([chunk.end for chunk in chunks], dtype=np.int64)
        self._stretch = np.cumsum(np.append(False, starts[1:] != ends[:-1]))[: len(chunks)]
        begin = np.flatnonzero(np.append(True, np.diff(self._stretch) != 0))[: len(chunks)]
        self._stretches = list(
            zip(starts[begin].tolist(), ends[np.append(begin[1:], len(chunks)) - 1].tolist(), strict=True)
        )
        self._steps = _join([chunk.points.steps for chunk in chunks], np.int64)
        self._times = _join([chunk.points.times for chunk in chunks], np.int64)
        self._bits = _join([chunk.points.values for chunk in chunks], np.uint64)
        if self._texts:  # each chunk counts its texts from 0
            owned = self._bits.flags.owndata and len(chunks) > 1
            self._bits = self._bits if owned else self._bits.copy()
            for piece in np.flatnonzero(self._kind == Kind.TEXT).tolist():
                start = self._start[piece]
                self._bits[start : start + self._count[piece]] += np.uint64(texts_before[self._chunk[piece]])

    def gather(self, run_id: str, keys: NDArray[np.bool_]) -> SortedPoints:
        """The points of the series for which `wanted` is true."""
        chosen = np.flatnonzero(keys[self._key] & (self._count > 0))
        if not len(chosen):
            none = np.zeros(0, dtype=np.int64)
            return SortedPoints(
                run_id, [], none, none, none, none.view(np.uint64), Kind.FLOAT, [], none, none, UNKNOWN_PLACE
            )
        chosen = chosen[
            np.argsort(self._key[chosen], kind="stable")
        ]  # pieces come by source and slot already
        key, count = self._key[chosen], self._count[chosen]
        present, first_piece = np.unique(key, return_index=True)
        series = [self.keys[i] for i in present.tolist()]
        ends = np.cumsum(count)
        offsets = ends - count
        last_piece = np.append(first_piece[1:], len(chosen)) - 1
        if int(ends[-1]) >= _LONG_PIECE * len(chosen) and not self._two_kinds(chosen).any():
            # Whole stretches are copied; taking point by point costs ten times as much.
            cuts = [
                slice(a, b)
                for a, b in zip(
                    self._start[chosen].tolist(), (self._start[chosen] + count).tolist(), strict=True
                )
            ]
            steps, times, bits = (
                np.concatenate([column[cut] for cut in cuts])
                for column in (self._steps, self._times, self._bits)
            )
            kinds = self._kinds(chosen, None)
        else:
            take = np.repeat(self._start[chosen] - offsets, count) + np.arange(int(count.sum()))
            self._interleave_kinds(chosen, offsets, take)
            kinds = self._kinds(chosen, take)
            steps, times, bits = self._steps[take], self._times[take], self._bits[take]
        starts, stops = offsets[first_piece], ends[last_piece]
        if series[0].cls == SeriesClass.TABLE:
            steps += (np.repeat(self._ordinal[self._chunk[chosen]], count)) << ROW_BITS
        place = self._place(series, chosen, last_piece)
        batch = self._starts[self._chunk[chosen]]
        return SortedPoints(
            run_id,
            series,
            stops - starts,
            steps,
            times,
            bits,
            kinds,
            self._texts,
            batch[first_piece],
            batch[last_piece],
            place,
        )

    def _place(self, series: Sequence[SeriesKey], chosen: I8, last_piece: I8) -> Place:
        pieces: dict[SeriesKey, list[Piece]] = {}
        if len(self._stretches) > 1:
            stretch, count = self._stretch[self._chunk[chosen]], self._count[chosen]
            new = np.append(True, np.diff(stretch) != 0)
            new[last_piece[:-1] + 1] = True
            begin = np.flatnonzero(new)
            rows = np.add.reduceat(count, begin)
            of = np.searchsorted(last_piece, begin)
            for i, s, n in zip(of.tolist(), stretch[begin].tolist(), rows.tolist(), strict=True):
                start, end = self._stretches[s]
                pieces.setdefault(series[i], []).append(Piece(start, end, n))
        return place_of(self._stretches, pieces)

    def _kinds(self, chosen: I8, take: I8 | None) -> NDArray[np.uint8] | Kind:
        kinds = np.unique(self._kind[chosen])
        if len(kinds) <= 1:
            return Kind(int(kinds[0])) if len(kinds) else Kind.FLOAT
        if take is None:
            return np.repeat(self._kind[chosen], self._count[chosen])
        return np.repeat(self._kind, self._count)[take]

    def _two_kinds(self, chosen: I8) -> NDArray[np.bool_]:
        """Where a piece continues the series and the chunk of the piece before: its points are of another kind."""
        key, chunk = self._key[chosen], self._chunk[chosen]
        same: NDArray[np.bool_] = (key[1:] == key[:-1]) & (chunk[1:] == chunk[:-1])
        return same

    def _interleave_kinds(self, chosen: I8, offsets: I8, take: I8) -> None:
        """A series that has two kinds in one chunk has two pieces there: put their points in order of logging."""
        chunk, same = self._chunk[chosen], self._two_kinds(chosen)
        if not same.any():
            return
        borders = np.append(np.flatnonzero(np.append(True, ~same)), len(chosen))
        logged: dict[int, I8] = {}
        chunk_start = np.array(
            [self._start[self._chunk == number][0] for number in np.unique(chunk[1:][same])]
        )
        start_of = dict(zip(np.unique(chunk[1:][same]).tolist(), chunk_start.tolist(), strict=True))
        for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            if b - a < 2:
                continue
            number = int(chunk[a])
            if number not in logged:
                logged[number] = self._chunks[number].points.permutation()
            first, last = int(offsets[a]), int(offsets[b - 1] + self._count[chosen[b - 1]])
            part = take[first:last]
            take[first:last] = part[np.argsort(logged[number][part - start_of[number]], kind="stable")]


def _logged_order(points: Points) -> Sequence[int]:
    """The series of a chunk in the order first logged. They lie by kind; what that changes is the columns of tables."""
    kinds = {kind for key, kind in points.series if key.cls == SeriesClass.TABLE}
    if len(kinds) < 2:
        return range(len(points.series))
    order: list[int] = np.argsort(first_places(points.order, len(points.series)), kind="stable").tolist()
    return order


def _join(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
