"""Cleaning up after crashes: every file that no live row of the manifest names goes, and only those.

Row and file go in one transaction that holds the row's lock while the file is deleted: whoever claims the same path waits
for it, and then begins anew. The file is deleted before the commit, so that a crash leaves a row without a file, which the
next sweep removes, and never a file without a row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from runstream_schemas.store import STAGING, Entry, Store

from . import manifest

log = logging.getLogger("runstream.sweep")

KINDS = ("metrics", "tables")
ORPHAN_GRACE = 3600.0
"""Seconds a file without a row is left alone."""


@dataclass(slots=True)
class SweepReport:
    """What a sweep did."""

    abandoned: int = 0
    deleted: int = 0
    orphans: int = 0
    moved: int = 0
    parts: int = 0


async def sweep_rows(
    pool: asyncpg.Pool[Any], store: Store, *, pending_grace: float, trash_grace: float
) -> SweepReport:
    """Remove abandoned claims and replaced files, with their rows.

    Args:
        pending_grace: seconds since a claim's last sign of life.
        trash_grace: seconds since a file was replaced; longer than the longest query.
    """
    report = SweepReport()
    for row in await pool.fetch(manifest.ABANDONED, pending_grace):
        report.abandoned += await _remove(pool, store, manifest.DROP_ABANDONED, row["id"], pending_grace)
    for row in await pool.fetch(manifest.REPLACED, trash_grace):
        report.deleted += await _remove(pool, store, manifest.DROP_REPLACED, row["id"])
    return report


async def _remove(pool: asyncpg.Pool[Any], store: Store, statement: str, *args: Any) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        path = await connection.fetchval(statement, *args)
        if path is not None:
            await asyncio.to_thread(store.delete, path)
    return path is not None


async def sweep_files(pool: asyncpg.Pool[Any], store: Store, *, grace: float = ORPHAN_GRACE) -> SweepReport:
    """Walk the store: complete moves that a crash interrupted, remove files that no row names.

    Args:
        grace: seconds a file without a row is left alone.
    """
    report = SweepReport()
    for kind in KINDS:
        seen = await asyncio.to_thread(_list, store, kind)
        states: dict[str, str] = {}
        paths = list(seen)
        for at in range(0, len(paths), 5000):
            states.update(
                (row["path"], row["state"])
                for row in await pool.fetch(manifest.STATES, paths[at : at + 5000])
            )
        for path, (modified, staged, placed) in seen.items():
            state = states.get(path)
            if state == "live" and staged:
                await asyncio.to_thread(store.publish, path)
                report.moved += 1
            elif state == "trash" and placed and store.local:
                await asyncio.to_thread(store.retire, path)
                report.moved += 1
            elif state is None and modified < time.time() - grace:
                report.orphans += await _remove_orphan(pool, store, kind, path)
    report.parts = await asyncio.to_thread(store.remove_parts, grace)
    return report


def _list(store: Store, kind: str) -> dict[str, tuple[float, bool, bool]]:
    """Files of a kind by path: (last change, lies in staging, lies in its place)."""
    seen: dict[str, tuple[float, bool, bool]] = {}

    def add(path: str, entry: Entry, staged: bool, placed: bool) -> None:
        modified, was_staged, was_placed = seen.get(path, (0.0, False, False))
        seen[path] = max(modified, entry.modified), staged or was_staged, placed or was_placed

    for entry in store.list(kind):
        add(entry.path, entry, False, True)
    if store.local:
        for entry in store.list(f"{STAGING}/{kind}"):
            add(entry.path.removeprefix(f"{STAGING}/"), entry, True, False)
        for entry in store.list(f"trash/{kind}"):
            add(entry.path.removeprefix("trash/"), entry, False, False)
    return seen


async def _remove_orphan(pool: asyncpg.Pool[Any], store: Store, kind: str, path: str) -> bool:
    """Delete a file that no row names, holding its name so that nobody can claim it meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        reserved = await connection.fetchval(manifest.RESERVE_PATH, kind, path)
        if reserved is None:
            return False
        log.warning("sweep: %s is in no manifest; deleting it", path)
        await asyncio.to_thread(store.delete, path)
        await connection.execute(manifest.DROP_CLAIM, reserved)
    return True
