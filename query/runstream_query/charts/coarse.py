"""Series of many runs as buckets of a fixed fineness, kept: what charts of hundreds of runs are drawn from.

A chart shows some hundred buckets of each of 500 runs. Files keep them (`runstream_schemas.parquet.series_overviews`). Of
series that have none in a file the points are read some millions at a time, made into buckets, and let go: they do not fit
in memory beside one another. A range so narrow that it needs more is read as vectors, and so are runs that still log: what
they have new continues a vector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cachetools import LRUCache

from runstream_schemas.buckets import Reduced, bucket_size
from runstream_schemas.parquet.series_overviews import SeriesOverview
from runstream_schemas.series import SeriesClass

from .. import queries
from ..points.parquet import METRICS
from ..points.reader import Query
from ..points.tiers import executor
from ..points.vectors import Series
from .overview import clip
from .stored_series import Key, StoredSeries

MANY_POINTS: Final = 2_000_000
"""Points of a request from which its series are looked at as buckets."""
KEPT: Final = 4_000_000
"""Most buckets of all series together, of 41 bytes each."""
AT_ONCE: Final = 3_000_000
"""Points read before they are let go."""


@dataclass(frozen=True, slots=True)
class CoarseSeries:
    """A series of one run, as it is drawn from its overview."""

    overview: SeriesOverview

    @classmethod
    def of(cls, series: Series) -> CoarseSeries:
        """Of the points in any order; ties stay in theirs."""
        return cls(SeriesOverview.of(series.steps, series.times, series.floats()))

    @property
    def first(self) -> int:
        """The least step."""
        return self.overview.first

    @property
    def last(self) -> int:
        """The greatest step."""
        return self.overview.last

    @property
    def total(self) -> int:
        """Points."""
        return self.overview.total

    @property
    def origin(self) -> int:
        """The first time, microseconds since the epoch."""
        return self.overview.origin

    def reduce(self, begin: float, end: float, size: float) -> tuple[Reduced, int]:
        """The buckets in sight, one more on each side, and how many points lie in them; `size`: its own or more."""
        x = self.overview.buckets.x
        low, high = clip((begin // size - 1) * size), clip((end // size + 2) * size)
        within = self.overview.buckets.cut(int(np.searchsorted(x, low)), int(np.searchsorted(x, high)))
        return within.coarser(size).reduced(), int(within.n.sum())


class CoarseSeriesCache:
    """Series that charts of many runs asked for lately.

    Args:
        query: reads their points.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._held: LRUCache[tuple[Key, int], CoarseSeries] = LRUCache(  # and how often its run was rewound
            KEPT, getsizeof=lambda held: len(held.overview.buckets.x)
        )
        self._reading = asyncio.Lock()

    async def get(
        self, stored: Mapping[Key, StoredSeries], names: Sequence[str], known: Collection[Key], width: int
    ) -> dict[Key, CoarseSeries]:
        """Series of those metrics whose charts need no finer buckets; none where the request is of few points.

        Args:
            stored: all that are wanted.
            names: the metrics of the charts.
            known: what is drawn from something else.
            width: most buckets of a chart.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        counts = {
            key: held.count
            for key, held in stored.items()
            if held.count and held.settled and key not in known
        }
        if sum(counts.values()) < MANY_POINTS:
            return {}
        held = {key: series for key in counts if (series := self._current(key, stored)) is not None}
        missing = [key for key in counts if key not in held]
        if missing:
            async with self._reading:  # of several requests for the same runs one reads
                for key in missing:
                    if (series := self._current(key, stored)) is not None:
                        held[key] = series
                missing = [key for key in missing if key not in held]
                held |= self._keep(await self._kept_in_files(missing, counts), stored)
                for part in _portions([key for key in missing if key not in held], counts):
                    held |= self._keep(await self._read(part), stored)
        fitting: dict[Key, CoarseSeries] = {}
        for name in names:
            of_name = {key: held[key] for key in held if key[1] == name}
            finer = _too_coarse(of_name, width)
            for part in _portions(finer, counts):
                async with self._reading:
                    of_name |= self._keep(await self._read(part), stored)
            fitting |= _fit(of_name, width)
        return fitting

    def _keep(
        self, series: dict[Key, CoarseSeries], stored: Mapping[Key, StoredSeries]
    ) -> dict[Key, CoarseSeries]:
        self._held.update({(key, stored[key].rewinds): each for key, each in series.items() if key in stored})
        return series

    async def _kept_in_files(self, keys: Sequence[Key], counts: dict[Key, int]) -> dict[Key, CoarseSeries]:
        """Those that lie as a whole in one file that keeps their overviews: a hundredth of the bytes of their points."""
        if not keys:
            return {}
        names: dict[str, list[str]] = {}
        for run_id, name in keys:
            names.setdefault(run_id, []).append(name)
        pool, files = self._query.pool, self._query.files
        runs = {
            row["key"]: row["run_id"] for row in await pool.fetch(queries.RUN_KEYS, list(names))
        }  # a file that is replaced meanwhile lies in the trash, with the same points
        by_path: dict[str, list[Key]] = {}
        for row in await pool.fetch(queries.LIVE_FILES, list(runs), METRICS.kind):
            run_id = runs[row["run_key"]]
            by_path.setdefault(row["path"], []).extend((run_id, name) for name in names[run_id])
        loop = asyncio.get_running_loop()
        read = await asyncio.gather(
            *(
                loop.run_in_executor(executor, files.series_overviews, path, of_file)
                for path, of_file in by_path.items()
            )
        )
        return {
            key: CoarseSeries(overview)
            for of_file in read
            for key, overview in of_file.items()
            if overview.total == counts[key]
        }

    def _current(self, key: Key, stored: Mapping[Key, StoredSeries]) -> CoarseSeries | None:
        held = self._held.get((key, stored[key].rewinds))
        return held if held is not None and held.total == stored[key].count else None

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
    return series if all(each.overview.size <= size for each in series.values()) else {}


def _too_coarse(series: dict[Key, CoarseSeries], width: int) -> list[Key]:
    """Those of a chart that are coarser than it is wide, and need not be."""
    if not series:
        return []
    first = min(each.first for each in series.values())
    last = max(each.last for each in series.values())
    size = bucket_size(first, last, width)
    return [key for key, each in series.items() if each.overview.size > size and each.overview.can_be_finer]


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
