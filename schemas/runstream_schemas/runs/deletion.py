"""Deleting runs: what has to happen in one transaction, and where what is left of them lies.

The row of a run goes, and with it everything that refers to it; its id stays in `deleted_runs`, so that nothing late brings
it back. Points and files are purged by the compactor afterwards (`runstream_consumers.compaction.purge`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import asyncpg

_MAX_FOLDER_BYTES = 240  # a file system allows 255; the store adds to names while it writes

# Sources first, as the writer does: whoever waits here for a writer holds nothing that writer wants.
LOCK_SOURCES = "select from sources where run_key = any($1::bigint[]) order by key for update"
LOCK_RUNS = "select key from runs where key = any($1::bigint[]) order by key for update"
REMEMBER = """
insert into deleted_runs (run_id, key, workspace)
select r.run_id, r.key, e.workspace from runs r left join experiments e on e.id = r.experiment_id
where r.key = any($1::bigint[])
on conflict do nothing"""
DELETE_RUNS = "delete from runs where key = any($1::bigint[]) returning run_id"


async def delete_rows(connection: asyncpg.Connection[Any], run_keys: Sequence[int]) -> list[str]:
    """Delete runs, in a transaction of the caller's; returns their ids. Whoever deleted one before has it."""
    keys = sorted(run_keys)
    await connection.execute(LOCK_SOURCES, keys)
    await connection.execute(LOCK_RUNS, keys)
    await connection.execute(REMEMBER, keys)
    return [row["run_id"] for row in await connection.fetch(DELETE_RUNS, keys)]


def run_folder(run_id: str) -> str:
    """Where the files of a run lie in the store."""
    folder = quote(run_id, safe=" ")
    if len(folder) > _MAX_FOLDER_BYTES or set(folder) == {
        "."
    }:  # the digest of what cannot be a folder's name
        folder = hashlib.sha256(run_id.encode()).hexdigest()
    return f"artifacts/{folder}"
