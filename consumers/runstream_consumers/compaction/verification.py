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

from runstream_schemas.series import Kind, SeriesKey

from .sorted_points import SortedPoints

log = logging.getLogger("runstream.compaction")

_TOLERANCE = 1e-9
"""Relative difference of sums that the order of addition explains."""

# Runs with no file yet and exactly the chunks that were read: nothing of them is anywhere else.
SUMMARIES_OF_WHOLE_RUNS = """
select s.run_key, s.series_id, n.cls, n.name, n."column", s.count, s.finite, s.first, s.last, s.min, s.max, s.sum,
    s.first_time, s.last_step, s.last_time
from unnest($1::bigint[], $2::bigint[]) as whole(run_key, chunks)
join summaries s on s.run_key = whole.run_key
join series n on n.id = s.series_id
where not exists (
        select from file_runs fr join files f on f.id = fr.file_id where fr.run_key = whole.run_key and f.state = 'live')
    and (select count(*) from chunks c where c.run_key = whole.run_key) = whole.chunks"""

# Nothing happens when a writer changed the row since it was compared: then it covers points we have not seen.
CORRECT_SUMMARIES = """
update summaries s set count = new.count, finite = new.finite, first = new.first, last = new.last, min = new.min,
    max = new.max, sum = new.sum, first_time = new.first_time, last_step = new.last_step, last_time = new.last_time
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::float8[], $8::float8[],
        $9::float8[], $10::float8[], $11::float8[], $12::bigint[], $13::bigint[], $14::bigint[])
    as new(run_key, series_id, old_count, old_last_time, count, finite, first, last, min, max, sum, first_time, last_step,
        last_time)
where s.run_key = new.run_key and s.series_id = new.series_id and s.count = new.old_count
    and s.last_time = new.old_last_time"""


@dataclass(slots=True)
class Found:
    """Summary of a series as its points say.

    Attributes:
        exact: whether first, last and the last step are sure: one source, one kind, and a clock that never went backwards.
    """

    key: SeriesKey
    exact: bool
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


@dataclass(slots=True)
class Correction:
    """A stored summary that is wrong, and what it should say."""

    run_key: int
    series_id: int
    old_count: int
    old_last_time: int
    found: Found


def find_summaries(points: SortedPoints, one_source: bool) -> list[Found]:
    """Summary of each series of a run.

    Args:
        one_source: all points come from one source.
    """
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
    back = np.diff(points.times, prepend=points.times[0]) < 0
    back[starts] = False
    sure = ~np.logical_or.reduceat(back, starts) & one_source
    if len(kinds) == len(points):
        sure &= np.minimum.reduceat(kinds, starts) == np.maximum.reduceat(kinds, starts)

    def number(i: int) -> float | None:
        return None if numeric is not None and not numeric[i] else float(values[i])

    first_times = np.minimum.reduceat(points.times, starts).tolist()
    last_times = np.maximum.reduceat(points.times, starts).tolist()
    return [
        Found(
            key,
            bool(sure[i]),
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
        )
        for i, (key, start, end) in enumerate(zip(points.series, starts.tolist(), ends.tolist(), strict=True))
    ]


def compare(
    found: Mapping[int, Sequence[Found]], stored: Sequence[asyncpg.Record], run_ids: Mapping[int, str]
) -> list[Correction]:
    """Stored summaries that differ from the points.

    Args:
        found: summaries of each run's points.
        stored: rows of `SUMMARIES_OF_WHOLE_RUNS`.
        run_ids: ids of the runs, for the log.
    """
    known = {(run_key, item.key): item for run_key, items in found.items() for item in items}
    corrections = []
    for row in stored:
        item = known.get((row["run_key"], SeriesKey(row["cls"], row["name"], row["column"])))
        if item is None:
            log.warning("summaries: run %s has no points of %r", run_ids[row["run_key"]], row["name"])
            continue
        if item.key.cls == 1:  # rows of tables are renumbered in files
            item.last_step = row["last_step"]
        if not item.exact:
            item.first, item.last, item.last_step = row["first"], row["last"], row["last_step"]
            item.first_time, item.last_time = row["first_time"], row["last_time"]
        wrong = [name for name in _FIELDS if not _same(getattr(item, name), row[name])]
        if wrong:
            log.warning(
                "summaries: run %s, series %r: %s",
                run_ids[row["run_key"]],
                row["name"],
                ", ".join(f"{name} is {row[name]}, the points say {getattr(item, name)}" for name in wrong),
            )
            corrections.append(
                Correction(row["run_key"], row["series_id"], row["count"], row["last_time"], item)
            )
    return corrections


_FIELDS = ("count", "finite", "first", "last", "min", "max", "sum", "first_time", "last_step", "last_time")


def _same(found: float | None, stored: float | None) -> bool:
    if found == stored:
        return True
    if found is None or stored is None:
        return False
    if math.isnan(found):
        return math.isnan(stored)
    return not isinstance(found, int) and math.isclose(found, stored, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


async def correct(connection: asyncpg.Connection[Any], corrections: Sequence[Correction]) -> int:
    """Apply corrections; returns how many rows changed. Call it in the transaction that publishes the file."""
    if not corrections:
        return 0
    columns: list[list[Any]] = [
        [item.run_key for item in corrections],
        [item.series_id for item in corrections],
        [item.old_count for item in corrections],
        [item.old_last_time for item in corrections],
        *([getattr(item.found, name) for item in corrections] for name in _FIELDS),
    ]
    return int((await connection.execute(CORRECT_SUMMARIES, *columns)).split()[-1])
