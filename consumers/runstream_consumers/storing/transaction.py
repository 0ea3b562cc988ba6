"""The statements of the writer's transaction: the fence, the sources' slots, chunks and summaries."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np

from runstream_schemas.errors import RunstreamError
from runstream_schemas.events import Event, MetricsEvent
from runstream_schemas.order import position

from ..sources.source import Fetched, Partition
from . import queries
from .run_states import storable
from .slots import Slots
from .summaries import COLUMNS, Batch, Rows, merge

STAGED_FROM = 300
"""Rows of summaries from which a staging table is faster."""


class FenceLost(RunstreamError):
    """Another writer moved the offset of these partitions; nothing of the batch was stored."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        super().__init__(
            f"lost {', '.join(map(str, partitions))} to another writer; its offset will be read again"
        )
        self.partitions = list(partitions)


class Stale(Exception):
    """What is cached is not what is stored."""


@dataclass(slots=True)
class SourceState:
    """A row of `sources`; `key` 0: not stored yet."""

    key: int
    run_key: int
    ordinal: int
    slots: Slots
    dropped: int = 0


@dataclass(slots=True)
class Plan:
    """What one transaction will write; made before it begins, from the cache."""

    batch: Sequence[Fetched]
    accepted: list[tuple[Event, tuple[str, bytes]]] = field(default_factory=list)  # event, source
    before: dict[tuple[str, bytes], SourceState | None] = field(default_factory=dict)
    after: dict[tuple[str, bytes], SourceState] = field(default_factory=dict)
    runs: dict[tuple[str, bytes], str] = field(default_factory=dict)
    duplicates: int = 0

    def leave_out_others(self, runs: Mapping[str, int]) -> None:
        """Forget the sources of runs that are not among these."""
        for at in [at for at, run_id in self.runs.items() if run_id not in runs]:
            del self.runs[at], self.before[at], self.after[at]


async def move_offsets(connection: asyncpg.Connection[Any], batch: Sequence[Fetched]) -> None:
    """The fence. First of all statements: whoever waits here for another writer has written nothing yet."""
    spans = sorted(batch, key=lambda f: (f.partition.cluster, f.partition.topic_id, f.partition.index))

    def columns(some: Sequence[Fetched]) -> tuple[list[str], list[str], list[int]]:
        return (
            [f.partition.cluster for f in some],
            [f.partition.topic_id for f in some],
            [f.partition.index for f in some],
        )

    names = [f.partition.topic_name for f in spans]
    rows = await connection.fetch(
        queries.MOVE_OFFSETS, *columns(spans), [f.start for f in spans], [f.next for f in spans], names
    )
    moved = {tuple(row) for row in rows}
    others = [f for f in spans if (f.partition.cluster, f.partition.topic_id, f.partition.index) not in moved]
    if others:
        rows = await connection.fetch(
            queries.BEGIN_OFFSETS,
            *columns(others),
            [f.next for f in others],
            [f.partition.topic_name for f in others],
        )
        moved |= {tuple(row) for row in rows}
        lost = [
            f.partition
            for f in others
            if (f.partition.cluster, f.partition.topic_id, f.partition.index) not in moved
        ]
        if lost:
            raise FenceLost(lost)
    gone = [(f.missing, f.partition) for f in spans if f.missing is not None]
    if gone:
        await connection.execute(
            queries.RECORD_LOST_OFFSETS,
            [m.first for m, _ in gone], [m.next for m, _ in gone], [m.reason for m, _ in gone],
            [p.cluster for _, p in gone], [p.topic_id for _, p in gone], [p.index for _, p in gone],
        )  # fmt: skip


async def store_sources(
    connection: asyncpg.Connection[Any], plan: Plan, runs: dict[str, int]
) -> dict[tuple[str, bytes], int]:
    """Move the sources' slots from what was cached to what will be stored; returns their keys."""
    keys = {at: state.key for at, state in plan.after.items()}
    # Sorted, so that writers wait for one another in one order; of a run, in order of appearance.
    new = sorted((at for at, key in keys.items() if key == 0), key=lambda at: runs[plan.runs[at]])
    moved = [
        at for at, state in plan.after.items()
        if (old := plan.before[at]) is not None and (old.slots != state.slots or old.dropped != state.dropped)
    ]  # fmt: skip
    if new:
        at_run = [runs[plan.runs[at]] for at in new]
        rows = await connection.fetch(queries.COUNT_SOURCES, list(set(at_run)))
        counts: dict[tuple[int, str], int] = {(row["run_key"], row["topic"]): row["n"] for row in rows}
        ordinals = []
        for (topic, _), run_key in zip(new, at_run, strict=True):
            ordinals.append(counts.get((run_key, topic), 0))
            counts[run_key, topic] = ordinals[-1] + 1
        states = [plan.after[at] for at in new]
        for state, ordinal in zip(states, ordinals, strict=True):
            state.ordinal = ordinal
        rows = await connection.fetch(
            queries.ADD_SOURCES, [UUID(bytes=source) for _, source in new], [topic for topic, _ in new], at_run, ordinals,
            [s.slots.next for s in states], [s.slots.multirange for s in states], [s.dropped for s in states],
        )  # fmt: skip
        if len(rows) != len(new):
            raise Stale("a source was stored by another writer")
        for row in rows:
            keys[row["topic"], row["source"].bytes] = row["key"]
    if moved:
        moved.sort(key=lambda at: keys[at])
        befores = [before for at in moved if (before := plan.before[at]) is not None]
        states = [plan.after[at] for at in moved]
        done = await connection.execute(
            queries.MOVE_SOURCES, [keys[at] for at in moved], [b.slots.next for b in befores],
            [b.slots.multirange for b in befores], [s.slots.next for s in states], [s.slots.multirange for s in states],
            [s.dropped for s in states],
        )  # fmt: skip
        if done != f"UPDATE {len(moved)}":
            raise Stale("a source was moved by another writer")
    await _store_holes(connection, plan, runs)
    return keys


async def _store_holes(connection: asyncpg.Connection[Any], plan: Plan, runs: dict[str, int]) -> None:
    changed = [
        at for at, state in plan.after.items()
        if state.slots.holes != (before.slots.holes if (before := plan.before[at]) is not None else [])
    ]  # fmt: skip
    if not changed:
        return
    who = [UUID(bytes=source) for _, source in changed], [topic for topic, _ in changed]
    await connection.execute(queries.FORGET_HOLES, *who, [runs[plan.runs[at]] for at in changed])
    holes = [(at, hole) for at in changed for hole in plan.after[at].slots.holes]
    if holes:
        await connection.execute(
            queries.RECORD_HOLES, [runs[plan.runs[at]] for at, _ in holes], [UUID(bytes=at[1]) for at, _ in holes],
            [at[0] for at, _ in holes], [first for _, (first, _) in holes], [next_ for _, (_, next_) in holes],
        )  # fmt: skip


async def store_points(
    connection: asyncpg.Connection[Any], plan: Plan, runs: dict[str, int], keys: dict[tuple[str, bytes], int],
    ids: dict[int, list[int]],
) -> int:  # fmt: skip
    """Chunks and summaries; returns the number of points."""
    chunks: list[tuple[int, int, int, int, int, bytes]] = []
    batches: list[Batch] = []
    points = 0
    for n, series_ids in ids.items():
        event, at = plan.accepted[n]
        assert isinstance(event, MetricsEvent)
        if not event.points or event.run_id not in runs:
            continue
        run_key = runs[event.run_id]
        chunks.append((run_key, keys[at], event.first, event.count, event.points, event.payload))
        where = position(plan.after[at].ordinal, event.first)
        batches.append(Batch(event, run_key, series_ids, where))
        points += event.points
    if chunks:
        await connection.copy_records_to_table("chunks", records=chunks, columns=queries.CHUNK_COLUMNS)
    if (rows := merge(batches)) is not None:
        await _store_summaries(connection, rows)
    return points


async def _store_summaries(connection: asyncpg.Connection[Any], rows: Rows) -> None:
    plain = np.flatnonzero(rows.plain)
    if len(plain) < STAGED_FROM:
        plain = plain[:0]
    else:
        await connection.execute(queries.STAGE_SUMMARIES)
        await connection.copy_to_table(
            "staged_summaries", source=io.BytesIO(rows.copy_data(plain)), columns=COLUMNS, format="binary"
        )
        await connection.execute(queries.MERGE_STAGED)
        await connection.execute(queries.UNSTAGE_SUMMARIES)
    others = np.delete(np.arange(len(rows)), plain)
    if len(others):
        columns = rows.arrays(others)
        if rows.texts:
            columns[-1] = [None if text is None else storable(text) for text in columns[-1]]
        await connection.execute(queries.UPSERT_SUMMARIES, *columns)
