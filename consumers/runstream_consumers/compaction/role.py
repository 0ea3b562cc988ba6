"""The role `compactor`: compaction, merging, the cleaning and the file of the runs, one after another, for ever.

Any number of compactors may run. What fails is logged and tried again; the points stay where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from runstream_schemas.database import create_pool
from runstream_schemas.errors import RunstreamError
from runstream_schemas.runs.status import TERMINAL
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store

from ..uptime import Uptime
from . import manifest
from .hot_to_parquet import Compactor, Report
from .iceberg.cleaning import clean_metadata, forget_tables
from .iceberg.publisher import Publisher
from .iceberg.runs_table import RunsPublisher
from .merge import merge_small_files
from .orphans import clean_files, clean_rows
from .packing import PACK_EVERY, PACK_MOST, pack_runs
from .purge import purge_runs, purge_snapshots
from .runs_file import PATH, RUNS_SHARE, runs_changed, write_runs
from .state import CompactorState
from .worker import Worker

log = logging.getLogger("runstream.compactor")

RUNNING_EVERY = 30.0
"""Seconds between looks at runs that have not ended: they are many, and rarely due."""

CLEAN_EVERY, WALK_EVERY = 15.0, 900.0
"""Seconds between cleanings of the manifest, and between walks through the store."""

RUNS_EVERY = 10.0
"""Seconds between two snapshots of the runs, at least."""

LEFT_EVERY, LEFT_SHARE = 60.0, 0.01
"""Seconds between two looks at what is left in the hot tier, at least; and the share of the time they may take."""

_NOTHING_LEFT = dict.fromkeys(("moving", "ended", "running"), (0, 0))
_RETRY = 5.0


@dataclass(slots=True)
class _Due:
    """When the rarer jobs are next due, in monotonic seconds; and what the last snapshot of the runs showed."""

    running: float = 0.0
    pack: float = 0.0
    cleaning: float = 0.0
    walk: float = 0.0
    runs: float = 0.0
    left: float = 0.0
    tables: float = 0.0
    tables_cleaning: float = 0.0
    runs_shown: int = -1
    uptime: Uptime = field(default_factory=Uptime)


async def compact_once(
    pool: asyncpg.Pool[Any],
    store: Store,
    settings: Settings,
    *,
    now: bool = False,
    stop: asyncio.Event | None = None,
) -> Report:
    """Compact everything that is due, and return what was done.

    Args:
        now: runs that ended are due at once, settled or not.
        stop: set: no further file is begun.

    Raises:
        StoreError: the store cannot be written; the points stay in the hot tier.
    """
    worker = Worker()
    try:
        return await Compactor(pool, store, settings, worker).compact(now=now, stop=stop)
    finally:
        worker.close()


async def what_is_left(pool: asyncpg.Pool[Any], settings: Settings) -> dict[str, tuple[int, int]]:
    """Runs and points in the hot tier, by state: `moving` by some compactor; `ended` and moved by nobody; `running`."""
    rows = await pool.fetch(manifest.LEFT, sorted(TERMINAL), settings.compact_claim_grace)
    return {row["state"]: (row["runs"], row["points"]) for row in rows}


async def run_compactor(
    settings: Settings, stop: asyncio.Event, *, alone: bool = False, state: CompactorState | None = None
) -> None:
    """Compact until `stop` is set.

    Args:
        settings: `database`, `store` and the `compact_*` settings.
        stop: ends the loop; a file begun is finished first.
        alone: nobody else compacts this database, so that claims found at the start are those of a process that died:
            they are not waited for.
        state: counts on in this.

    Raises:
        SettingsError, DatabaseError: the store or database cannot be opened at all.
    """
    store = await asyncio.to_thread(open_store, settings)
    pool = await create_pool(settings, max_size=2)
    worker = Worker()
    due = _Due()
    state = CompactorState() if state is None else state
    compactor = Compactor(pool, store, settings, worker)
    publisher = Publisher(pool, store, settings, worker)
    of_runs = RunsPublisher(pool, store, settings, worker)
    try:
        if alone:
            await clean_rows(pool, store, pending_grace=0.0, trash_grace=settings.trash_grace)
        while not stop.is_set():
            pause = settings.compact_interval
            try:
                await _round(compactor, due, stop, state)
                await _publish_tables(
                    publisher, of_runs, due, state
                )  # last: what fails here holds nothing else up
                state.ended_round()
            except (
                RunstreamError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
            ) as error:
                state.failures += 1
                log.error("compactor: %s: %s; trying again, no point is lost", type(error).__name__, error)
                pause = max(pause, _RETRY)
                due.walk = min(due.walk, time.monotonic() + CLEAN_EVERY)  # a move may be left to complete
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
    finally:
        try:
            worker.close()
        finally:
            await pool.close()


async def _round(compactor: Compactor, due: _Due, stop: asyncio.Event, state: CompactorState) -> None:
    pool, store, worker, settings = compactor.pool, compactor.store, compactor.worker, compactor.settings
    await due.uptime.tick(pool)
    if time.monotonic() >= due.walk:  # first of all: it completes what a crash interrupted
        await clean_files(pool, store)
        await purge_snapshots(pool, store)
        due.walk = time.monotonic() + WALK_EVERY
    if time.monotonic() >= due.cleaning:
        await clean_rows(
            pool, store, pending_grace=settings.compact_claim_grace, trash_grace=settings.trash_grace
        )
        await purge_runs(pool, store, worker, stop=stop)
        due.cleaning = time.monotonic() + CLEAN_EVERY
    running = time.monotonic() >= due.running
    report = await compactor.compact(running=running, stop=stop)
    state.add(report)
    if running:
        due.running = time.monotonic() + RUNNING_EVERY
    if report.files:
        log.info(
            "compacted %d points of %d runs into %d files, %.1f bytes a point, %.2f s",
            report.points,
            report.runs,
            report.files,
            report.bytes / max(report.points, 1),
            report.seconds,
        )
    state.add_merged(await merge_small_files(pool, store, worker, stop=stop))
    if time.monotonic() >= due.pack:
        packed = await pack_runs(pool, PACK_MOST, stop=stop)
        due.pack = time.monotonic() + (PACK_EVERY if packed < PACK_MOST else 0.0)
    if time.monotonic() >= due.runs:
        await _snapshot_runs(pool, store, worker, due)
    if time.monotonic() >= due.left:
        began = time.monotonic()
        state.left = _NOTHING_LEFT | await what_is_left(pool, settings)
        due.left = time.monotonic() + max(LEFT_EVERY, (time.monotonic() - began) / LEFT_SHARE)


async def _publish_tables(
    publisher: Publisher, of_runs: RunsPublisher, due: _Due, state: CompactorState
) -> None:
    pool, store, worker = publisher.pool, publisher.store, publisher.worker
    interval = publisher.settings.iceberg_interval
    if interval > 0 and time.monotonic() >= due.tables:
        state.snapshots += (await publisher.publish()).snapshots
        state.snapshots += await of_runs.publish()
        due.tables = time.monotonic() + interval
    if time.monotonic() >= due.tables_cleaning:
        if interval > 0:
            await clean_metadata(pool, store, worker)
        elif await forget_tables(pool, store, worker):
            log.warning(
                "iceberg: RUNSTREAM_ICEBERG_INTERVAL is 0, so the tables that were published are deleted"
            )
        due.tables_cleaning = time.monotonic() + WALK_EVERY


async def _snapshot_runs(pool: asyncpg.Pool[Any], store: Store, worker: Worker, due: _Due) -> None:
    if not due.runs and await worker.run(store.exists, PATH):
        # It has hardly changed, and at the start others have more urgent work.
        due.runs = time.monotonic() + RUNS_EVERY
        return
    changed = await runs_changed(pool)
    if changed == due.runs_shown:
        return
    began = time.monotonic()
    await write_runs(pool, store, worker)
    due.runs_shown = changed
    due.runs = time.monotonic() + max(RUNS_EVERY, (time.monotonic() - began) / RUNS_SHARE)
