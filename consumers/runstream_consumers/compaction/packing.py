"""Packing runs at rest: their summaries become one row a run, and the values that lists are sorted and filtered by become
sorted pieces.

A row a series is right while a run is live, as its summary changes with every batch. Of a hundred thousand ended runs, such
rows and indexes over their values are most of what the database holds; packed they take a quarter.

A run is packed while `runs.packing` has a number; each packing has its own, and a value counts while it was noted with its
run's present number. So nobody has to find a run's values again to take them away. What changes a summary unpacks the run
first (`unpack`). The two exclude one another by locks taken in the writer's order: sources, runs, summaries. A writer that
stores points of a run holds one of its sources, or has added one, which holds the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from ..storing.packed_rows import PART, PIECE
from ..storing.queries import UNPACK

PACK_EVERY = 5.0
"""Seconds between two looks for runs to pack, at least."""

PACK_MOST = 10_000
"""Runs packed at a time: of a database of before, all are to be packed."""

QUIET = 600.0
"""Seconds without a sign of life until a run that did not end is packed, too."""

STAGED = 2048
"""Runs from which a series' values are put into pieces."""

_BATCH = (
    2500  # runs of one transaction: of a sweep, enough that their values make pieces without being staged
)
_BATCH_SERIES = 50_000  # rows of live_summaries of one transaction, as far as that is more than one run
_LOCK = 0x72616E6B  # advisory lock: one packs at a time

LOCK = "select pg_advisory_xact_lock($1)"
UNPACKED = """
select key from runs r
where packing is null and (settled_at is not null or seen_up <= uptime() - $1::float8
    and not exists (select from chunks c where c.run_key = r.key))
order by key limit $2 for update skip locked"""
LOCK_SOURCES = """
select key from sources where run_key = any($1::bigint[]) and topic = 'metrics' order by key for update skip locked"""
WRITTEN = """
select distinct run_key from sources where run_key = any($1::bigint[]) and topic = 'metrics' and key <> all($2::bigint[])"""
COUNT_SERIES = """
select run_key, count(*) as n from live_summaries where run_key = any($1::bigint[]) group by run_key"""


def _all(column: str) -> str:
    return f"array_agg({column} order by series_id)"


def _same(column: str) -> str:
    """One element, where all series have the same."""
    return (
        f"case when min({column}) = max({column}) and count({column}) = count(*) then array[min({column})] "
        f"else {_all(column)} end"
    )


PACK = f"""
with gone as (
    delete from live_summaries where run_key = any($1::bigint[]) returning *
), placed as (
    select *, (row_number() over (partition by run_key order by series_id) - 1) / $2::bigint as part from gone
)
insert into packed_summaries (run_key, part, series_ids, kinds, counts, finites, firsts, lasts, mins, maxs, sums, last_steps,
                              last_times, last_texts, first_times, first_positions, last_positions)
select run_key, part, {_all("series_id")}, {_same("kind")}, {_same("count")}, {_same("finite")},
    {_all("first")}, {_all("last")}, {_all("min")}, {_all("max")}, {_all("sum")},
    {_same("last_step")}, {_same("last_time")}, case when count(last_text) > 0 then {_all("last_text")} end,
    {_same("first_time")}, {_same("first_position")}, {_same("last_position")}
from placed group by run_key, part"""
MARK = """
with new as materialized (select nextval('packings') as packing)
update runs set packing = new.packing from new where key = any($1::bigint[]) returning new.packing"""
KEEP_TEXTS = """
insert into run_texts (run_key, text) select r.key, search_text(r) from runs r where r.key = any($1::bigint[])
on conflict (run_key) do update set text = excluded.text"""
FORGET = "delete from staged_ranks where run_key = any($1::bigint[])"
STAGE = """
with staged as (
    insert into staged_ranks (run_key, packing, series_id, last, min, max, mean)
    select m.run_key, $2::bigint, m.series_id, nullif(m.last, 'NaN'), nullif(m.min, 'NaN'), nullif(m.max, 'NaN'),
        nullif(m.sum / nullif(m.finite, 0), 'NaN')
    from live_summaries m join series s on s.id = m.series_id and s.cls = 0
    where m.run_key = any($1::bigint[]) and coalesce(m.last, m.min) is not null and m.series_id <> all($3::bigint[])
    returning series_id
)
select distinct series_id from staged"""
MANY = """
select m.series_id from live_summaries m join series s on s.id = m.series_id and s.cls = 0
where m.run_key = any($1::bigint[]) and coalesce(m.last, m.min) is not null
group by m.series_id having count(*) >= $2"""
FULL = """
select id from unnest($1::bigint[]) u(id)
where exists (select from staged_ranks where series_id = u.id offset $2 - 1)"""
_IN_PIECES = """
), placed as (
    select v.series_id, s.stat, s.value, v.run_key, v.packing,
        (row_number() over (partition by v.series_id, s.stat order by s.value, v.run_key) - 1) / $2::bigint as piece
    from valid v cross join lateral
        (values ('last', v.last), ('min', v.min), ('max', v.max), ('mean', v.mean)) s (stat, value)
    where s.value is not null
)
insert into ranks (series_id, stat, low, high, run_keys, packings, values)
select series_id, stat, min(value), max(value), array_agg(run_key order by value, run_key),
    array_agg(packing order by value, run_key), array_agg(value order by value, run_key)
from placed group by series_id, stat, piece"""
CUT = f"""
with gone as (
    delete from staged_ranks where series_id = any($1::bigint[]) returning *
), valid as (
    select g.* from gone g join runs r on r.key = g.run_key and r.packing = g.packing
{_IN_PIECES}"""
CUT_AT_ONCE = f"""
with valid as (
    select run_key, $4::bigint as packing, series_id, nullif(last, 'NaN') as last, nullif(min, 'NaN') as min,
        nullif(max, 'NaN') as max, nullif(sum / nullif(finite, 0), 'NaN') as mean
    from live_summaries where run_key = any($3::bigint[]) and series_id = any($1::bigint[])
{_IN_PIECES}"""

LOCK_RUNS = "select from runs where key = any($1::bigint[]) order by key for no key update"


async def pack_runs(
    pool: asyncpg.Pool[Any], most: int | None = None, *, stop: asyncio.Event | None = None
) -> int:
    """Pack the runs that are at rest; returns how many were.

    Args:
        most: end when so many or a few more were: others have work to do, too. None: all.
        stop: set: no further ones are begun.
    """
    total = 0
    while (most is None or total < most) and not (stop is not None and stop.is_set()):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK, _LOCK)
            unpacked = [row["key"] for row in await connection.fetch(UNPACKED, QUIET, _BATCH)]
            keys = await _free(connection, unpacked)
            if not keys:
                break
            await _pack(connection, keys)
        total += len(keys)
    return total


async def _free(connection: asyncpg.Connection[Any], keys: Sequence[int]) -> list[int]:
    """Those of these runs that no writer is storing points of, and no more than are packed at once."""
    locked = [row["key"] for row in await connection.fetch(LOCK_SOURCES, keys)]
    written = {row["run_key"] for row in await connection.fetch(WRITTEN, keys, locked)}
    series = {row["run_key"]: row["n"] for row in await connection.fetch(COUNT_SERIES, keys)}
    free: list[int] = []
    rows = 0
    for key in keys:
        rows += series.get(key, 0)
        if free and rows > _BATCH_SERIES:
            break
        if key not in written:
            free.append(key)
    return free


async def _pack(connection: asyncpg.Connection[Any], keys: Sequence[int]) -> None:
    packing = await connection.fetchval(MARK, keys)
    await connection.execute(KEEP_TEXTS, keys)
    await connection.execute(FORGET, keys)
    # While the summaries are rows. Of a series that many of these runs have, staging would be a detour.
    many = [row["series_id"] for row in await connection.fetch(MANY, keys, STAGED)]
    if many:
        await connection.execute(CUT_AT_ONCE, many, PIECE, keys, packing)
    series = [row["series_id"] for row in await connection.fetch(STAGE, keys, packing, many)]
    full = [row["id"] for row in await connection.fetch(FULL, series, STAGED)]
    if full:
        await connection.execute(CUT, full, PIECE)
    await connection.execute(PACK, keys, PART)


async def lock_and_unpack(connection: asyncpg.Connection[Any], run_keys: Sequence[int]) -> None:
    """Make the summaries of these runs rows again, for who is about to change them and holds none of their sources. Call it
    in a transaction, before it changes a summary."""
    await connection.execute(LOCK_RUNS, list(run_keys))
    await connection.execute(UNPACK, list(run_keys))
