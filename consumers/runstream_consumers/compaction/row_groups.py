"""Row groups cut at borders between series, so that a vector is read without its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from runstream_schemas.parquet.arrow import numbers, parquet_writer, plain
from runstream_schemas.parquet.footer_seal import SealingSink
from runstream_schemas.parquet.overviews import LEAST_POINTS, GroupOverview, pack_overviews
from runstream_schemas.parquet.series_overviews import (
    IN_A_BUCKET,
    PackedOverviews,
    SeriesName,
    SeriesOverview,
)
from runstream_schemas.parquet.series_overviews import LEAST_POINTS as LEAST_SERIES
from runstream_schemas.series import SeriesClass
from runstream_schemas.times import shown_times
from runstream_schemas.wire.points import I8

MIN_ROWS, MAX_ROWS = 128 << 10, 1 << 20
"""A row group is closed at the first border after MIN_ROWS; a longer series is cut at MAX_ROWS."""

_SMALL_DICTIONARY = 64  # names that are not worth trimming

_MAX_TEXT = 64 << 20  # bytes of text and lists held back for one row group
_LARGE = ("text", "counts", "edges")
_OF_METRICS = frozenset({"cls", "step", "value"})
"""Columns of files of metrics, which alone have overviews: system metrics and former branches have steps and values too."""


@dataclass(slots=True)
class RunRows:
    """Where a run lies in a file: its first and last row group, and how many rows it has there."""

    first: int
    last: int
    rows: int


@dataclass(slots=True)
class RowGroups:
    """Writes tables, handed over run by run, as row groups.

    Attributes:
        runs: where each run lies, by the key given to `add`; complete after `close`.
        rows: rows that were added so far.
    """

    sink: Any
    schema: pa.Schema
    runs: dict[int, RunRows] = field(default_factory=dict)
    rows: int = 0
    _writer: Any = None
    _held: list[pa.Table] = field(default_factory=list)
    _held_runs: dict[int, int] = field(default_factory=dict)
    _held_rows: int = 0
    _held_text: int = 0
    _groups: int = 0
    _overviews: dict[int, GroupOverview] = field(default_factory=dict)
    _of_series: PackedOverviews = field(default_factory=PackedOverviews)

    def __post_init__(self) -> None:
        self.sink = SealingSink(self.sink)
        self._writer = parquet_writer(self.sink, self.schema)

    def add(self, run_key: int, table: pa.Table, ends: I8) -> None:
        """Append rows of one run.

        Args:
            run_key: the run; its rows have to be added one after another.
            table: rows, sorted.
            ends: rows at which a series ends, rising; the last is the table's length.
        """
        at, n = 0, len(table)
        while at < n:
            place = int(np.searchsorted(ends, at + max(MIN_ROWS - self._held_rows, 1)))
            end = int(ends[min(place, len(ends) - 1)])
            if self._held_rows + end - at > MAX_ROWS:
                if self._held_rows:  # what is held goes first, so that the long series begins a row group
                    before = int(np.searchsorted(ends, at + MAX_ROWS - self._held_rows, side="right")) - 1
                    if before >= 0 and ends[before] > at:
                        self._hold(run_key, table.slice(at, int(ends[before]) - at))
                        at = int(ends[before])
                    self._flush()
                    continue
                end = at + MAX_ROWS
            self._hold(run_key, table.slice(at, end - at))
            at = end
            if self._held_rows >= MIN_ROWS or self._held_text > _MAX_TEXT:
                self._flush()

    def add_runs(self, run_keys: Sequence[int], table: pa.Table, ends: I8) -> None:
        """Append rows of many runs, each far smaller than a row group.

        Args:
            run_keys: the runs; each has all its rows here.
            table: rows, sorted.
            ends: rows at which each run ends.
        """
        at = first = 0
        while first < len(run_keys):
            full = int(np.searchsorted(ends, at + max(MIN_ROWS - self._held_rows, 1)))
            last = min(full, len(run_keys) - 1)
            rows = np.diff(ends[first : last + 1], prepend=at).tolist()
            self._held_runs.update(zip(run_keys[first : last + 1], rows, strict=True))
            self._hold_rows(table.slice(at, int(ends[last]) - at))
            at, first = int(ends[last]), last + 1
            if self._held_rows >= MIN_ROWS or self._held_text > _MAX_TEXT:
                self._flush()

    def _hold(self, run_key: int, part: pa.Table) -> None:
        self._held_runs[run_key] = self._held_runs.get(run_key, 0) + len(part)
        self._hold_rows(part)

    def _hold_rows(self, part: pa.Table) -> None:
        self._held.append(part)
        self._held_rows += len(part)
        for name in _LARGE:
            if name in part.column_names and (column := part.column(name)).null_count < len(column):
                self._held_text += column.nbytes

    def _flush(self) -> None:
        if not self._held_rows:
            return
        table = self._held[0]
        if len(self._held) > 1:
            # One dictionary a row group: the writer falls back to plain strings when it changes on the way.
            table = pa.concat_tables(self._held).unify_dictionaries().combine_chunks()
        for name in ("name", "column", "node", "branch"):
            if name in self.schema.names:
                table = _trim_dictionary(table, name)
        self._writer.write_table(table, row_group_size=MAX_ROWS)
        for run_key, rows in self._held_runs.items():
            known = self.runs.get(run_key)
            if known is None:
                self.runs[run_key] = RunRows(self._groups, self._groups, rows)
            else:
                known.last, known.rows = self._groups, known.rows + rows
        if overview := _overview(table):
            self._overviews[self._groups] = overview
        else:
            for series, of_series in _series_overviews(table):
                self._of_series.add(series, of_series)
        self._groups += 1
        self.rows += self._held_rows
        self._held, self._held_runs = [], {}
        self._held_rows = self._held_text = 0

    def close(self) -> None:
        """Write what is held back, and the file's footer."""
        self._flush()
        self.sink.hold()
        self._writer.close()
        self.sink.seal(self._of_series.packed() + pack_overviews(self._overviews))


def _overview(table: pa.Table) -> GroupOverview | None:
    """Of a row group that holds one long metric."""
    if len(table) < LEAST_POINTS or not _OF_METRICS.issubset(table.column_names):
        return None
    for name in ("run_id", "cls", "name"):  # rows are sorted
        column = table.column(name)
        if column[0] != column[len(table) - 1]:
            return None
    return GroupOverview.of(
        numbers(table.column("step"), np.int64), numbers(table.column("value"), np.float64, np.nan)
    )


def _series_overviews(table: pa.Table) -> Iterator[tuple[SeriesName, SeriesOverview]]:
    """Of each long enough metric of a row group that holds several."""
    if len(table) < LEAST_SERIES or not _OF_METRICS.issubset(table.column_names):
        return
    keys = [_dictionary(table.column(name)) for name in ("run_id", "cls", "name")]
    changes = np.zeros(len(table) - 1, dtype=bool)
    for key in keys:
        codes = numbers(key.indices, np.int32)
        changes |= codes[1:] != codes[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    ends = np.append(starts[1:], len(table))
    long = ends - starts >= LEAST_SERIES
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        run_id, cls, name = (key[start].as_py() for key in keys)
        if cls == SeriesClass.METRIC:
            part = table.slice(start, end - start)
            steps, times = (numbers(part.column(column), np.int64) for column in ("step", "time"))
            values = numbers(part.column("value"), np.float64, np.nan)
            yield (run_id, name), SeriesOverview.of(steps, shown_times(times), values, least=IN_A_BUCKET)


def _dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded


def _trim_dictionary(table: pa.Table, name: str) -> pa.Table:
    """Leave out names that are not in these rows: a run of 10,000 series would repeat all of them in every row group."""
    column = table.column(name)
    if column.num_chunks != 1 or len(column.chunk(0).dictionary) <= _SMALL_DICTIONARY:
        return table
    array = column.chunk(0)
    codes = array.indices.to_numpy()
    used = np.zeros(len(array.dictionary), dtype=bool)
    used[codes] = True
    if used.all():
        return table
    places = (np.cumsum(used) - 1).astype(np.int32)
    names = array.dictionary.take(plain(np.flatnonzero(used), pa.int64()))
    trimmed = pa.DictionaryArray.from_arrays(plain(places[codes], pa.int32()), names)
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), trimmed)
