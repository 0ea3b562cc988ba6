"""What one transaction will write, made before it begins: the events not stored yet, and what they change of sources.

A plan rests on what is cached of the database, which only saves reading it first. The database checks it inside the
transaction: what is cached and not so is `transaction.Stale`, and the plan is made again from what is read then.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from runstream_schemas.runs.status import ENDINGS
from runstream_schemas.series import SeriesKey
from runstream_schemas.wire.events import Event, MetricsEvent, StatusEvent, cut_event, topic_of

from ..sources.source import Fetched
from . import queries
from .run_states import storable
from .slots import Slots

CACHED_SOURCES = 100_000
CACHED_RUNS = 100_000
CACHED_SERIES = 200_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a row of `sources` says of a source's events on one topic."""

    key: int
    ordinal: int
    slots: Slots
    dropped: int = 0


@dataclass(slots=True, eq=False)
class SourceChange:
    """What a batch changes of a source, on one topic.

    Attributes:
        stored: the row of the source before; None: there is none.
        slots, dropped: what the row of the source says afterwards.
        key, ordinal: key and ordinal of the row; a new one has them once it is stored.
        run_key: key of the run, known inside the transaction.
        known: the source has points already, though nobody has read its row.
    """

    topic: str
    source: bytes
    run_id: str
    stored: SourceState | None
    slots: Slots
    dropped: int = 0
    key: int = 0
    ordinal: int = 0
    run_key: int = 0
    known: bool = False

    @classmethod
    def of(cls, event: Event, stored: SourceState | None) -> SourceChange:
        """No change yet, of the source of `event`."""
        topic = topic_of(event)
        if stored is None:
            return cls(topic, event.source, event.run_id, None, Slots())
        return cls(
            topic,
            event.source,
            event.run_id,
            stored,
            stored.slots.copy(),
            stored.dropped,
            stored.key,
            stored.ordinal,
        )

    @property
    def is_moved(self) -> bool:
        """Whether a row that is there says something else afterwards."""
        before = self.stored
        return before is not None and (before.slots != self.slots or before.dropped != self.dropped)

    @property
    def is_written(self) -> bool:
        """Whether something of it is stored that was not: else all of it is a resend."""
        return self.stored is None or self.is_moved

    @property
    def changes_holes(self) -> bool:
        """Whether other slots are missing below its end afterwards."""
        return self.slots.holes != ([] if self.stored is None else self.stored.slots.holes)

    @property
    def has_dropped(self) -> bool:
        """Whether its writer has dropped points since the row was written."""
        return self.dropped > (0 if self.stored is None else self.stored.dropped)

    @property
    def state(self) -> SourceState:
        """Its row afterwards."""
        return SourceState(self.key, self.ordinal, self.slots, self.dropped)


@dataclass(slots=True)
class Accepted:
    """An event of which nothing is stored yet, or what is not stored of one.

    Attributes:
        series_ids: ids of the series, one an entry; only of metrics.
    """

    event: Event
    change: SourceChange
    series_ids: Sequence[int] = ()


@dataclass(slots=True)
class Plan:
    """What one transaction will write.

    Attributes:
        run_keys: keys of the runs, by id; known inside the transaction. A run that was deleted has none.
    """

    batch: Sequence[Fetched]
    accepted: list[Accepted] = field(default_factory=list)
    changes: list[SourceChange] = field(default_factory=list)
    duplicates: int = 0
    run_keys: dict[str, int] = field(default_factory=dict)

    def set_runs(self, keys: dict[str, int]) -> None:
        """Take the runs' keys, and leave out the sources of runs that have none."""
        self.run_keys = keys
        self.changes = [change for change in self.changes if change.run_id in keys]
        for change in self.changes:
            change.run_key = keys[change.run_id]

    def ended(self) -> set[str]:
        """Runs whose ends are among the accepted events."""
        events = [accepted.event for accepted in self.accepted]
        return {
            event.run_id
            for event in events
            if isinstance(event, StatusEvent) and any(op.kind in ENDINGS for op in event.ops)
        }

    def of_runs(self) -> Iterator[tuple[int, Accepted]]:
        """The accepted events behind the keys of their runs; what is said of a deleted run is passed over."""
        for accepted in self.accepted:
            if accepted.event.run_id in self.run_keys and accepted.change.run_key:
                yield self.run_keys[accepted.event.run_id], accepted


class Planner:
    """Makes plans, and remembers what their transactions have stored.

    Args:
        pool: connections to a migrated database.
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._sources: _Bounded[tuple[str, bytes], SourceState] = _Bounded(CACHED_SOURCES)
        self._runs: _Bounded[str, int] = _Bounded(CACHED_RUNS)
        self._series: _Bounded[SeriesKey, int] = _Bounded(CACHED_SERIES)

    @property
    def held(self) -> tuple[int, int]:
        """Sources, by topic, and runs that are remembered."""
        return len(self._sources), len(self._runs)

    async def plan(self, batch: Sequence[Fetched]) -> Plan:
        """What of `batch` is to be written."""
        plan = Plan(batch)
        events = [event for fetched in batch for event in fetched.events]
        await self._find_sources(events)
        changes: dict[tuple[str, bytes], SourceChange] = {}
        for event in events:
            at = (topic_of(event), event.source)
            change = changes.get(at)
            if change is None:
                change = changes[at] = SourceChange.of(event, self._sources.get(at))
            if isinstance(event, MetricsEvent):
                change.dropped = max(change.dropped, event.dropped)
            first, end = event.first, event.first + event.count
            new = change.slots.missing(first, end)
            if not new:
                plan.duplicates += 1
                continue
            change.slots.add(first, end)
            parts = [event] if new == [(first, end)] else _parts(event, new)
            plan.accepted += (Accepted(part, change) for part in parts)
        plan.changes = list(changes.values())
        self._series.trim()
        of_points = [accepted for accepted in plan.accepted if isinstance(accepted.event, MetricsEvent)]
        if missing := {key for accepted in of_points for key in self._set_series(accepted)}:
            await self._find_series(missing)
            for accepted in of_points:
                self._set_series(accepted)
        return plan

    def _set_series(self, accepted: Accepted) -> Collection[SeriesKey]:
        """Give an event the ids of its series; returns those that are not known, and gives none then."""
        assert isinstance(accepted.event, MetricsEvent)
        keys = [key for key, _ in accepted.event.series]
        try:
            accepted.series_ids = list(map(self._series.__getitem__, keys))
        except KeyError:
            return set(keys) - self._series.keys()
        return ()

    async def find_runs(self, connection: asyncpg.Connection[Any], plan: Plan) -> None:
        """Give `plan` the keys of its runs. A run nobody has created yet gets a row that only knows its id."""
        run_ids = sorted({change.run_id for change in plan.changes})
        runs = {run_id: self._runs[run_id] for run_id in run_ids if run_id in self._runs}
        missing = [run_id for run_id in run_ids if run_id not in runs]
        if missing:
            texts = [storable(run_id) for run_id in missing]
            rows = await connection.fetch(queries.FIND_RUNS, texts)
            if len(rows) < len(missing):
                await connection.execute(queries.ADD_RUNS, texts)
                rows = await connection.fetch(queries.FIND_RUNS, texts)
            keys = {row["run_id"]: row["key"] for row in rows}
            runs.update((run_id, keys[storable(run_id)]) for run_id in missing if storable(run_id) in keys)
        plan.set_runs(runs)

    def remember(self, plan: Plan) -> None:
        """The plan's transaction has committed. Of a run that has ended, little more is to come: a sweep of short runs would
        fill the memory with what nobody asks for."""
        over = plan.ended()
        self._runs.trim()
        for run_id, key in plan.run_keys.items():
            if run_id in over:
                self._runs.pop(run_id, None)
            else:
                self._runs[run_id] = key
        for change in plan.changes:
            at = (change.topic, change.source)
            if change.run_id in over:
                self._sources.pop(at, None)
            else:
                self._sources[at] = change.state

    def forget(self) -> None:
        """What is cached may not be so: read it again."""
        self._sources.clear()
        self._runs.clear()
        self._series.clear()

    async def _find_sources(self, events: Iterable[Event]) -> None:
        cache = self._sources
        cache.trim()
        missing = list(
            {(topic_of(e), e.source): None for e in events if (topic_of(e), e.source) not in cache}
        )
        if not missing:
            return
        ids = {source: UUID(bytes=source) for source in {source for _, source in missing}}
        rows = await self._pool.fetch(
            queries.FIND_SOURCES,
            [ids[source] for _, source in missing],
            [topic for topic, _ in missing],
        )
        for row in rows:
            slots = Slots.parse(row["next"], row["ahead"])
            cache[row["topic"], row["source"].bytes] = SourceState(
                row["key"], row["ordinal"], slots, row["dropped"]
            )

    async def _find_series(self, missing: Collection[SeriesKey]) -> None:
        """Ids of series. In statements of their own: other writers do not wait for this one's commit to use a name."""
        self._series.update(await find_series(self._pool, missing))


async def find_series(
    connection: asyncpg.Pool[Any] | asyncpg.Connection[Any], keys: Collection[SeriesKey]
) -> dict[SeriesKey, int]:
    """Ids of series, which get one if need be."""
    by_row = {(key.cls, storable(key.name), storable(key.column)): key for key in keys}
    ids: dict[tuple[int, str, str], int] = {}
    for statement in (queries.FIND_SERIES, queries.ADD_SERIES, queries.FIND_SERIES):
        rows = sorted(by_row.keys() - ids.keys())
        if not rows:
            break
        # Of those to add it returns what was added: the others somebody else has added meanwhile.
        columns = ([row[at] for row in rows] for at in range(3))
        for row in await connection.fetch(statement, *columns):
            ids[row["cls"], row["name"], row["column"]] = row["id"]
    return {key: ids[key.cls, storable(key.name), storable(key.column)] for key in keys}


class _Bounded(dict[K, V]):
    """A dict that forgets its oldest half when it has more than `limit` entries.

    Only when it is told to: what a plan was made of is there until the next one.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def trim(self) -> None:
        """Forget, if there is too much."""
        if len(self) > self.limit:
            for key in list(self)[: len(self) // 2]:
                del self[key]


def _parts(event: Event, new: Sequence[tuple[int, int]]) -> Sequence[Event]:
    """What of `event` lies in the ranges `new`. Of metrics an event a range: what is stored together has no gap."""
    if isinstance(event, MetricsEvent):
        return cut_event(event, new)
    ops = [op for op in event.ops if any(a <= op.seq < b for a, b in new)]
    return [type(event)(event.run_id, event.source, event.first, event.count, ops)] if ops else []  # type: ignore[arg-type]
