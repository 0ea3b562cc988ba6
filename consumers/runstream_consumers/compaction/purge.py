"""Purging deleted runs: their points leave the hot tier and the Parquet files, their uploads leave the store.

A deleted run has no row in `runs` any more, so no reader sees it; what is left lies where nothing refers to it. Every step
may be broken off and is repeated until nothing is left: only then the run counts as purged. A file that holds others too is
written anew without it and replaced as by a merge, so that every reader sees one of the two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from runstream_schemas.runs.deletion import delete_rows, run_folder
from runstream_schemas.store import Store

from . import manifest
from .manifest import ClaimLost
from .merge import MergeInput, Merger, find_runs
from .orphans import release
from .worker import Worker

log = logging.getLogger("runstream.purge")

LATE_CHILDREN = 7 * 86400.0
"""Seconds of the database's uptime a deleted run's children are looked for that were created after it was deleted."""

KEEP_SNAPSHOTS = 86400.0
"""Seconds of the database's uptime a snapshot, or a content of one, is kept without a run: it may be on its way to one."""

SNAPSHOT_PROPERTIES = ("ContentSnapshotId", "runstream.git.diff")
"""Properties of runs that name snapshots."""

_RUNS = 500  # of one transaction

CHILDREN = """
with recursive below as (
    select r.key, r.run_id, r.experiment_id
    from deleted_runs d join runs r on r.parent_run_id = d.run_id left join experiments e on e.id = r.experiment_id
    where d.deleted_up > uptime() - $1::float8 and (d.workspace is null or d.workspace = e.workspace)
    union
    select c.key, c.run_id, c.experiment_id from runs c join below b on c.parent_run_id = b.run_id
    where same_workspace(c.experiment_id, b.experiment_id)
)
select key from below"""

# Also what came in after all: a compaction under way when the run was deleted, a writer that knew its key. Not while a
# backup may have to copy their uploads.
DUE = """
select d.key, d.run_id from deleted_runs d
where not backup_held() and (d.purged_at is null
    or exists (select from chunks c where c.run_key = d.key)
    or exists (
        select from file_runs fr join files f on f.id = fr.file_id where fr.run_key = d.key and f.state = 'live'))
order by d.key limit $1"""
DELETE_CHUNKS = "delete from chunks where run_key = any($1::bigint[])"
DELETE_STAGED = "delete from staged_ranks where run_key = any($1::bigint[])"
# Each piece as it was, without them.
DELETE_RANKS = """
with gone as (
    delete from ranks where run_keys && $1::bigint[] returning *
), pieces as (
    select row_number() over () as piece, gone.* from gone
)
insert into ranks (series_id, stat, low, high, run_keys, packings, values)
select p.series_id, p.stat, min(u.value), max(u.value), array_agg(u.run_key order by u.value, u.run_key),
    array_agg(u.packing order by u.value, u.run_key), array_agg(u.value order by u.value, u.run_key)
from pieces p cross join lateral unnest(p.run_keys, p.packings, p.values) u (run_key, packing, value)
where u.run_key <> all($1::bigint[])
group by p.piece, p.series_id, p.stat"""
FILES = """
select f.id, f.kind, f.path, f.rows, f.experiment_id, e.name as experiment
from files f left join experiments e on e.id = f.experiment_id
where f.state = 'live' and f.id in (select file_id from file_runs where run_key = any($1::bigint[]))
order by f.created_at, f.id"""
TRASH_FILE = """
update files set state = 'trash', changed_at = now(), changed_up = uptime() where id = $1 and state = 'live'
returning path"""
PURGED = """
update deleted_runs d set purged_at = now()
where d.key = any($1::bigint[]) and not exists (select from chunks c where c.run_key = d.key)
    and not exists (
        select from file_runs fr join files f on f.id = fr.file_id where fr.run_key = d.key and f.state <> 'trash')
returning d.key"""

UNUSED_SNAPSHOTS = """
delete from source_snapshots s
where s.used_up <= uptime() - $1::float8 and not exists (
    select from properties p where p.key = any($2::text[]) and p.value = s.id and left(p.value, 200) = left(s.id, 200))"""
UNUSED_BLOBS = """
select b.sha256 from blobs b
where b.made_up <= uptime() - $1::float8 and not backup_held()
    and not exists (select from source_files f where f.sha256 = b.sha256)"""
DELETE_BLOB = """
delete from blobs b
where b.sha256 = $1 and not backup_held() and not exists (select from source_files f where f.sha256 = b.sha256)
returning sha256"""


@dataclass(slots=True)
class PurgeReport:
    """What a purge did."""

    runs: int = 0
    files: int = 0
    uploads: int = 0


async def purge_runs(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, *, stop: asyncio.Event | None = None
) -> PurgeReport:
    """Purge everything that is left of deleted runs, as far as nobody is at work on it.

    Args:
        stop: set: no further file is begun.

    Raises:
        StoreError: a file is missing or damaged; it stays as it was.
    """
    report = PurgeReport()
    async with pool.acquire() as connection, connection.transaction():
        children = [row["key"] for row in await connection.fetch(CHILDREN, LATE_CHILDREN)]
        if children:
            await delete_rows(connection, children)
    due = {row["key"]: row["run_id"] for row in await pool.fetch(DUE, _RUNS)}
    if not due:
        return report
    keys = list(due)
    await pool.execute(DELETE_CHUNKS, keys)
    await pool.execute(DELETE_STAGED, keys)
    await pool.execute(DELETE_RANKS, keys)
    for row in await pool.fetch(FILES, keys):
        if stop is not None and stop.is_set():
            return report
        try:
            await _rewrite(pool, store, worker, row, due)
            report.files += 1
        except ClaimLost as lost:
            log.info("purge: %s; the next round sees to it", lost)
    for run_id in due.values():
        report.uploads += await asyncio.to_thread(_delete_uploads, store, run_id)
    report.runs = len(await pool.fetch(PURGED, keys))
    log.info(
        "purged %d runs: %d files written anew, %d uploads deleted", report.runs, report.files, report.uploads
    )
    return report


async def _rewrite(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, file: Any, deleted: Mapping[int, str]
) -> None:
    """Replace a file by one without the deleted runs; or by nothing, when it holds no others."""
    async with pool.acquire() as connection, connection.transaction():
        await manifest.claim_lock(connection)
        held = MergeInput(file["id"], file["path"], file["rows"])
        await find_runs(connection, {held.id: held})
        out = {key: deleted[key] for key in held.runs if key in deleted}
        if len(out) == len(held.runs):
            if await connection.fetchval(TRASH_FILE, file["id"]) is None:
                raise ClaimLost(f"{file['path']} was replaced by somebody else")
            claimed = None
        else:
            rows = await connection.fetch(manifest.RUN_IDS, list(held.runs))
            path = manifest.file_path(
                file["kind"], file["experiment"], [file["path"], *(f"without {run}" for run in out.values())]
            )
            stay = held.runs.keys() - out.keys()
            claimed = await manifest.claim(connection, file["kind"], path, file["experiment_id"], stay)
            if claimed is None:
                raise ClaimLost(f"{path} is being made by somebody else, or waits for the cleaning")
    if claimed is not None:
        run_ids = {row["key"]: row["run_id"] for row in rows}
        merger = Merger(store, claimed, [held], run_ids, frozenset(out))
        try:
            written = await worker.run(merger.write)
            async with pool.acquire() as connection, connection.transaction():
                await manifest.replace(connection, written, [file["id"]])
        except Exception:
            await release(pool, store, claimed.id)
            raise
    await worker.run(store.retire, file["path"])
    if claimed is not None:
        await worker.run(store.publish, claimed.path)


def _delete_uploads(store: Store, run_id: str) -> int:
    paths = [entry.path for entry in store.list(run_folder(run_id))]
    for path in paths:
        store.delete(path)
    return len(paths)


async def purge_snapshots(pool: asyncpg.Pool[Any], store: Store, *, keep: float = KEEP_SNAPSHOTS) -> int:
    """Delete snapshots of source folders that no run has any more, and their contents; returns how many contents.

    Args:
        keep: seconds they are kept at least.
    """
    await pool.execute(UNUSED_SNAPSHOTS, keep, SNAPSHOT_PROPERTIES)
    unused: Sequence[str] = [row["sha256"] for row in await pool.fetch(UNUSED_BLOBS, keep)]
    deleted = 0
    for digest in unused:
        # The file goes before the commit: a crash leaves a row without it, which the next purge removes.
        async with pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(DELETE_BLOB, digest) is not None:
                await asyncio.to_thread(store.delete, f"blobs/{digest[:2]}/{digest}")
                deleted += 1
    return deleted
