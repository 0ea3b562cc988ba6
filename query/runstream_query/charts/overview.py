"""Long series as charts show them: buckets of a fixed fineness, kept, and the row groups behind them.

Whoever looks at ten million points sees a thousand buckets of them. These are made of some ten thousand finer ones, which
lie in the Parquet files; where they do not, the points are read once, row group by row group, and let go. A range so narrow
that it needs more is read from the row groups that overlap it. Only for series that lie in Parquet as a whole, in order of
step; all others are held as vectors.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from weakref import WeakValueDictionary

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from runstream_schemas.buckets import Buckets, Reduced, bucket_size
from runstream_schemas.errors import StoreError
from runstream_schemas.parquet.overviews import LEAST_POINTS, GroupOverview
from runstream_schemas.series import SeriesClass, SeriesKey

from ..points.parquet import METRICS, ParquetFiles
from ..points.reader import Query
from ..points.tiers import FilePart, executor, view_tiers
from ..points.vectors import Series
from ..runs.runs import Connection
from . import queries as page_queries
from .stored_series import Key, StoredSeries

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
LONG: Final = 500_000
"""Points from which a series has an overview."""
FINE: Final = 1 << 16
"""Most of its buckets."""
KEPT: Final = 2_000_000
"""Most buckets of all overviews together."""
GROUPS: Final = 4
"""Row groups kept, of at most a million points each."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A row group: its points' first and last step, and the points themselves where the group holds other series too.

    Attributes:
        kept: the overview in the file.
    """

    path: str
    number: int
    rows: int
    first: int
    last: int
    first_time: int
    held: tuple[I8, F8] | None = None
    kept: GroupOverview | None = None

    def read(self, files: ParquetFiles | _Recent) -> tuple[I8, F8]:
        return files.points(self.path, self.number) if self.held is None else self.held


class _Recent:
    """Row groups read lately: whoever zooms in looks at the same one again. Safe to use from several threads."""

    def __init__(self, files: ParquetFiles) -> None:
        self._files = files
        self._groups: LRUCache[tuple[str, int], tuple[I8, F8]] = LRUCache(GROUPS)
        self._lock = threading.Lock()

    def points(self, path: str, number: int) -> tuple[I8, F8]:
        with self._lock:
            points = self._groups.get((path, number))
        if points is None:
            points = self._files.points(path, number)
        with self._lock:
            self._groups[path, number] = points
        return points


@dataclass(slots=True)
class Overview:
    """A series of one run.

    Attributes:
        made_of: the files' ids and row groups.
        size: steps a bucket spans, a power of two.
        each_step: whether every step from the first to the last has one point.
    """

    made_of: tuple[tuple[int, int, int], ...]
    size: int
    buckets: Buckets
    each_step: bool
    _parts: list[_Part]
    _recent: _Recent

    @property
    def first(self) -> int:
        """First step."""
        return self._parts[0].first

    @property
    def last(self) -> int:
        """Last step."""
        return self._parts[-1].last

    @property
    def total(self) -> int:
        """Points."""
        return sum(part.rows for part in self._parts)

    @property
    def origin(self) -> int:
        """First time, microseconds since the epoch."""
        return min(part.first_time for part in self._parts)

    def reduce(self, begin: float, end: float, size: float) -> tuple[Reduced, int]:
        """The buckets of that size in sight, one more on each side, and how many points lie in the range.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        low, high = clip((begin // size - 1) * size), clip((end // size + 2) * size)
        if size >= self.size:
            x = self.buckets.x
            within = self.buckets.cut(int(np.searchsorted(x, low)), int(np.searchsorted(x, high)))
            buckets = within.coarser(size)
        else:
            steps, values = self._points(low, high)
            buckets = Buckets.of(steps, values, size)
        return buckets.reduced(), self._below(clip(end) + 1) - self._below(clip(begin))

    def _points(self, low: int, high: int) -> tuple[I8, F8]:
        """The points of `low` to before `high`."""
        read = [part.read(self._recent) for part in self._parts if part.first < high and part.last >= low]
        if not read:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        steps, values = (np.concatenate(column) for column in zip(*read, strict=True))
        part = slice(int(np.searchsorted(steps, low)), int(np.searchsorted(steps, high)))
        return steps[part], values[part]

    def _below(self, step: int) -> int:
        """How many points lie before a step."""
        if self.each_step:
            return min(max(step - self.first, 0), self.total)
        count = 0
        for part in self._parts:
            if part.last < step:
                count += part.rows
            elif part.first < step:
                count += int(np.searchsorted(part.read(self._recent)[0], step))
        return count


def clip(x: float) -> int:
    """`x`, a whole number, within what an array of them can hold."""
    return max(-(1 << 63), min(int(x), (1 << 63) - 1))


class Overviews:
    """Overviews that were asked for lately.

    Args:
        query: reads what they are made of.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._recent = _Recent(query.files)
        self._held: LRUCache[Key, Overview] = LRUCache(KEPT, getsizeof=lambda held: len(held.buckets.x))
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def get(
        self, stored: Mapping[Key, StoredSeries], known: Callable[[str, str], bool]
    ) -> dict[Key, Overview]:
        """Overviews of those metrics that are long and lie in Parquet as they are now.

        Args:
            stored: all that are wanted.
            known: whether a metric of a run is held otherwise, and needs none.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        pool = self._query.pool
        counts = {key: held.count for key, held in stored.items() if held.count >= LONG and not known(*key)}
        if not counts:
            return {}

        async def find(connection: Connection) -> dict[int, str]:
            runs = list(dict.fromkeys(run_id for run_id, _ in counts))
            return {
                row["key"]: row["run_id"] for row in await connection.fetch(page_queries.WITHOUT_CHUNKS, runs)
            }

        view = await view_tiers(pool, find, layouts=(METRICS,))
        parts: dict[str, list[FilePart]] = {run_id: [] for run_id in view.runs.values()}
        for part in sorted(view.parts, key=lambda part: part.place.start):
            if part.run_key in view.mixed:  # held as vectors
                parts.pop(view.runs[part.run_key], None)
            else:
                parts[view.runs[part.run_key]].append(part)
        overviews: dict[Key, Overview] = {}
        for key, count in counts.items():
            if key[0] not in parts:
                continue
            # Of many who ask at the same time one reads.
            async with self._locks.setdefault(key, asyncio.Lock()):
                overview = await self._current(key, count, parts[key[0]])
            if overview is not None:
                overviews[key] = overview
        return overviews

    async def _current(self, key: Key, count: int, parts: Sequence[FilePart]) -> Overview | None:
        made_of = tuple((part.file_id, part.first_group, part.last_group) for part in parts)
        held = self._held.get(key)
        if held is not None and held.made_of == made_of and held.total == count:
            return held
        self._held.pop(key, None)
        held = await self._make(key, count, made_of, parts)
        if held is not None:
            self._held[key] = held
        return held

    async def _make(
        self, key: Key, count: int, made_of: tuple[tuple[int, int, int], ...], files: Sequence[FilePart]
    ) -> Overview | None:
        """None: the points lie in another order than that of their steps, or not all of them are there."""
        loop = asyncio.get_running_loop()
        source = self._query.files
        nested = await asyncio.gather(
            *(loop.run_in_executor(executor, _parts, source, file, *key) for file in files)
        )
        parts = [part for of_file in nested for part in of_file]
        if not parts or sum(part.rows for part in parts) != count:
            return None
        if any(after.first < before.last for before, after in pairwise(parts)):
            return None
        size = bucket_size(parts[0].first, parts[-1].last, FINE)
        size = max([size, *(part.kept.size for part in parts if part.kept is not None)])
        reduced = await asyncio.gather(
            *(loop.run_in_executor(executor, _reduce, source, part, size) for part in parts)
        )
        each_step = parts[-1].last - parts[0].first + 1 == count and all(
            after.first > before.last for before, after in pairwise(parts)
        )
        buckets = []
        for pair in reduced:
            if pair is None:
                return None
            buckets.append(pair[0])
            each_step = each_step and pair[1]
        return Overview(made_of, size, Buckets.joined(buckets, size), each_step, parts, self._recent)


def _parts(files: ParquetFiles, file: FilePart, run_id: str, name: str) -> list[_Part]:
    """What a file holds of a metric."""
    parts = []
    spans = files.spans(file.path, range(file.first_group, file.last_group + 1), run_id, name)
    long = {span.number for span in spans if span.rows >= LEAST_POINTS}
    overviews = files.overviews(file.path, long) if long else {}
    for span in spans:
        if span.rows:
            kept = overviews.get(span.number)
            if kept is not None and (kept.points, kept.last) != (span.rows, span.last):
                raise StoreError(
                    f"{file.path}: the overviews in it are of other points; restore it from a backup"
                )
            parts.append(
                _Part(file.path, span.number, span.rows, span.first, span.last, span.first_time, kept=kept)
            )
            continue
        key = SeriesKey(SeriesClass.METRIC, name)
        series: Mapping[SeriesKey, list[Series]] = {
            each: [Series(run_id, each, piece) for piece in pieces]
            for each, pieces in files.read(file.path, METRICS, {span.number: {run_id}}, {name})
            .get(run_id, {})
            .items()
        }
        for stored in series.get(key, []):
            steps, values = stored.steps.copy(), stored.floats().copy()  # not the whole group behind them
            times = int(stored.times.min())
            parts.append(
                _Part(
                    file.path, span.number, len(steps), int(steps[0]), int(steps[-1]), times, (steps, values)
                )
            )
    return parts


def _reduce(files: ParquetFiles, part: _Part, size: int) -> tuple[Buckets, bool] | None:
    """A row group's buckets, and whether no step occurs in it twice; None: its steps fall."""
    if part.kept is not None:
        return part.kept.buckets.coarser(size), part.kept.distinct
    made = GroupOverview.of(*part.read(files), size)
    return None if made is None else (made.buckets, made.distinct)
