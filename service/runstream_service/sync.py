"""Work of the roles done once, by hand: `runstream sync DIR` and `runstream compact`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

from runstream.home.autostart import ensure_service
from runstream.home.layout import open_home
from runstream_schemas.errors import ServiceError
from runstream_schemas.settings import Settings

from .supervision import stop_at_signals

START_SECONDS = 60.0
QUIET_SECONDS = 2.5
"""Nothing new for so long: a collector has by then looked whose processes are gone, and ended their runs."""


async def sync_directory(settings: Settings, directory: Path) -> None:
    """Deliver everything in a spool directory: to Kafka if that is set, else to the home's service.

    Args:
        settings: the settings of the receiving side.
        directory: the spool.

    Raises:
        SpoolError: another process reads it, and so delivers it.
        ServiceError: there is no service to deliver to.
    """
    stop = stop_at_signals()
    target = replace(settings, spool=str(directory))
    if settings.kafka:
        from runstream.agent import run_agent

        await run_agent(target, stop, once=True)
        print(f"{directory}: everything is with the broker {settings.kafka}")
        return
    target = replace(target, database=embedded_database(settings))
    points = await _store_spool(target, stop)
    print(
        f"{directory}: {points} points stored; {'stopped before the end' if stop.is_set() else 'nothing is left'}"
    )


async def sync_outbox(settings: Settings, outbox: Path) -> None:
    """Deliver the files, media and snapshots that wait in an outbox, to the server that is set or the home's service.

    Args:
        settings: the settings of the receiving side.
        outbox: the directory.

    Raises:
        ServiceError: the service is away; what is left stays there.
    """
    from runstream.client.media_outbox import waiting
    from runstream.client.outbox import deliver, items

    if not items(outbox) and not waiting(outbox):
        return
    if not settings.url:
        ensure_service(replace(settings, autostart=True), wait=START_SECONDS)
    done = await asyncio.to_thread(deliver, settings, outbox)
    print(f"{outbox}: {done.stored} files stored" + (f", {done.refused} refused" if done.refused else ""))
    if done.left:
        raise ServiceError(
            f"{done.left} files are left in {outbox}: the service is away; set RUNSTREAM_URL, or see `runstream doctor`"
        )


async def sync_consoles(settings: Settings, folder: Path) -> None:
    """Send the consoles that lie in a folder, to the server that is set or the home's service.

    Args:
        settings: the settings of the receiving side.
        folder: the directory.

    Raises:
        ServiceError: the service is away; what is left stays there.
    """
    from runstream.consoles.sending import Sender, waiting
    from runstream.exceptions import AzureMLException, ServiceException

    if not waiting(folder):
        return
    if not settings.url:
        ensure_service(replace(settings, autostart=True), wait=START_SECONDS)
    try:
        sent = await asyncio.to_thread(Sender(settings, folder).look, all_of_it=True)
    except (ServiceException, AzureMLException) as error:
        raise ServiceError(
            f"consoles are left in {folder} ({error}); set RUNSTREAM_URL, or see `runstream doctor`"
        ) from None
    print(f"{folder}: {sent} bytes of consoles stored")


async def _store_spool(settings: Settings, stop: asyncio.Event) -> int:
    from runstream_consumers.compaction.recall import Recall
    from runstream_consumers.sources.dead_letters import DirectoryDeadLetters
    from runstream_consumers.sources.spool_source import SpoolSource
    from runstream_consumers.storing.writer import Writer
    from runstream_schemas.database import create_pool

    pool = await create_pool(settings)
    letters = DirectoryDeadLetters(settings.home_path / "dead-letters")
    writer = Writer(pool, settings, letters.publish, cold=Recall(pool, settings))
    source = SpoolSource(settings, writer.load_offsets)
    await source.start()
    try:
        quiet_since = time.monotonic()
        while not stop.is_set() and time.monotonic() - quiet_since < QUIET_SECONDS:
            batch = await source.fetch(settings.consumer_memory, 0.25)
            if batch:
                await writer.store(batch)
                for fetched in batch:
                    await source.stored(fetched)
                _show(writer.counters.points)
            if batch or source.lag():
                quiet_since = time.monotonic()
    finally:
        await source.stop()
        await letters.stop()
        await pool.close()
    return writer.counters.points


def _show(points: int) -> None:
    if sys.stderr.isatty():
        print(f"{points} points", end="\r", file=sys.stderr, flush=True)


def embedded_database(settings: Settings) -> str:
    """Address of the database to work on: the one that is set, else that of the home's service, started if need be.

    Raises:
        ServiceError: there is no service, and none starts.
    """
    if settings.database:
        return settings.database
    info = ensure_service(replace(settings, autostart=True), wait=START_SECONDS)
    if info is None:
        raise ServiceError(
            f"no service answers for the home {settings.home_path}; see `runstream doctor`, or set RUNSTREAM_DATABASE"
        )
    from .servers.postgres import PostgresServer

    return PostgresServer(open_home(settings).postgres).dsn


async def compact_now(settings: Settings) -> None:
    """Write the points of every run that ended to Parquet, and print how much it was.

    Raises:
        ServiceError: there is no service whose database it would be.
        StoreError: the store cannot be written; the points stay in the hot tier.
    """
    from runstream_consumers.compaction.role import compact_once, what_is_left
    from runstream_consumers.uptime import Uptime
    from runstream_schemas.database import create_pool
    from runstream_schemas.store import open_store

    stop = stop_at_signals()
    settings = replace(settings, database=embedded_database(settings))
    store = await asyncio.to_thread(open_store, settings)
    pool = await create_pool(settings, max_size=2)
    points = runs = files = size = 0
    waiting, uptime = False, Uptime()
    try:
        while True:
            await uptime.tick(pool)  # a claim of a compactor that died grows old by it
            report = await compact_once(pool, store, settings, now=True, stop=stop)
            points, runs = points + report.points, runs + report.runs
            files, size = files + report.files, size + report.bytes
            left = await what_is_left(pool, settings)
            if "moving" not in left or stop.is_set():
                break
            if not waiting:
                waiting = True
                print(
                    f"another compactor is moving {left['moving'][1]} points of {left['moving'][0]} runs: waiting for it",
                    flush=True,
                )
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
    finally:
        await pool.close()
    more = "; another compactor moved the rest" if waiting and "moving" not in left else ""
    print(f"{points} points of {runs} runs: {files} files, {size} bytes, in {store.root}{more}")
    if "ended" in left:
        why = (
            f"damaged: {', '.join(report.corrupt_runs)}"
            if report.corrupt_runs
            else "try again, or see the service's log"
        )
        print(f"{left['ended'][1]} points of {left['ended'][0]} runs that ended stay in the database: {why}")
    if "running" in left:
        print(f"{left['running'][1]} points of {left['running'][0]} runs stay there until these end")
