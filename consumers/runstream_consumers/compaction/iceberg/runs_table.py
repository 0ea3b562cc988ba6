"""The table `runs` of each workspace: its runs with parameters, tags, status and summaries, in one file that is written anew
when something changed, into the table's own folder.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from ..runs_file import RUNS_SHARE, runs_changed, write_runs
from ..worker import Worker
from .publisher import TABLES, Overtaken, forget, log, make_current

DIGEST = "runstream.digest"
"""Property of a snapshot: of the file it shows. Runs that did not change make no snapshot."""

WORKSPACES = "select distinct workspace from experiments order by workspace"


@dataclass(slots=True)
class RunsPublisher:
    """Publishes the runs; remembers what was last shown, and when that may be looked at again."""

    pool: asyncpg.Pool[Any]
    store: Store
    settings: Settings
    worker: Worker
    _shown: int = -1
    _due: float = 0.0

    async def publish(self) -> int:
        """Bring the tables to what the database says; returns how many snapshots that took.

        Raises:
            StoreError: nothing can be written; the tables stay as they are.
        """
        began = time.monotonic()
        changed = await runs_changed(self.pool)
        if began < self._due or changed == self._shown:
            return 0
        rows = {row["workspace"]: row for row in await self.pool.fetch(TABLES) if row["name"] == "runs"}
        snapshots = 0
        for row in await self.pool.fetch(WORKSPACES):
            snapshots += await self._publish(row["workspace"], rows.get(row["workspace"]))
        self._shown = changed
        self._due = time.monotonic() + (time.monotonic() - began) / RUNS_SHARE
        return snapshots

    async def _publish(self, workspace: str, row: Any) -> bool:
        """Bring one table up to date; says whether it got a snapshot."""
        from .snapshots import Change, OutOfStep, new_folder, said_last, write_snapshot
        from .tables import RUNS, Shown, describe

        up = await self.pool.fetchval("select uptime()")
        folder, before = (row["folder"], row["metadata"]) if row else (new_folder(), None)
        path = f"{folder}/data/{secrets.token_hex(16)}.parquet"
        await write_runs(self.pool, self.store, self.worker, path=path, workspace=workspace)
        digest = await self.worker.run(_digest, self.store, path)
        try:
            if before and (await self.worker.run(said_last, self.store, before)).get(DIGEST) == digest:
                await self.worker.run(self.store.delete, path)
                return False
            size = await self.worker.run(self.store.size, path)
            described = await self.worker.run(describe, self.store, RUNS, Shown(path, size, ""))
            grace = int(self.settings.trash_grace)
            change = Change([described], None, up, up - grace, {DIGEST: digest})
            written = await self.worker.run(write_snapshot, self.store, RUNS, folder, before, change)
            async with self.pool.acquire() as connection, connection.transaction():
                await make_current(connection, workspace, RUNS, row, written)
        except OutOfStep as error:
            await forget(self.pool, row, error)
        except Overtaken as lost:
            log.info("iceberg: runs of %s: %s; the next round sees to it", workspace, lost)
        else:
            return True
        self._due = 0.0
        return False


def _digest(store: Store, path: str) -> str:
    with store.open_input(path) as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
