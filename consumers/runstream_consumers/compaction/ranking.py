"""The order of runs by a metric, for runs whose summaries rest: copied to `settled_metrics`, where the values are indexed.

A list sorted by a metric takes runs in the order of that index, and the others (few: they live, or were not ranked yet) from
their summaries. So a run's copy has to be right while the run is marked as ranked. Ranking locks the run before it reads its
summaries; the writer, which has changed summaries of a run that is ranked or may be, takes the mark away under the same lock
in its transaction; so does compaction where it corrects them. In the hot tier or in a file, a run keeps its rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

RANK_EVERY = 5.0
"""Seconds between two looks for runs to rank, at least."""

QUIET = 600.0
"""Seconds without a sign of life until a run that did not end is ranked, too."""

_BATCH = 200  # runs of one transaction
_LOCK = 0x72616E6B  # advisory lock: one ranks at a time

LOCK = "select pg_advisory_xact_lock($1)"
UNRANKED = """
select key from runs r
where not ranked and (settled_at is not null or seen_up <= uptime() - $1::float8
    and not exists (select from chunks c where c.run_key = r.key))
order by key limit $2 for no key update skip locked"""
FORGET = "delete from settled_metrics where run_key = any($1::bigint[])"
COPY = """
insert into settled_metrics (run_key, series_id, last, min, max, mean)
select m.run_key, m.series_id, nullif(m.last, 'NaN'), nullif(m.min, 'NaN'), nullif(m.max, 'NaN'),
    nullif(m.sum / nullif(m.finite, 0), 'NaN')
from summaries m join series s on s.id = m.series_id and s.cls = 0
where m.run_key = any($1::bigint[]) and coalesce(m.last, m.min) is not null"""
MARK = "update runs set ranked = true where key = any($1::bigint[])"
# Also where there is no mark: it may be on its way.
UNMARK = """
update runs set ranked = false
where key in (select key from runs where key = any($1::bigint[]) order by key for no key update)"""


async def rank_runs(pool: asyncpg.Pool[Any]) -> int:
    """Rank every run whose summaries rest; returns how many were."""
    total = 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK, _LOCK)
            keys = [row["key"] for row in await connection.fetch(UNRANKED, QUIET, _BATCH)]
            if keys:
                await connection.execute(FORGET, keys)
                await connection.execute(COPY, keys)
                await connection.execute(MARK, keys)
        total += len(keys)
        if len(keys) < _BATCH:
            return total


async def unrank(connection: asyncpg.Connection[Any], run_keys: Sequence[int]) -> None:
    """The copies of these runs no longer count. Call it in the transaction that changes summaries of theirs, at its end: it
    locks runs, which the writer does after their summaries."""
    if run_keys:
        await connection.execute(UNMARK, list(run_keys))
