"""Series of many runs as buckets of a fixed fineness, kept: what charts of hundreds of runs are drawn from.

The points of 500 runs do not fit in memory beside one another, and a chart shows some hundred buckets of each. So they are
read some millions at a time, made into buckets, and let go. A range so narrow that it needs more is read as vectors, and so
are runs that still log: what they have new continues a vector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cachetools import LRUCache

from runstream_schemas.buckets import Buckets, Reduced, bucket_size
from runstream_schemas.series import SeriesClass

from ..points.reader import Query
from ..points.vectors import Series
from . import queries as page_queries
from .overview import clip

Key = tuple[str, str]
"""Run id and name of a metric."""

MANY_POINTS: Final = 2_000_000
"""Points of a request from which its series are looked at as buckets."""
FINE: Final = 512
"""Most buckets of a series."""
KEPT: Final = 4_000_000
"""Most buckets of all series together, of 41 bytes each."""
AT_ONCE: Final = 3_000_000
"""Points read before they are let go."""


@dataclass(frozen=True, slots=True)
class CoarseSeries:
    """A series of one run; `size`: steps a bucket spans, a power of two. `origin`: the first time, microseconds."""

    size: int
    buckets: Buckets
    first: int
    last: int
    total: int
    origin: int

    @classmethod
    def of(cls, series: Series) -> CoarseSeries:
        """Of the points in any order; ties stay in theirs."""
        steps, values = series.steps, series.floats()
        if bool(np.any(steps[1:] < steps[:-1])):
            order = np.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
        first, last = int(steps[0]), int(steps[-1])
        size = bucket_size(first, last, FINE)
        return cls(size, Buckets.of(steps, values, size), first, last, len(steps), int(series.times.min()))

    def reduce(self, begin: float, end: float, size: float) -> tuple[Reduced, int]:
        """The buckets in sight, one more on each side, and how many points lie in them; `size`: `self.size` or more."""
        x = self.buckets.x
        low, high = clip((begin // size - 1) * size), clip((end // size + 2) * size)
        within = self.buckets.cut(int(np.searchsorted(x, low)), int(np.searchsorted(x, high)))
        return within.coarser(size).reduced(), int(within.n.sum())


class CoarseSeriesCache:
    """Series that charts of many runs asked for lately.

    Args:
        query: reads their points.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._held: LRUCache[Key, CoarseSeries] = LRUCache(KEPT, getsizeof=lambda held: len(held.buckets.x))
        self._reading = asyncio.Lock()

    async def get(
        self, run_ids: Sequence[str], names: Sequence[str], known: Collection[Key], width: int
    ) -> dict[Key, CoarseSeries]:
        """Series of those metrics whose charts need no finer buckets; none where the request is of few points.

        Args:
            known: what is drawn from something else.
            width: most buckets of a chart.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        rows = await self._query.pool.fetch(page_queries.SERIES_COUNTS, list(run_ids), list(names))
        counts = {
            (row["run_id"], row["name"]): row["count"]
            for row in rows
            if row["count"] and row["settled"] and (row["run_id"], row["name"]) not in known
        }
        if sum(counts.values()) < MANY_POINTS:
            return {}
        held = {key: series for key in counts if (series := self._current(key, counts)) is not None}
        missing = [key for key in counts if key not in held]
        if missing:
            async with self._reading:  # of several requests for the same runs one reads
                for key in missing:
                    if (series := self._current(key, counts)) is not None:
                        held[key] = series
                missing = [key for key in missing if key not in held]
                for part in _portions(missing, counts):
                    read = await self._read(part)
                    self._held.update(read)
                    held |= read
        return {
            key: series
            for name in names
            for key, series in _fit({key: held[key] for key in held if key[1] == name}, width).items()
        }

    def _current(self, key: Key, counts: dict[Key, int]) -> CoarseSeries | None:
        held = self._held.get(key)
        return held if held is not None and held.total == counts[key] else None

    async def _read(self, keys: Sequence[Key]) -> dict[Key, CoarseSeries]:
        runs = list(dict.fromkeys(run for run, _ in keys))
        names = list(dict.fromkeys(name for _, name in keys))
        vectors = await self._query.vectors(runs, names=names, cls=(SeriesClass.METRIC,))

        def make() -> dict[Key, CoarseSeries]:
            return {(each.run_id, each.name): CoarseSeries.of(each) for each in vectors if len(each)}

        return await asyncio.to_thread(make)


def _fit(series: dict[Key, CoarseSeries], width: int) -> dict[Key, CoarseSeries]:
    """All series of a chart; none where one of them is coarser than the chart is wide."""
    if not series:
        return {}
    first = min(each.first for each in series.values())
    last = max(each.last for each in series.values())
    size = bucket_size(first, last, width)
    return series if all(each.size <= size for each in series.values()) else {}


def _portions(keys: Sequence[Key], counts: dict[Key, int]) -> Iterator[list[Key]]:
    """Keys run by run, as one reads them from files, so many points at a time."""
    part: list[Key] = []
    points = 0
    for key in sorted(keys):
        if part and points + counts[key] > AT_ONCE and key[0] != part[-1][0]:
            yield part
            part, points = [], 0
        part.append(key)
        points += counts[key]
    if part:
        yield part
