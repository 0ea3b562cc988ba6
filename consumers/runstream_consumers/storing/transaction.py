"""The statements of the writer's transaction: the fence, the sources' slots, chunks and summaries."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np

from runstream_schemas.errors import RunstreamError
from runstream_schemas.order import position
from runstream_schemas.series import SeriesKey
from runstream_schemas.wire.events import METRICS, MetricsEvent

from ..sources.source import Fetched, Partition
from . import queries
from .plan import Plan, SourceChange
from .rewinding import (
    ColdPoints,
    cut_event_of,
    cut_stored,
    find_cuts,
    hold_points,
    series_ids,
    store_rewinds,
)
from .run_states import storable
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
            [m.first for m, _ in gone],
            [m.next for m, _ in gone],
            [m.reason for m, _ in gone],
            [p.cluster for _, p in gone],
            [p.topic_id for _, p in gone],
            [p.index for _, p in gone],
        )


async def store_sources(connection: asyncpg.Connection[Any], plan: Plan) -> None:
    """Move the sources' slots from what was looked up to what will be stored; new ones get keys."""
    if new := [change for change in plan.changes if change.stored is None]:
        await _add_sources(connection, new)
    if moved := [change for change in plan.changes if change.is_moved]:
        await _move_sources(connection, moved)
    if changed := [change for change in plan.changes if change.changes_holes]:
        await _store_holes(connection, changed)


async def _add_sources(connection: asyncpg.Connection[Any], new: list[SourceChange]) -> None:
    # Sorted, so that writers wait for one another in one order; of a run, in order of appearance.
    new = sorted(new, key=lambda change: change.run_key)
    rows = await connection.fetch(queries.COUNT_SOURCES, list({change.run_key for change in new}))
    counts: dict[tuple[int, str], int] = {(row["run_key"], row["topic"]): row["n"] for row in rows}
    for change in new:
        change.ordinal = counts.get((change.run_key, change.topic), 0)
        counts[change.run_key, change.topic] = change.ordinal + 1
    rows = await connection.fetch(
        queries.ADD_SOURCES,
        [UUID(bytes=c.source) for c in new],
        [c.topic for c in new],
        [c.run_key for c in new],
        [c.ordinal for c in new],
        [c.slots.next for c in new],
        [c.slots.multirange for c in new],
        [c.dropped for c in new],
    )
    if len(rows) != len(new):
        raise Stale("a source was stored by another writer")
    keys = {(row["topic"], row["source"].bytes): row["key"] for row in rows}
    for change in new:
        change.key = keys[change.topic, change.source]


async def _move_sources(connection: asyncpg.Connection[Any], moved: list[SourceChange]) -> None:
    moved = sorted(moved, key=lambda change: change.key)
    before = [change.stored.slots for change in moved if change.stored is not None]
    done = await connection.execute(
        queries.MOVE_SOURCES,
        [c.key for c in moved],
        [slots.next for slots in before],
        [slots.multirange for slots in before],
        [c.slots.next for c in moved],
        [c.slots.multirange for c in moved],
        [c.dropped for c in moved],
    )
    if done != f"UPDATE {len(moved)}":
        raise Stale("a source was moved by another writer")


async def _store_holes(connection: asyncpg.Connection[Any], changed: list[SourceChange]) -> None:
    await connection.execute(
        queries.FORGET_HOLES,
        [UUID(bytes=c.source) for c in changed],
        [c.topic for c in changed],
        [c.run_key for c in changed],
    )
    holes = [(change, first, end) for change in changed for first, end in change.slots.holes]
    if holes:
        await connection.execute(
            queries.RECORD_HOLES,
            [c.run_key for c, _, _ in holes],
            [UUID(bytes=c.source) for c, _, _ in holes],
            [c.topic for c, _, _ in holes],
            [first for _, first, _ in holes],
            [end for _, _, end in holes],
        )


async def store_points(
    connection: asyncpg.Connection[Any], plan: Plan, cold: ColdPoints | None = None
) -> int:
    """Chunks and summaries, of metrics and of what rewinds cut off; returns the number of points.

    Args:
        cold: brings back what a rewind cuts off of files; None: there is none.

    Raises:
        Stale: points of a run that is rewound have just been moved to a file.
    """
    first: dict[int, int] = {}
    for run_key, accepted in plan.of_runs():
        event = accepted.event
        if isinstance(event, MetricsEvent):
            slot = event.first if event.rewind is None else min(event.first, event.rewind.seq)
            at = position(accepted.change.ordinal, slot)
            first[run_key] = min(at, first.get(run_key, at))
    rewinds = await store_rewinds(connection, plan)
    if rewinds and not await hold_points(connection, sorted({key for key, _ in rewinds}), cold):
        raise Stale("points of a run that is rewound were moved to a file")
    cuts = await find_cuts(connection, first) if first else {}
    late = {
        number: cut
        for number, (run_key, accepted) in enumerate(plan.of_runs())
        if run_key in cuts
        and isinstance(event := accepted.event, MetricsEvent)
        and event.points
        and (cut := cut_event_of(event, position(accepted.change.ordinal, event.first), cuts[run_key]))
    }
    of_cut: dict[SeriesKey, int] = {}
    await series_ids(connection, [key for cut in late.values() for key, _ in cut.series], of_cut)
    chunks: list[tuple[int, int, int, int, int, bytes]] = []
    batches: list[Batch] = []
    points = 0
    for number, (run_key, accepted) in enumerate(plan.of_runs()):
        event, change = accepted.event, accepted.change
        if isinstance(event, MetricsEvent) and event.points:
            ids = accepted.series_ids
            if number in late:
                event = late[number]
                ids = [of_cut[key] for key, _ in event.series]
            chunks.append((run_key, change.key, event.first, event.count, event.points, event.payload))
            batches.append(Batch(event, run_key, ids, position(change.ordinal, event.first)))
            points += event.points
    if chunks:
        await connection.copy_records_to_table("chunks", records=chunks, columns=queries.CHUNK_COLUMNS)
    if (rows := merge(batches)) is not None:
        await _store_summaries(connection, rows, _without_summaries(plan))
    if rewinds and (rows := merge(await cut_stored(connection, cuts, rewinds))) is not None:
        await _store_summaries(connection, rows, [])
    return points


def _without_summaries(plan: Plan) -> list[int]:
    """Runs whose first source of points is new: nobody has a summary of them."""
    return [
        change.run_key
        for change in plan.changes
        if change.topic == METRICS and change.stored is None and not change.ordinal and not change.known
    ]


async def _store_summaries(connection: asyncpg.Connection[Any], rows: Rows, new_runs: Sequence[int]) -> None:
    plain = np.flatnonzero(rows.plain)
    fields = rows.fields
    # Of a sweep's short runs all are new: they need no look at what is there. NaN is stored as null, which a copy has not.
    is_new = (
        np.isin(fields["run_key"], new_runs)
        & rows.plain
        & ~np.isnan(fields["min"])
        & ~np.isnan(fields["max"])
    )
    if len(new := np.flatnonzero(is_new)) >= STAGED_FROM:
        await connection.copy_to_table(
            "live_summaries", source=io.BytesIO(rows.copy_data(new)), columns=COLUMNS, format="binary"
        )
        plain = np.setdiff1d(plain, new, assume_unique=True)
    else:
        new = new[:0]
    if len(plain) < STAGED_FROM:
        plain = plain[:0]
    else:
        await connection.execute(queries.STAGE_SUMMARIES)
        await connection.copy_to_table(
            "staged_summaries", source=io.BytesIO(rows.copy_data(plain)), columns=COLUMNS, format="binary"
        )
        await connection.execute(queries.MERGE_STAGED)
        await connection.execute(queries.UNSTAGE_SUMMARIES)
    others = np.delete(np.arange(len(rows)), np.concatenate((plain, new)))
    if len(others):
        columns = rows.arrays(others)
        if rows.texts:
            columns[-1] = [None if text is None else storable(text) for text in columns[-1]]
        await connection.execute(queries.UPSERT_SUMMARIES, *columns)
