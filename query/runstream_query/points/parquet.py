"""Parquet files of the store, read by the row groups and columns that hold what is wanted.

A row group whose statistics say that it holds one series needs no key columns and no filter: its numbers go to numpy as they
are. Footers are kept (files never change once published), so a read costs the wanted pages only.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache
from numpy.typing import NDArray

from runstream_schemas.errors import StoreError, lacks_memory
from runstream_schemas.parquet.arrow import numbers, plain, restore_kinds
from runstream_schemas.parquet.footer_seal import check_footer
from runstream_schemas.parquet.overviews import GroupOverview, read_overviews
from runstream_schemas.parquet.series_overviews import SeriesName, SeriesOverview, read_series_overviews
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.store import Store
from runstream_schemas.times import shown_time, shown_times
from runstream_schemas.values.typed_values import TYPED, kind_of_class, second_key, series_key

from .vectors import PointColumns

FOOTERS = 512
"""Footers kept in memory."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of file is read: which column is the step of its points."""

    kind: str
    step: str
    names: list[str]  # columns to read as dictionaries

    @property
    def second(self) -> str:
        """The key beside run and name."""
        return second_key(self.kind)

    def key(self, name: str, second: Any) -> SeriesKey:
        """The series a row belongs to."""
        return series_key(self.kind, name, second)


METRICS = Layout("metrics", "step", ["run_id", "name"])
HISTOGRAMS = Layout("histograms", "step", ["run_id", "name"])
MEDIA = Layout("media", "step", ["run_id", "name"])
TABLES = Layout("tables", "row", ["run_id", "name", "column"])
SYSTEM = Layout("system", "step", ["run_id", "name", "node"])
FORMER = Layout("former", "step", ["run_id", "name", "branch"])
LAYOUTS = (METRICS, TABLES, HISTOGRAMS, MEDIA, SYSTEM, FORMER)


def layouts_of(classes: Collection[int] | None) -> tuple[Layout, ...]:
    """The kinds of file in which some classes of series lie; None: all classes."""
    if classes is None:
        return LAYOUTS
    kinds = {kind_of_class(cls) for cls in classes}
    return tuple(layout for layout in LAYOUTS if layout.kind in kinds)


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group as its statistics tell: smallest and largest run, name, second key and step; whether every value is a
    float; the first time, microseconds since the epoch."""

    rows: int
    runs: tuple[str, str] | None
    names: tuple[str, str] | None
    seconds: tuple[Any, Any] | None
    all_float: bool
    steps: tuple[int, int] | None
    first_time: int | None

    def pure(self) -> bool:
        return all(span is not None and span[0] == span[1] for span in (self.runs, self.names, self.seconds))

    def holds(self, names: Collection[str] | None) -> bool:
        return (
            names is None
            or self.names is None
            or any(self.names[0] <= name <= self.names[1] for name in names)
        )


@dataclass(frozen=True, slots=True)
class Span:
    """What is known of a metric's points in a row group: how many, their least and greatest step, the first time.

    `rows` is 0 where the group holds other series too, so that it has to be read to know.
    """

    number: int
    rows: int = 0
    first: int = 0
    last: int = 0
    first_time: int = 0


@dataclass(frozen=True, slots=True)
class _Footer:
    metadata: pq.FileMetaData
    groups: list[_Group]


class ParquetFiles:
    """Reads the store's Parquet files; safe to use from several threads.

    Args:
        store: where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._footers: LRUCache[str, _Footer] = LRUCache(FOOTERS)
        self._lock = threading.Lock()

    def read(
        self,
        path: str,
        layout: Layout,
        groups: Mapping[int, Collection[str]],
        names: Collection[str] | None = None,
    ) -> dict[str, dict[SeriesKey, list[PointColumns]]]:
        """Read series from some row groups of a file.

        Args:
            path: relative to the store's root.
            layout: the layout of the file.
            groups: run ids wanted from each row group.
            names: names wanted; None: all.

        Returns:
            Points by run id and series, in order of logging.

        Raises:
            StoreError: the file is missing or damaged.
        """
        result: dict[str, dict[SeriesKey, list[PointColumns]]] = {}
        with self._opened(path, layout) as (file, footer):
            for number, runs in sorted(groups.items()):
                group = _numbered(footer, number, path)
                if not group.rows or not group.holds(names):
                    continue
                for run_id, key, piece in _read_group(file, number, group, layout, runs, names):
                    result.setdefault(run_id, {}).setdefault(key, []).append(piece)
        return result

    def spans(self, path: str, numbers: Iterable[int], run_id: str, name: str) -> list[Span]:
        """What row groups of a file of metrics say of one metric; those that cannot hold it are left out.

        Raises:
            StoreError: the file is missing or damaged.
        """
        with self._opened(path, METRICS) as (_, footer):
            spans = [_span(_numbered(footer, number, path), number, run_id, name) for number in numbers]
        return [span for span in spans if span is not None]

    def points(self, path: str, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values (NaN: texts and None) of a row group that holds one series.

        Raises:
            StoreError: the file is missing or damaged.
        """
        with self._opened(path, METRICS) as (file, _):
            table = file.read_row_groups([number], columns=["step", "value"])
            return _integers(table.column("step")), _floats(table.column("value"))

    def overviews(self, path: str, groups: Container[int]) -> dict[int, GroupOverview]:
        """The overviews a file of metrics keeps of some of its row groups, by their number.

        Raises:
            StoreError: the file is missing or damaged.
        """
        with self._source(path) as source:
            return read_overviews(source, path, groups)

    def series_overviews(self, path: str, series: Collection[SeriesName]) -> dict[SeriesName, SeriesOverview]:
        """The overviews a file of metrics keeps of series that share their row groups.

        Raises:
            StoreError: the file is missing or damaged.
        """
        with self._source(path) as source:
            return read_series_overviews(source, path, series)

    @contextmanager
    def _opened(self, path: str, layout: Layout) -> Iterator[tuple[pq.ParquetFile, _Footer]]:
        with self._source(path) as source:
            footer = self._footer(path, source, layout)
            yield (
                pq.ParquetFile(
                    source,
                    metadata=footer.metadata,
                    read_dictionary=layout.names,
                    page_checksum_verification=True,  # a sixth more of the time to read, for no wrong number ever
                ),
                footer,
            )

    @contextmanager
    def _source(self, path: str) -> Iterator[Any]:
        try:
            # A file replaced since the snapshot lies in the trash longer than any query takes; the store looks there too.
            source = self._store.open_input(path)
            try:
                yield source
            finally:
                source.close()
        except StoreError:
            raise
        except Exception as error:  # damage shows in many ways: pyarrow itself raises KeyError on some
            with self._lock:
                self._footers.pop(path, None)
            if lacks_memory(error):
                raise
            raise StoreError(
                f"{path}: damaged or not Parquet ({type(error).__name__}: {error}); restore the file from a backup"
            ) from None

    def _footer(self, path: str, source: Any, layout: Layout) -> _Footer:
        with self._lock:
            footer = self._footers.get(path)
        if footer is not None:
            return footer
        check_footer(source, path)
        metadata = pq.read_metadata(source)
        footer = _Footer(
            metadata, [_group(metadata, number, layout) for number in range(metadata.num_row_groups)]
        )
        with self._lock:
            self._footers[path] = footer
        return footer


def _group(metadata: pq.FileMetaData, number: int, layout: Layout) -> _Group:
    group = metadata.row_group(number)
    columns = {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}

    def span(name: str) -> tuple[Any, Any] | None:
        statistics = columns.get(name)
        if statistics is None or not statistics.has_min_max or statistics.null_count:
            return None
        return statistics.min, statistics.max

    def nulls(name: str) -> int | None:
        statistics = columns.get(name)
        return statistics.null_count if statistics is not None and statistics.has_null_count else None

    return _Group(
        group.num_rows,
        span("run_id"),
        span("name"),
        span(layout.second),
        nulls("value") == 0 and nulls("int_value") == group.num_rows,
        span(layout.step),
        None
        if (time := columns.get("time")) is None or not time.has_min_max
        else shown_time(int(time.min_raw)),
    )


def _numbered(footer: _Footer, number: int, path: str) -> _Group:
    if number >= len(footer.groups):
        raise StoreError(
            f"{path}: the manifest names row group {number}, the file has {len(footer.groups)}; "
            "another file lies under that name: restore it from a backup"
        )
    return footer.groups[number]


def _span(group: _Group, number: int, run_id: str, name: str) -> Span | None:
    if not group.rows or not group.holds([name]):
        return None
    if not group.pure() or group.steps is None or group.first_time is None:
        return Span(number)
    assert group.runs is not None
    assert group.seconds is not None
    if group.runs[0] != run_id or group.seconds[0] != SeriesClass.METRIC:
        return None
    return Span(number, group.rows, *group.steps, group.first_time)


def _read_group(
    file: pq.ParquetFile,
    number: int,
    group: _Group,
    layout: Layout,
    runs: Collection[str],
    names: Collection[str] | None,
) -> Iterator[tuple[str, SeriesKey, PointColumns]]:
    columns = [layout.step, "time"]
    if layout.kind in TYPED:
        columns += TYPED[layout.kind].names
    else:
        columns += ["value", *(() if group.all_float else ("int_value", "text"))]
    if group.pure():
        assert group.runs is not None
        assert group.names is not None
        assert group.seconds is not None
        if group.runs[0] in runs and (names is None or group.names[0] in names):
            table = file.read_row_groups([number], columns=columns)
            yield (
                group.runs[0],
                layout.key(group.names[0], group.seconds[0]),
                _point_columns(table, layout, group.all_float),
            )
        return
    table = file.read_row_groups(
        [number], columns=["run_id", "name", layout.second, *columns]
    ).combine_chunks()
    run_codes, run_ids = _codes(table.column("run_id"))
    name_codes, series_names = _codes(table.column("name"))
    second_codes, seconds = _codes(table.column(layout.second))
    changes = (np.diff(run_codes) != 0) | (np.diff(name_codes) != 0) | (np.diff(second_codes) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    ends = np.append(starts[1:], len(run_codes))
    # Converted once and then cut: a group of many short series would pay the conversion for each.
    whole = _point_columns(table, layout, group.all_float)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        run_id, name = run_ids[run_codes[start]], series_names[name_codes[start]]
        if run_id in runs and (names is None or name in names):
            yield run_id, layout.key(name, seconds[second_codes[start]]), whole.cut(start, end)


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[Any], Any]:
    """A key column as numbers, and what they stand for (None: themselves)."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    indices = array.indices
    return numbers(pc.cast(indices, pa.int32()), np.int32), array.dictionary.to_pylist()


def _point_columns(table: pa.Table, layout: Layout, all_float: bool) -> PointColumns:
    steps = _integers(table.column(layout.step))
    times = shown_times(_integers(table.column("time")))
    if layout.kind in TYPED:
        texts = TYPED[layout.kind].texts(table)
        return PointColumns(Kind.TEXT, steps, times, np.arange(len(texts), dtype=np.uint64), texts)
    if all_float:
        return PointColumns(Kind.FLOAT, steps, times, _floats(table.column("value")).view(np.uint64))
    kinds = restore_kinds(table)
    values = _floats(table.column("value")).view(np.uint64).copy()
    integral = (kinds == Kind.INT) | (kinds == Kind.BOOL)
    if integral.any():
        values[integral] = numbers(table.column("int_value"), np.uint64, 0)[integral]
    values[kinds == Kind.NULL] = 0
    texts = []
    is_text = kinds == Kind.TEXT
    if is_text.any():
        texts = table.column("text").take(plain(np.flatnonzero(is_text), pa.int64())).to_pylist()
        values[is_text] = np.arange(len(texts), dtype=np.uint64)
    return PointColumns(None, steps, times, values, texts, kinds).cut(0, len(kinds))


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return numbers(column, np.int64)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return numbers(column, np.float64, math.nan)
