"""Summaries checked against the points they summarise, on the one occasion when all points of a run pass by.

While a run is hot its summaries are what its writers said, merged. When all of its points go into one file at once, they
are computed anew; what differs is corrected and logged.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from runstream_schemas.order import BEFORE_ALL
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.events import MAX_SUMMARY_TEXT

from ..storing.run_states import storable
from .sorted_points import SortedPoints

log = logging.getLogger("runstream.compaction")

_TOLERANCE = 1e-9
"""Relative difference of sums that the order of addition explains."""

# Runs with no file yet and exactly the chunks that were read: nothing of them is anywhere else.
SUMMARIES_OF_WHOLE_RUNS = """
select s.run_key, s.series_id, n.cls, n.name, n."column", s.count, s.finite, s.first, s.last, s.min, s.max, s.sum,
    s.first_time, s.last_step, s.last_time, s.first_position, s.last_position, s.kind, s.last_text
from unnest($1::bigint[], $2::bigint[]) as whole(run_key, chunks)
cross join lateral (select * from summaries m where m.run_key = whole.run_key offset 0) s
join series n on n.id = s.series_id
where not exists (
        select from file_runs fr join files f on f.id = fr.file_id where fr.run_key = whole.run_key and f.state = 'live')
    and (select count(*) from chunks c where c.run_key = whole.run_key) = whole.chunks"""

# Nothing happens when a writer changed the row since it was compared: then it covers points we have not seen.
CORRECT_SUMMARIES = """
update live_summaries s set count = new.count, finite = new.finite, first = new.first, last = new.last, min = new.min,
    max = new.max, sum = new.sum, first_time = new.first_time, last_step = new.last_step, last_time = new.last_time,
    first_position = new.first_position, last_position = new.last_position, kind = new.kind, last_text = new.last_text
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::float8[], $8::float8[],
        $9::float8[], $10::float8[], $11::float8[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
        $16::bigint[], $17::smallint[], $18::text[])
    as new(run_key, series_id, old_count, old_last_position, count, finite, first, last, min, max, sum, first_time,
        last_step, last_time, first_position, last_position, kind, last_text)
where s.run_key = new.run_key and s.series_id = new.series_id and s.count = new.old_count
    and s.last_position = new.old_last_position
returning s.run_key, s.series_id"""


@dataclass(slots=True)
class Found:
    """Summary of a series as its points say; see the table `summaries`."""

    key: SeriesKey
    count: int
    finite: int
    first: float | None
    last: float | None
    min: float | None
    max: float | None
    sum: float
    first_time: int
    last_step: int
    last_time: int
    first_position: int
    last_position: int
    kind: int
    last_text: str | None


@dataclass(slots=True)
class Correction:
    """What a stored summary should say.

    Attributes:
        wrong: whether the summary said something else; False: it did not know positions yet, and learns them.
    """

    run_key: int
    series_id: int
    old_count: int
    old_last_position: int
    found: Found
    wrong: bool


def find_summaries(points: SortedPoints) -> list[Found]:
    """Summary of each series of a run."""
    if not len(points):
        return []
    ends = points.ends
    starts = ends - points.counts
    kinds = points.kinds
    if isinstance(kinds, Kind):
        kinds = (
            np.full(len(points), kinds, dtype=np.uint8)
            if kinds != Kind.FLOAT
            else np.zeros(1, dtype=np.uint8)
        )
        values = (
            points.bits.view(np.int64).astype(np.float64)
            if kinds[0] != Kind.FLOAT
            else points.bits.view(np.float64)
        )
    else:
        values = np.where(
            kinds == Kind.FLOAT, points.bits.view(np.float64), points.bits.view(np.int64).astype(np.float64)
        )
    numeric = None
    if kinds.max(initial=0) >= Kind.TEXT:
        numeric = kinds < Kind.TEXT
        values = np.where(numeric, values, np.nan)
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.add.reduceat(values, starts)
    finite = points.counts
    if not np.isfinite(total).all():
        ok = np.isfinite(values)
        with np.errstate(over="ignore"):
            total = np.add.reduceat(np.where(ok, values, 0.0), starts)
        finite = np.add.reduceat(ok.astype(np.int64), starts)

    def number(i: int) -> float | None:
        return None if numeric is not None and not numeric[i] else float(values[i])

    def text(i: int) -> str | None:
        return points.texts[int(points.bits[i])][:MAX_SUMMARY_TEXT] if kind_at(i) == Kind.TEXT else None

    def kind_at(i: int) -> int:
        return int(kinds[i if len(kinds) == len(points) else 0])

    first_times, last_times = points.times[starts].tolist(), points.times[ends - 1].tolist()
    first_positions, last_positions = points.first_positions.tolist(), points.last_positions.tolist()
    return [
        Found(
            key,
            int(points.counts[i]),
            int(finite[i]),
            number(start),
            number(end - 1),
            None if math.isnan(low[i]) else float(low[i]),
            None if math.isnan(high[i]) else float(high[i]),
            float(total[i]),
            first_times[i],
            int(points.steps[end - 1]),
            last_times[i],
            first_positions[i],
            last_positions[i],
            kind_at(end - 1),
            text(end - 1),
        )
        for i, (key, start, end) in enumerate(zip(points.series, starts.tolist(), ends.tolist(), strict=True))
    ]


def compare(
    computed: Mapping[int, Sequence[Found]], stored: Sequence[asyncpg.Record], run_ids: Mapping[int, str]
) -> list[Correction]:
    """Stored summaries that differ from the points.

    Args:
        computed: summaries of each run's points.
        stored: rows of `SUMMARIES_OF_WHOLE_RUNS`.
        run_ids: ids of the runs, for the log.
    """
    known = {(run_key, item.key): item for run_key, items in computed.items() for item in items}
    corrections = []
    told: dict[int, list[str]] = {}
    for row in stored:
        run_key = row["run_key"]
        item = known.get((run_key, SeriesKey(row["cls"], row["name"], row["column"])))
        if item is None:
            told.setdefault(run_key, []).append(f"{row['name']!r} has no points")
            continue
        if item.key.cls == SeriesClass.TABLE:  # rows of tables are renumbered in files
            item.last_step = row["last_step"]
        if item.last_text is not None:
            item.last_text = storable(item.last_text)
        wrong = [name for name in _FIELDS if not _same(getattr(item, name), row[name])]
        # Stored before positions were kept: noted now, and nothing was wrong.
        worth_telling = [name for name in wrong if name not in _POSITIONS or row[name] != BEFORE_ALL]
        if worth_telling:
            said = (f"{name} is {row[name]}, the points say {getattr(item, name)}" for name in worth_telling)
            told.setdefault(run_key, []).append(f"{row['name']!r}: {', '.join(said)}")
        if wrong:
            corrections.append(
                Correction(
                    run_key, row["series_id"], row["count"], row["last_position"], item, bool(worth_telling)
                )
            )
    for run_key, differences in told.items():
        log.warning(
            "summaries: run %s: %d of its series said something else than their points; corrected. The first: series %s",
            run_ids[run_key],
            len(differences),
            differences[0],
        )
    return corrections


_POSITIONS = ("first_position", "last_position")
_FIELDS = (
    "count", "finite", "first", "last", "min", "max", "sum", "first_time", "last_step", "last_time", *_POSITIONS,
    "kind", "last_text",
)  # fmt: skip


def _same(computed: float | str | None, stored: float | str | None) -> bool:
    if computed == stored:
        return True
    if computed is None or stored is None or isinstance(computed, str) or isinstance(stored, str):
        return False
    if math.isnan(computed):
        return math.isnan(stored)
    return not isinstance(computed, int) and math.isclose(
        computed, stored, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
    )


async def correct(connection: asyncpg.Connection[Any], corrections: Sequence[Correction]) -> int:
    """Apply corrections; returns how many rows were wrong. Call it in the transaction that publishes the file."""
    if not corrections:
        return 0
    columns: list[list[Any]] = [
        [item.run_key for item in corrections],
        [item.series_id for item in corrections],
        [item.old_count for item in corrections],
        [item.old_last_position for item in corrections],
        *([getattr(item.found, name) for item in corrections] for name in _FIELDS),
    ]
    wrong = {(item.run_key, item.series_id) for item in corrections if item.wrong}
    rows = await connection.fetch(CORRECT_SUMMARIES, *columns)
    return sum((row["run_key"], row["series_id"]) in wrong for row in rows)
