"""What goes with snapshots that are gone: metadata that no table leads to; and everything, once there are no tables."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import asyncpg

from runstream_schemas.store import PINNED, Store

from ..worker import Worker
from .publisher import TABLES

FOLDER = "iceberg"
GRACE = 3600.0
"""Seconds a file of metadata is left alone: somebody may be about to make it a table's."""


async def clean_metadata(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, *, grace: float = GRACE
) -> int:
    """Delete metadata that no table leads to; returns how many files.

    Raises:
        StoreError: metadata of a table cannot be read; nothing is deleted.
    """
    tables = [(row["metadata"], row["name"]) for row in await pool.fetch(TABLES)]
    return await worker.run(_clean, store, tables, grace)


def _clean(store: Store, tables: Iterable[tuple[str, str]], grace: float) -> int:
    from .snapshots import reachable
    from .tables import RUNS

    # Listed first: what comes afterwards is younger than any grace.
    there = [entry for entry in store.list(FOLDER) if abs(time.time() - entry.modified) > grace]
    needed: set[str] = set()
    if there:
        needed.update(*(reachable(store, path, points=name != RUNS) for path, name in tables))
    unneeded = [entry.path for entry in there if entry.path not in needed]
    for path in unneeded:
        store.delete(path)
    return len(unneeded)


async def forget_tables(pool: asyncpg.Pool[Any], store: Store, worker: Worker) -> bool:
    """Delete all tables, when there are any: nobody keeps them up to date any more. Says whether there were."""
    if not await pool.fetchval("select exists (select from iceberg_tables)"):
        return False
    await pool.execute("delete from iceberg_tables")
    await worker.run(_delete_all, store)
    return True


def _delete_all(store: Store) -> None:
    for folder in (FOLDER, PINNED):
        for path in [entry.path for entry in store.list(folder)]:
            store.delete(path)
