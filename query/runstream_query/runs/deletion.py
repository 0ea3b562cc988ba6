"""Deleting runs with their descendants: gone for every reader at once, purged by the compactor soon after."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, TypedDict

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.runs.status import TERMINAL

from .edits import notify
from .runs import Connection

_BATCH = 200  # runs of one transaction: its locks make writers wait
_TRIES = 5

FAMILY: Final = """
with recursive below as (
    select key, run_id, status, experiment_id from runs where run_id = any($1::text[])
    union
    select child.key, child.run_id, child.status, child.experiment_id
    from runs child join below on child.parent_run_id = below.run_id
    where same_workspace(child.experiment_id, below.experiment_id)
)
select * from below order by key
"""

CONTENTS: Final = """
select coalesce(sum((select coalesce(sum(s.count), 0) from summaries s where s.run_key = r.key)), 0)::bigint as points,
    coalesce(sum((select count(*) from artifacts a where a.run_key = r.key)), 0)::bigint as files,
    coalesce(sum((select coalesce(sum(a.size), 0) from artifacts a where a.run_key = r.key)), 0)::bigint as bytes
from runs r where r.key = any($1::bigint[])
"""


class StillActive(QueryError):
    """Some of the runs have not ended."""


class WouldDelete(TypedDict):
    """How much would be deleted: the runs, their descendants, how many are active, and what they hold."""

    runs: int
    descendants: int
    active: int
    points: int
    files: int
    bytes: int


async def would_delete(connection: Connection, run_ids: Iterable[str]) -> WouldDelete:
    """How much `delete_runs` would delete."""
    asked = set(run_ids)
    family = await connection.fetch(FAMILY, list(asked))
    held = await connection.fetchrow(CONTENTS, [row["key"] for row in family])
    assert held is not None
    own = sum(row["run_id"] in asked for row in family)
    active = sum(row["status"] not in TERMINAL for row in family)
    return {
        "runs": own,
        "descendants": len(family) - own,
        "active": active,
        "points": held["points"],
        "files": held["files"],
        "bytes": held["bytes"],
    }


async def delete_runs(pool: asyncpg.Pool[Any], run_ids: Iterable[str], *, force: bool = False) -> list[str]:
    """Delete runs with all their descendants, some hundreds at a time; returns the ids of all that were deleted.

    Args:
        force: also runs that have not ended; what their processes still log is passed over.

    Raises:
        StillActive: some have not ended, and `force` is not set; nothing is deleted.
    """
    family = await pool.fetch(FAMILY, list(run_ids))
    active = [row["run_id"] for row in family if row["status"] not in TERMINAL]
    if active and not force:
        raise StillActive(
            f"{len(active)} of {len(family)} runs have not ended ({', '.join(active[:3])}); cancel them first, or delete "
            "them all the same with force"
        )
    deleted: list[str] = []
    for at in range(0, len(family), _BATCH):
        deleted += await _delete_some(pool, [row["key"] for row in family[at : at + _BATCH]])
    return deleted


async def _delete_some(pool: asyncpg.Pool[Any], keys: list[int]) -> list[str]:
    for attempt in range(_TRIES):
        try:
            async with pool.acquire() as connection, connection.transaction():
                deleted = await delete_rows(connection, keys)
                await notify(connection, "status", deleted)
            return deleted
        except asyncpg.DeadlockDetectedError:  # a compactor held what we wanted, and wanted what we held
            if attempt + 1 == _TRIES:
                raise
            await asyncio.sleep(0.05 * (attempt + 1))
    raise AssertionError("unreachable")
