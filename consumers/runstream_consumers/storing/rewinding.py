"""Rewinds: what they cut off leaves the metrics of its run for a former branch, in the transaction that stores them.

A rewind holds for everything that lies before it in the run's order, whenever it arrives. What is stored already is cut when
the rewind is (`cut_stored`), what comes late when it is stored (`cut_event_of`). Points that lie in files are brought back
to the hot tier before (`ColdPoints`), so that one transaction changes all that readers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import asyncpg
import numpy as np

from runstream_schemas.errors import CorruptEvent, RunstreamError
from runstream_schemas.order import position
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.events import (
    SUMMARY_FLOATS,
    SUMMARY_INTS,
    MetricsEvent,
    Summaries,
    metrics_event,
    summarize,
)
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import Points, build_points
from runstream_schemas.wire.rewinding import Cut, CutsOfRun, cut_points

from .plan import Plan, find_series
from .summaries import Batch

FIND_CUTS: Final = """
select r.run_key, r.position, r.step, r.number
from unnest($1::bigint[], $2::bigint[]) u (run_key, position)
join rewinds r on r.run_key = u.run_key and r.position >= u.position"""
ADD_REWINDS: Final = """
insert into rewinds (run_key, position, step, number, time_us)
select u.run_key, u.position, u.step,
    coalesce((select max(r.number) from rewinds r where r.run_key = u.run_key), 0)
        + row_number() over (partition by u.run_key order by u.position),
    u.time_us
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) u (run_key, position, step, time_us)
on conflict (run_key, position) do nothing
"""
IN_FILES: Final = """
select exists (
    select from file_runs fr join files f on f.id = fr.file_id
    where fr.run_key = any($1::bigint[]) and f.state = 'live' and f.kind = 'metrics')"""
# Whoever writes points of a run holds the row of their source, or adds one, for which it holds the run's.
LOCK_SOURCES: Final = """
select key from sources where run_key = any($1::bigint[]) and topic = 'metrics' order by key for update"""
LOCK_RUNS: Final = "select key from runs where key = any($1::bigint[]) order by key for update"
CHUNKS: Final = """
select c.source_key, c.first, s.ordinal, c.payload from chunks c join sources s on s.key = c.source_key
where c.run_key = $1 order by s.ordinal, c.first"""
SET_PAYLOAD: Final = "update chunks set payload = $4 where run_key = $1 and source_key = $2 and first = $3"
FORGET_SUMMARIES: Final = """
delete from live_summaries m using series s
where s.id = m.series_id and s.cls = any($2::smallint[]) and m.run_key = any($1::bigint[])"""
FORGET_LATEST: Final = "delete from latest_points where run_key = any($1::bigint[]) returning run_key"
ADD_LATEST: Final = (
    "insert into latest_points (run_key, series_id, step, time_us, value) values ($1, $2, $3, $4, $5)"
)
_CLASSES: Final = [int(SeriesClass.METRIC), int(SeriesClass.FORMER)]
_FETCH: Final = 64  # chunks at a time

Cuts = Mapping[int, CutsOfRun]
"""The rewinds of runs, by their keys; of those that have any."""
_Latest = dict[tuple[int, int], tuple[int, int, float]]
"""By run and series the latest point as MLflow means it: the highest by (step, time, value)."""


class ColdPoints(Protocol):
    """Brings points of metrics back from files."""

    async def recall(self, run_ids: Sequence[str]) -> None:
        """Bring all there are back to the hot tier."""

    async def hold(self, connection: asyncpg.Connection[Any], run_keys: Sequence[int]) -> None:
        """Keep others from moving points of runs to files until the transaction ends."""


def rewound(plan: Plan) -> list[str]:
    """The runs that events of a plan rewind."""
    events = (accepted.event for accepted in plan.accepted)
    return sorted({e.run_id for e in events if isinstance(e, MetricsEvent) and e.rewind is not None})


async def store_rewinds(connection: asyncpg.Connection[Any], plan: Plan) -> set[tuple[int, int]]:
    """Note the rewinds of a plan; returns their runs and positions."""
    rows = {
        (run_key, position(accepted.change.ordinal, event.rewind.seq)): event.rewind
        for run_key, accepted in plan.of_runs()
        if isinstance(event := accepted.event, MetricsEvent) and event.rewind is not None
    }
    if rows:
        await connection.execute(
            ADD_REWINDS,
            [run_key for run_key, _ in rows],
            [at for _, at in rows],
            [rewind.step for rewind in rows.values()],
            [rewind.time_us for rewind in rows.values()],
        )
    return set(rows)


async def hold_points(
    connection: asyncpg.Connection[Any], run_keys: Sequence[int], cold: ColdPoints | None
) -> bool:
    """Keep the points of runs in the hot tier until the transaction ends; False: some are not there."""
    if cold is not None:
        await cold.hold(connection, run_keys)
    in_files = bool(await connection.fetchval(IN_FILES, run_keys))
    if in_files and cold is None:
        raise RunstreamError(
            "a run that has points in files is rewound, and this writer reads none; set RUNSTREAM_STORE for consumers too"
        )
    return not in_files


async def find_cuts(connection: asyncpg.Connection[Any], first: Mapping[int, int]) -> Cuts:
    """The rewinds of runs from a position on; of those that have any there.

    Args:
        first: the positions, by the runs' keys.
    """
    cuts: dict[int, list[Cut]] = {}
    for row in await connection.fetch(FIND_CUTS, list(first), list(first.values())):
        cuts.setdefault(row["run_key"], []).append(Cut(row["position"], row["step"], row["number"]))
    return {run_key: CutsOfRun(of_run) for run_key, of_run in cuts.items()}


def cut_event_of(event: MetricsEvent, at: int, cuts: CutsOfRun) -> MetricsEvent | None:
    """An event that arrives late, with what is cut off in series of former branches; None: nothing of it is.

    Args:
        at: its position in the run.
        cuts: the rewinds of the run from there on.
    """
    if not cuts.are_behind(at):
        return None
    try:
        points = cut_points(decode_points(event.payload), at, cuts)
    except CorruptEvent:  # compaction and readers will name it
        return None
    if points is None:
        return None
    return metrics_event(event.run_id, event.source, event.first, event.count, points, event.dropped)


async def series_ids(
    connection: asyncpg.Connection[Any], keys: Sequence[SeriesKey], known: dict[SeriesKey, int]
) -> list[int]:
    """Ids of series, which get one if need be.

    Args:
        known: those that are known; the others are added.
    """
    known.update(await find_series(connection, {key for key in keys if key not in known}))
    return [known[key] for key in keys]


async def cut_stored(
    connection: asyncpg.Connection[Any], cuts: Cuts, new: Collection[tuple[int, int]]
) -> list[Batch]:
    """Cut what is stored of runs, all of it in the hot tier. What their summaries said of metrics is forgotten, and has to
    be merged anew of what this returns.

    Args:
        new: runs and positions of the rewinds that have just come. What is stored was cut by the others, and what came back
            from files need not tell any more on which side of these it lies.
    """
    new_cuts = {
        key: CutsOfRun(cut for cut in cuts[key].cuts if (key, cut.position) in new)
        for key in {key for key, _ in new}
    }
    run_keys = sorted(new_cuts)
    await connection.fetch(LOCK_SOURCES, run_keys)
    await connection.fetch(LOCK_RUNS, run_keys)
    batches: list[Batch] = []
    known: dict[SeriesKey, int] = {}
    # Only of runs that clients of MLflow write to is it kept.
    of_mlflow = {row["run_key"] for row in await connection.fetch(FORGET_LATEST, run_keys)}
    latest: _Latest = {}
    for run_key in run_keys:
        cursor = await connection.cursor(CHUNKS, run_key)
        while rows := await cursor.fetch(_FETCH):
            chunks = await asyncio.to_thread(_cut_chunks, rows, new_cuts[run_key])
            for at, points, payload in chunks:
                kept = [i for i, (key, _) in enumerate(points.series) if key.cls in _CLASSES]
                ids = await series_ids(connection, [points.series[i][0] for i in kept], known)
                if kept:
                    batches.append(Batch(_summarized(points, kept, payload), run_key, ids, at))
                if run_key in of_mlflow:
                    _note_latest(latest, run_key, points, kept, ids)
            changed = [
                (run_key, row["source_key"], row["first"], payload)
                for row, (_, _, payload) in zip(rows, chunks, strict=True)
                if payload is not row["payload"]
            ]
            if changed:
                await connection.executemany(SET_PAYLOAD, changed)
    await connection.execute(FORGET_SUMMARIES, run_keys, _CLASSES)
    if latest:
        await connection.executemany(ADD_LATEST, [(*key, *point) for key, point in latest.items()])
    return batches


def _cut_chunks(rows: Sequence[Any], cuts: CutsOfRun) -> list[tuple[int, Points, bytes]]:
    """Position, points and payload of each chunk once it is cut; of one that cannot be read, which compaction and readers
    name, no points."""
    result = []
    for row in rows:
        at, payload = position(row["ordinal"], row["first"]), row["payload"]
        try:
            points = decode_points(payload)
        except CorruptEvent:
            points = build_points([])
        if (cut := cut_points(points, at, cuts)) is not None:
            points, payload = cut, encode_points(cut)
        result.append((at, points, payload))
    return result


def _summarized(points: Points, kept: Sequence[int], payload: bytes) -> MetricsEvent:
    """Some of the series of points as an event that has their summaries."""
    whole, at = summarize(points), np.array(kept, dtype=np.int64)
    columns = {name: getattr(whole, name)[at] for name in (*SUMMARY_INTS, *SUMMARY_FLOATS)}
    texts = {place: whole.texts[i] for place, i in enumerate(kept) if i in whole.texts}
    series = [points.series[i] for i in kept]
    return MetricsEvent("", b"", 0, 0, 0, series, Summaries(**columns, texts=texts), payload)


def _note_latest(
    latest: _Latest, run_key: int, points: Points, kept: Sequence[int], ids: Sequence[int]
) -> None:
    starts = points.starts
    for i, series_id in zip(kept, ids, strict=True):
        key, kind = points.series[i]
        count = int(points.counts[i])
        if key.cls != SeriesClass.METRIC or kind >= Kind.TEXT or not count:
            continue
        part = slice(int(starts[i]), int(starts[i]) + count)
        values, steps, times = points.floats(i), points.steps[part], points.times[part]
        last = np.lexsort((np.isnan(values), np.nan_to_num(values), times, steps))[-1]
        point = (int(steps[last]), int(times[last]), float(values[last]))
        before = latest.get((run_key, series_id))
        if before is None or point[:2] > before[:2] or (point[:2] == before[:2] and point[2] > before[2]):
            latest[run_key, series_id] = point
