"""Cleaning up after crashes: files that no live row of the manifest names go, and only those.

Row and file go in one transaction that holds the row's lock while the file is deleted: whoever claims the same path waits
for it, and then begins anew. The file is deleted before the commit, so that a crash leaves a row without a file, which the
next cleaning removes, and never a file without a row.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from runstream_schemas.store import PINNED, STAGING, Entry, Store
from runstream_schemas.values.typed_values import RARE_CLASSES

from . import manifest

log = logging.getLogger("runstream.sweep")

KINDS = ("metrics", "tables", *RARE_CLASSES.values())
ORPHAN_GRACE = 3600.0
"""Seconds a file without a row is left alone."""

KEEP_ORPHANS = 7 * 86400.0
"""Seconds an orphan that was published is kept: after the database was restored from a backup it may be the last copy."""

MARKER = "installation.txt"
"""File of the store that says which database it belongs to: any other one finds only orphans here."""

_OURS = re.compile(r"/[0-9a-f]{32}\.parquet$")


@dataclass(slots=True)
class CleaningReport:
    """What a cleaning did."""

    abandoned: int = 0
    deleted: int = 0
    orphans: int = 0
    moved: int = 0
    parts: int = 0


async def clean_rows(
    pool: asyncpg.Pool[Any], store: Store, *, pending_grace: float, trash_grace: float
) -> CleaningReport:
    """Remove abandoned claims and replaced files, with their rows.

    Args:
        pending_grace: seconds since a claim's last sign of life.
        trash_grace: seconds since a file was replaced; longer than the longest query.
    """
    report = CleaningReport()
    for row in await pool.fetch(manifest.ABANDONED, pending_grace):
        report.abandoned += await _remove(pool, store, manifest.DROP_ABANDONED, row["id"], pending_grace)
    for row in await pool.fetch(manifest.REPLACED, trash_grace):
        report.deleted += await _remove(pool, store, manifest.DROP_REPLACED, row["id"])
    return report


async def release(pool: asyncpg.Pool[Any], store: Store, file_id: int) -> bool:
    """Give up a claim: its row and what was written for it. False when it is no longer ours."""
    return await _remove(pool, store, manifest.DROP_CLAIM, file_id)


async def _remove(pool: asyncpg.Pool[Any], store: Store, statement: str, *args: Any) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        path = await connection.fetchval(statement, *args)
        if path is not None:
            await asyncio.to_thread(store.delete, path)
    return path is not None


async def clean_files(
    pool: asyncpg.Pool[Any], store: Store, *, grace: float = ORPHAN_GRACE, keep: float = KEEP_ORPHANS
) -> CleaningReport:
    """Walk the store: complete moves that a crash interrupted, remove files that no row names.

    On a local store an orphan leaves the sight of globs after `grace` and is deleted after `keep`; in an object store it
    is deleted after `keep`. A store that belongs to another database keeps its orphans.

    Args:
        grace: seconds a file without a row is left alone.
        keep: seconds it is kept from then on.
    """
    report = CleaningReport()
    ours = await _belongs(pool, store)
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
            elif state is None and ours and _OURS.search(path):
                age = abs(
                    time.time() - modified
                )  # nothing needs it any more; a clock that was set back changes that little
                if placed and store.local and age > grace:
                    log.warning("sweep: %s is in no manifest; moved to the trash of %s", path, store.root)
                    report.orphans += await _on_orphan(pool, store.retire, kind, path)
                elif age > (grace if staged else keep):
                    report.deleted += await _on_orphan(pool, store.delete, kind, path)
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
        for entry in store.list(f"{PINNED}/{kind}"):
            add(entry.path.removeprefix(f"{PINNED}/"), entry, False, False)
    return seen


async def _on_orphan(pool: asyncpg.Pool[Any], act: Callable[[str], None], kind: str, path: str) -> bool:
    """Move or delete a file that no row names, holding its name so that nobody can claim it meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        reserved = await connection.fetchval(manifest.RESERVE_PATH, kind, path)
        if reserved is None:
            return False
        await asyncio.to_thread(act, path)
        await connection.execute(manifest.DROP_CLAIM, reserved)
    return True


async def _belongs(pool: asyncpg.Pool[Any], store: Store) -> bool:
    """Whether the store is this database's; an empty one becomes it."""
    installation = str(await pool.fetchval(manifest.INSTALLATION))
    if await asyncio.to_thread(store.exists, MARKER):
        owner = await asyncio.to_thread(_read_marker, store)
    elif await pool.fetchval(manifest.ANY_LIVE) or not await asyncio.to_thread(_holds_files, store):
        await asyncio.to_thread(_write_marker, store, installation)
        return True
    else:
        owner = "a database that is not known"
    if owner != installation:
        log.warning(
            "sweep: the store %s belongs to %s, this database is %s; files that no manifest names are left alone. If that "
            "database is gone for good, delete %s in the store",
            store.root,
            owner,
            installation,
            MARKER,
        )
    return owner == installation


def _read_marker(store: Store) -> str:
    with store.open_input(MARKER) as source:
        return bytes(source.read()).decode(errors="replace").strip()


def _write_marker(store: Store, installation: str) -> None:
    with store.create(MARKER) as new:
        new.stream.write(f"{installation}\n".encode())


def _holds_files(store: Store) -> bool:
    return any(True for kind in KINDS for _ in store.list(kind))
