"""Whole vectors of metrics, held in memory for the next chart; a run that continues is read from where it was held.

What a held vector lacks lies in the chunks stored since, as long as the compactor left them where they are. All is looked at
in one snapshot, and the number of points has to come out as the summaries say; else the vector is read anew, from both
tiers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from runstream_schemas.order import BEFORE_ALL
from runstream_schemas.series import SeriesClass, SeriesKey

from .. import queries
from ..points.reader import Query
from ..points.tails import read_tails
from ..points.vectors import Placed, Series, join
from ..runs.runs import Connection
from . import queries as page_queries
from .extremes import Extremes

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Key = tuple[str, str]
"""Run id and name of a metric."""
Stored = tuple[int, int, int]
Positions = dict[int, int]
"""By source: the slots below are held."""

MOST_POINTS = (512 << 20) // 48
"""Most points of all vectors kept: 48 bytes each of the columns, and of one more order of them."""


class _Room:
    """Columns with room behind what is used. Only the vector that ends where the used part ends may grow into it."""

    def __init__(self, steps: I8, times: I8, values: F8) -> None:
        self.columns: tuple[NDArray[Any], ...] = (steps, times, values)
        self.used = len(steps)

    def add(self, at: int, more: Sequence[NDArray[Any]]) -> _Room:
        """Put columns behind the first `at` entries; another room when there is no place."""
        end = at + len(more[0])
        room = self
        if self.used != at or end > len(self.columns[0]):
            grown = [np.empty(end + end // 2 + 64, dtype=column.dtype) for column in self.columns]
            for new, old in zip(grown, self.columns, strict=True):
                new[:at] = old[:at]
            room = _Room(grown[0], grown[1], grown[2])
        for column, tail in zip(room.columns, more, strict=True):
            column[at:end] = tail
        room.used = end
        return room


@dataclass(slots=True)
class Vector:
    """A metric of a run: its points in order of logging.

    Attributes:
        positions: how far each source of the run is in it; None: it cannot be continued.
        last_position: the position of the batch that holds its last point (`runstream_schemas.order`).
        rewinds: how often the run was rewound before.
    """

    steps: I8
    times: I8
    values: F8
    positions: Positions | None = None
    last_position: int = BEFORE_ALL
    rewinds: int = 0
    _room: _Room | None = None
    _sorted_by: dict[str, tuple[I8, F8]] = field(default_factory=dict)
    _extremes: dict[str, Extremes] = field(default_factory=dict)
    _origin: int | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def origin(self) -> int:
        """First time, microseconds since the epoch."""
        if self._origin is None:
            self._origin = int(self.times.min())
        return self._origin

    def along(self, axis: str) -> tuple[I8, F8]:
        """x and value in order of x: of `step`, `time` or `relative`."""
        if axis not in self._sorted_by:
            x = self.steps if axis == "step" else self.times
            if axis == "relative" and len(x):
                x = x - self.origin
            values = self.values
            if _falls(x):
                order = np.argsort(x, kind="stable")
                x, values = x[order], values[order]
            self._sorted_by[axis] = (x, values)
        return self._sorted_by[axis]

    def extremes(self, axis: str) -> Extremes:
        """Of the values as `along` gives them."""
        if axis not in self._extremes:
            self._extremes[axis] = Extremes.of(self.along(axis)[1])
        return self._extremes[axis]

    def continued(self, parts: Sequence[Placed], positions: Positions) -> Vector | None:
        """This and what was stored since, in order; None: some of that belongs before points that are held."""
        if len(self) and len(positions) > 1 and not BEFORE_ALL < self.last_position < parts[0][0]:
            return None
        tail = join([piece for _, piece in parts])
        more = (tail.steps, tail.times, Series("", _NO_KEY, tail).floats())
        room = (self._room or _Room(self.steps, self.times, self.values)).add(len(self), more)
        steps, times, values = (column[: room.used] for column in room.columns)
        grown = Vector(steps, times, values, positions, parts[-1][0], self.rewinds, room)
        grown._origin = min(self.origin, int(tail.times.min())) if len(self) else None
        # A long run that continues is looked at four times a second: what is known of it need not be found out again.
        for axis, old, column in (("step", self.steps, steps), ("time", self.times, times)):
            known = self._sorted_by.get(axis)
            if known is not None and known[0] is old and not _falls(column[max(len(self) - 1, 0) :]):
                grown._sorted_by[axis] = (column, values)
                if axis in self._extremes:
                    grown._extremes[axis] = self._extremes[axis].extended(values)
        return grown


def _falls(x: I8) -> bool:
    """Whether an array is out of order."""
    return bool(np.any(x[1:] < x[:-1]))


_NO_KEY = SeriesKey(SeriesClass.METRIC, "")


class HeldVectors:
    """Vectors that were asked for lately.

    Args:
        query: reads them.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        # One that is too large for it is kept alone: whoever looks at it looks again.
        self._held: LRUCache[Key, Vector] = LRUCache(
            MOST_POINTS, getsizeof=lambda held: min(len(held), MOST_POINTS)
        )
        self._locks: WeakValueDictionary[tuple[tuple[str, ...], ...], asyncio.Lock] = WeakValueDictionary()

    def holds(self, run_id: str, name: str) -> bool:
        """Whether a metric is held, be it as it is now or as it was."""
        return (run_id, name) in self._held

    async def get(self, run_ids: Sequence[str], names: Sequence[str]) -> dict[Key, Vector]:
        """Metrics of runs as they are stored now; those that do not exist are absent.

        Raises:
            StoreError: a Parquet file is missing or damaged.
        """
        # Of many who follow a run the first one reads, the others find it read.
        lock = self._locks.setdefault((tuple(run_ids), tuple(names)), asyncio.Lock())
        async with lock:
            stored = await self._stored(self._query.pool, run_ids, names)
            counts = {key: count for key, (count, *_) in stored.items()}
            stale = [key for key, of_key in stored.items() if not self._is_current(key, of_key)]
            vectors = await self._continue(counts, stale) if stale else {}
            if left := [key for key in stale if key not in vectors]:
                vectors |= await self._read(left)
            vectors |= {key: self._held[key] for key in counts if key not in vectors and key in self._held}
            self._held.update(vectors)
        keys = dict.fromkeys((run, name) for name in names for run in run_ids)
        return {key: vectors[key] for key in keys if key in vectors and len(vectors[key])}

    def _is_current(self, key: Key, stored: Stored) -> bool:
        held = self._held.get(key)
        count, _, rewinds = stored
        return count == 0 if held is None else len(held) == count and held.rewinds == rewinds

    async def _stored(
        self, connection: Any, run_ids: Sequence[str], names: Sequence[str]
    ) -> dict[Key, Stored]:
        """How many points there are, the last one's position, and how often the run was rewound."""
        rows = await connection.fetch(page_queries.SERIES_COUNTS, list(run_ids), list(names))
        return {
            (row["run_id"], row["name"]): (row["count"], row["last_position"], row["rewinds"]) for row in rows
        }

    async def _read(self, keys: Sequence[Key]) -> dict[Key, Vector]:
        """Read vectors whole."""
        runs, names = _parts(keys)
        positions: dict[str, Positions | None] = {}
        stored: dict[Key, Stored] = {}

        async def look(connection: Connection) -> None:
            positions.update(await _positions(connection, runs))
            stored.update(await self._stored(connection, runs, names))

        all_series = await self._query.vectors(runs, names=names, cls=(SeriesClass.METRIC,), look=look)
        vectors: dict[Key, Vector] = {}
        for series in all_series:
            values = await asyncio.to_thread(series.floats)
            key = series.run_id, series.name
            _, last, rewinds = stored.get(key, (0, BEFORE_ALL, 0))
            held = positions.get(series.run_id)
            vectors[key] = Vector(series.steps, series.times, values, held, last, rewinds)
        return vectors

    async def _continue(self, keys: Iterable[Key], stale: Collection[Key]) -> dict[Key, Vector]:
        """Those of the held vectors that can be continued, continued.

        Args:
            keys: all that are wanted: those that did not grow are noted to be as far as the others.
            stale: those that did.
        """
        from_: dict[str, Positions] = {}
        for run_id, name in stale:
            vector = self._held.get((run_id, name))
            if vector is not None and vector.positions is not None:
                from_.setdefault(run_id, vector.positions)
        held = {
            key: vector
            for key in keys
            if (vector := self._held.get(key)) is not None and vector.positions == from_.get(key[0], ())
        }
        if not held:
            return {}
        runs, names = _parts(held)
        async with (
            self._query.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            now = await _positions(connection, runs)
            stored = await self._stored(connection, runs, names)
            run_keys = {row["run_id"]: row["key"] for row in await connection.fetch(queries.RUN_KEYS, runs)}
            since = [
                (run_keys[run_id], source, from_[run_id].get(source, 0))
                for run_id, there in now.items()
                for source, next_ in (there or {}).items()
                if run_id in run_keys and next_ > from_[run_id].get(source, 0)
            ]
            tails = await read_tails(connection, since, names)
        vectors: dict[Key, Vector] = {}
        for (run_id, name), vector in held.items():
            there = now.get(run_id)
            if there is None:
                continue
            tail = tails.get(run_keys.get(run_id, 0), {}).get(SeriesKey(SeriesClass.METRIC, name), [])
            count, _, rewinds = stored.get((run_id, name), (-1, 0, 0))
            if len(vector) + sum(len(piece.steps) for _, piece in tail) != count or vector.rewinds != rewinds:
                continue
            if not tail:
                vector.positions = there
            elif (longer := vector.continued(tail, there)) is not None:
                vectors[run_id, name] = longer
        return vectors


def _parts(keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    pairs = list(keys)
    return list(dict.fromkeys(run for run, _ in pairs)), list(dict.fromkeys(name for _, name in pairs))


async def _positions(connection: Connection, run_ids: Sequence[str]) -> Mapping[str, Positions | None]:
    """How far each source of runs is stored; None: one has a gap, behind which more is stored."""
    by_run: dict[str, Positions | None] = {}
    for row in await connection.fetch(page_queries.POSITIONS, list(run_ids)):
        positions = by_run.setdefault(row["run_id"], {})
        if positions is not None and row["whole"]:
            positions[row["key"]] = row["next"]
        else:
            by_run[row["run_id"]] = None
    return by_run
