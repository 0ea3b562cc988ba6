"""Runs of which one batch brings all, from their creation to their end: a sweep's short runs, of which many come a second.
They are stored as they will lie at rest, ended, settled and packed, each row of them once; brought there step by step, a
run's row would be written four times and its summaries twice.

Whatever is special about a run leaves it to the common way: what another writer knows of it, a second source, points that
were dropped or are missing, a rewind, texts, NaN, and series that few runs of the batch have (a piece of `ranks` needs
many).
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np

from runstream_schemas.order import position
from runstream_schemas.runs.status import ENDINGS, Step, fold
from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.wire.events import METRICS, TAGS, MetricsEvent, StatusEvent

from . import queries
from .copy_rows import copy_data
from .packed_rows import PACKED_COLUMNS, PIECE, RANK_COLUMNS, packed_rows, rank_rows
from .plan import Accepted, Plan, SourceChange
from .run_states import RunChanges, place_in_experiments, roots_of, storable, store_labels, to_json
from .summaries import Batch, Rows, merge
from .transaction import Stale

FEWEST: Final = PIECE
"""Whole runs of a batch, and runs of it that have a series: fewer are stored as others are."""

KNOWN: Final = """
select run_id from runs where run_id = any($1::text[])
union all
select run_id from deleted_runs where run_id = any($1::text[])"""
NEW_KEYS: Final = (
    "select nextval(pg_get_serial_sequence($1, 'key')) as key from generate_series(1, $2::bigint)"
)
PACKING: Final = "select nextval('packings')"
ADD_RUNS: Final = """
insert into runs (key, run_id, experiment_id, number, parent_run_id, root_run_id, name, display_name, description, type,
    target, status, created_at, start_time, end_time, last_seen, error, warnings, details, settled_at, packing)
overriding system value
select key, run_id, experiment_id, number, parent_run_id, root_run_id, name, display_name, description, type, target, status,
    timestamptz 'epoch' + created_us * interval '1 microsecond', timestamptz 'epoch' + started_us * interval '1 microsecond',
    timestamptz 'epoch' + ended_us * interval '1 microsecond', timestamptz 'epoch' + seen_us * interval '1 microsecond',
    error, warnings, details, case when ended_us is not null then now() end, $20
from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::jsonb[],
            $18::jsonb[], $19::jsonb[])
     u(key, run_id, experiment_id, number, parent_run_id, root_run_id, name, display_name, description, type, target, status,
       created_us, started_us, ended_us, seen_us, error, warnings, details)
on conflict (run_id) do nothing"""
ADD_TEXTS: Final = """
insert into run_texts (run_key, text)
select r.key, lower(concat_ws(' ', r.display_name, r.name, r.run_id, r.description, e.name)) || lower(u.tags)
from unnest($1::bigint[], $2::text[]) u(key, tags) join runs r on r.key = u.key
left join experiments e on e.id = r.experiment_id"""
SOURCE_COLUMNS: Final = ("key", "source", "topic", "run_key", "ordinal", "next")
STEP_COLUMNS: Final = ("run_key", "topic", "source", "seq", "time_us", "kind", "data")


@dataclass(slots=True)
class WholeRun:
    """A run and all that is to be stored of it.

    Attributes:
        created_us: when it was created, in microseconds since the epoch.
        key: key of its row, once it has one.
    """

    run_id: str
    changes: list[SourceChange] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    created_us: int = 0
    key: int = 0


@dataclass(slots=True)
class StoredWhole:
    """Whole runs that were stored.

    Attributes:
        points: how many points they have.
    """

    runs: list[WholeRun] = field(default_factory=list)
    points: int = 0

    @property
    def accepted(self) -> list[Accepted]:
        """Their events."""
        return [accepted for run in self.runs for accepted in run.accepted]


async def store_whole_runs(connection: asyncpg.Connection[Any], plan: Plan) -> StoredWhole:
    """Store the whole runs among those of `plan`, and take them out of it.

    Raises:
        Stale: another writer was quicker.
    """
    complete = {id(event) for fetched in plan.batch if fetched.complete for event in fetched.events}
    if len(complete) < FEWEST:
        return StoredWhole()
    runs = _whole(plan, complete)
    if len(runs) >= FEWEST:
        rows = await connection.fetch(KNOWN, [run.run_id for run in runs])
        known = {row["run_id"] for row in rows}
        runs = [run for run in runs if run.run_id not in known]
    runs = _with_common_series(runs)
    if len(runs) < FEWEST:
        return StoredWhole()
    taken = {run.run_id for run in runs}
    plan.changes = [change for change in plan.changes if change.run_id not in taken]
    plan.accepted = [accepted for accepted in plan.accepted if accepted.event.run_id not in taken]
    runs.sort(key=lambda run: run.created_us)
    packing = await connection.fetchval(PACKING)
    for run, row in zip(runs, await connection.fetch(NEW_KEYS, "runs", len(runs)), strict=True):
        run.key = row["key"]
        for change in run.changes:
            change.run_key = run.key
    changes = _changes_of(runs)
    await _add_runs(connection, runs, changes, packing)
    await store_labels(connection, changes)
    await connection.execute(ADD_TEXTS, [run.key for run in runs], _tags_of(runs, changes))
    return StoredWhole(runs, await _add_points(connection, runs, packing))


# --- which ones ---------------------------------------------------------------------------------------------------------


def _whole(plan: Plan, complete: set[int]) -> list[WholeRun]:
    runs: dict[str, WholeRun] = {}
    for change in plan.changes:
        runs.setdefault(change.run_id, WholeRun(change.run_id)).changes.append(change)
    for accepted in plan.accepted:
        runs[accepted.event.run_id].accepted.append(accepted)
    dead = {letter.span[0] for fetched in plan.batch for letter in fetched.dead if letter.span is not None}
    return [run for run in runs.values() if run.run_id not in dead and _is_whole(run, complete)]


def _is_whole(run: WholeRun, complete: set[int]) -> bool:
    source = run.changes[0].source
    next_: dict[str, int] = {}
    for change in run.changes:
        if change.stored is not None or change.dropped or change.slots.ahead or change.source != source:
            return False
        next_[change.topic] = change.slots.next
    created = ended = False
    for accepted in run.accepted:
        event = accepted.event
        if id(event) not in complete:
            return False
        if isinstance(event, StatusEvent):
            for op in event.ops:
                if ended:  # something follows
                    return False
                if op.kind == "create" and not created:
                    created, run.created_us = True, op.time_us
                elif op.kind in ENDINGS:
                    ended = True
                    for name, topic in (("ends", METRICS), ("tag_ends", TAGS)):
                        ends = op.data.get(name, {})
                        if ends not in ({}, {source.hex(): next_.get(topic, 0)}):
                            return False
        elif isinstance(event, MetricsEvent) and not _is_plain(event):
            return False
    return created and ended and storable(run.run_id) == run.run_id


def _is_plain(event: MetricsEvent) -> bool:
    if event.rewind is not None:
        return False
    low_and_high = event.summary.min + event.summary.max
    return all(kind < Kind.TEXT for _, kind in event.series) and not bool(np.isnan(low_and_high).any())


def _with_common_series(runs: Sequence[WholeRun]) -> list[WholeRun]:
    """Those all of whose series many have, if they are ranked."""
    ranked = [
        {
            number
            for accepted in run.accepted
            if isinstance(accepted.event, MetricsEvent)
            for number, (key, _) in zip(accepted.series_ids, accepted.event.series, strict=True)
            if key.cls == SeriesClass.METRIC
        }
        for run in runs
    ]
    times = Counter(number for numbers in ranked for number in numbers)
    rare = {number for number, n in times.items() if n < FEWEST}
    return [run for run, numbers in zip(runs, ranked, strict=True) if rare.isdisjoint(numbers)]


# --- their rows ---------------------------------------------------------------------------------------------------------


def _changes_of(runs: Sequence[WholeRun]) -> RunChanges:
    changes = RunChanges()
    for run in runs:
        for accepted in run.accepted:
            event = accepted.event
            if isinstance(event, StatusEvent):
                for step in event.ops:
                    changes.add_status(run.key, event.source, step)
            elif not isinstance(event, MetricsEvent):
                for op in event.ops:
                    changes.add_tag(run.key, event.source, op)
    return changes


async def _add_runs(
    connection: asyncpg.Connection[Any], runs: Sequence[WholeRun], changes: RunChanges, packing: int
) -> None:
    """The rows of the runs, of the steps that led there and of their sources."""
    steps: dict[int, list[Step]] = {run.key: [] for run in runs}
    # Of a run there is one source: its steps and all its rows have the same.
    ids = {run.key: UUID(bytes=run.changes[0].source) for run in runs}
    records = []
    for key, step in changes.steps:
        data = to_json(step.data)
        kind = storable(step.kind)
        records.append((key, step.topic, ids[key], step.seq, step.time_us, kind, data))
        steps[key].append(Step(step.time_us, step.source, step.seq, kind, json.loads(data), step.topic))
    states = {run.key: fold(steps[run.key], changes.seen.get(run.key)) for run in runs}
    experiments = await place_in_experiments(connection, states)
    roots = await roots_of(connection, states.values())
    columns: list[tuple[Any, ...]] = []
    for run in runs:
        state = states[run.key]
        root = state.root_run_id or roots.get(state.parent_run_id) or state.parent_run_id or run.run_id
        columns.append(
            (
                run.key, run.run_id, *experiments[run.key], state.parent_run_id, root, state.name, state.display_name,
                state.description, state.type, state.target, state.status, state.created_us, state.started_us,
                state.ended_us, changes.seen.get(run.key), None if state.error is None else to_json(state.error),
                to_json(state.warnings), to_json(state.details),
            )
        )  # fmt: skip
    added = await connection.execute(
        ADD_RUNS, *(list(column) for column in zip(*columns, strict=True)), packing
    )
    if added != f"INSERT 0 {len(runs)}":
        raise Stale("a run was stored by another writer")
    await connection.copy_records_to_table("transitions", records=records, columns=STEP_COLUMNS)
    sources = [change for run in runs for change in run.changes]
    keys = await connection.fetch(NEW_KEYS, "sources", len(sources))
    for change, row in zip(sources, keys, strict=True):
        change.key = row["key"]
    rows = [(c.key, ids[c.run_key], c.topic, c.run_key, 0, c.slots.next) for c in sources]
    await connection.copy_records_to_table("sources", records=rows, columns=SOURCE_COLUMNS)


def _tags_of(runs: Sequence[WholeRun], changes: RunChanges) -> list[str]:
    """The values of each run's tags, as `search_text` in migration 0017 has them."""
    texts = {run.key: "" for run in runs}
    for (key, _), tag in changes.tags.items():
        if not tag.removed and tag.value is not None:
            texts[key] += "\1" + tag.value
    return list(texts.values())


async def _add_points(connection: asyncpg.Connection[Any], runs: Sequence[WholeRun], packing: int) -> int:
    chunks: list[tuple[int, int, int, int, int, bytes]] = []
    batches: list[Batch] = []
    points = 0
    for run in runs:
        for accepted in run.accepted:
            event = accepted.event
            if isinstance(event, MetricsEvent) and event.points:
                chunks.append(
                    (run.key, accepted.change.key, event.first, event.count, event.points, event.payload)
                )
                batches.append(Batch(event, run.key, accepted.series_ids, position(0, event.first)))
                points += event.points
    if chunks:
        await connection.copy_records_to_table("chunks", records=chunks, columns=queries.CHUNK_COLUMNS)
    if (rows := merge(batches)) is not None:
        await _copy(connection, "packed_summaries", PACKED_COLUMNS, packed_rows(rows.fields))
        if (metrics := _metrics_of(rows, batches)) is not None:
            await _copy(connection, "ranks", RANK_COLUMNS, rank_rows(metrics, packing))
    return points


def _metrics_of(rows: Rows, batches: Sequence[Batch]) -> dict[str, Any] | None:
    """The rows of `rows` that are of metrics."""
    ids = {
        number
        for batch in batches
        for number, (key, _) in zip(batch.series_ids, batch.event.series, strict=True)
        if key.cls == SeriesClass.METRIC
    }
    chosen = np.isin(rows.fields["series_id"], list(ids))
    return {name: column[chosen] for name, column in rows.fields.items()} if chosen.any() else None


async def _copy(connection: asyncpg.Connection[Any], table: str, columns: Sequence[str], rows: Any) -> None:
    await connection.copy_to_table(
        table, source=io.BytesIO(copy_data(rows)), columns=columns, format="binary"
    )
