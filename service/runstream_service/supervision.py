"""What keeps a service running: its parts restarted when they crash, its end at a signal, its log, its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import DatabaseError, RunstreamError, ServiceError, SettingsError

if TYPE_CHECKING:
    from runstream_schemas.settings import Settings

    from .servers.postgres import PostgresServer

logger = logging.getLogger("runstream.service")

Part = Callable[[], Awaitable[None]]

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a crashed part is started again: doubled at each crash, back to the first after a minute without."""
STOP_SECONDS = 15.0
"""Seconds the parts have to end by themselves."""


async def run_parts(parts: dict[str, Part], stop: asyncio.Event) -> None:
    """Run parts side by side until `stop` is set and they have ended; a crashed one is started again.

    Args:
        parts: by name for the log; each runs until `stop` is set.
        stop: set by a signal, the idle watch, or here when a part finds that continuing is pointless.

    Raises:
        RunstreamError: why continuing is pointless (see `ServiceError`, `DatabaseError`).
    """
    tasks = [asyncio.create_task(kept_running(name, part, stop), name=name) for name, part in parts.items()]
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()  # raises what made continuing pointless
    finally:
        stop.set()
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            logger.warning("%s did not end within %.0f s and is cancelled", task.get_name(), STOP_SECONDS)
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)


async def kept_running(name: str, part: Part, stop: asyncio.Event) -> None:
    """Run a part until `stop` is set; it is started again when it crashes."""
    pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    while not stop.is_set():
        began = time.monotonic()
        try:
            await part()
        except asyncio.CancelledError:
            raise
        except DatabaseError:
            raise  # the wrong version, not one of ours: a restart changes nothing
        except Exception as error:
            if stop.is_set():
                logger.warning("%s: %s: %s while stopping", name, type(error).__name__, error)
                return
            if name == "server" and isinstance(error, ServiceError):
                raise  # its address cannot be had: nobody would find the service
            if time.monotonic() - began > 60:
                pauses.reset()
            pause = next(pauses)
            expected = isinstance(error, RunstreamError | OSError)
            logger.error(
                "%s crashed (%s: %s); starting it again in %.1f s",
                name,
                type(error).__name__,
                error,
                pause,
                exc_info=None if expected else error,
            )
        else:
            if stop.is_set():
                return
            pause = next(pauses)
            logger.error("%s ended by itself; starting it again in %.1f s", name, pause)
        await stopped_within(stop, pause)


async def watch_postgres(postgres: PostgresServer, stop: asyncio.Event) -> None:
    """Restart Postgres when it ended, also when it ends while it recovers; everybody else reconnects by themselves.

    Raises:
        DatabaseError: its port was taken meanwhile (where it has one).
    """
    pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    while not await stopped_within(stop, 0.25):
        if postgres.running:
            continue
        logger.error("Postgres ended by itself (see %s); starting it again", postgres.directory.log_file)
        address = postgres.dsn
        try:
            postgres.spawn()
            await asyncio.to_thread(postgres.wait_ready)
        except (DatabaseError, OSError) as error:
            pause = next(pauses)
            logger.error("%s; trying again in %.1f s", error, pause)
            await stopped_within(stop, pause)
            continue
        if postgres.dsn != address:
            raise DatabaseError(
                f"the port of the database in {postgres.directory.path} was taken while it was down; the service ends, "
                "and the next use starts it with another one"
            )
        pauses.reset()
        logger.info("Postgres is back")


async def prepare_database(settings: Settings) -> None:
    """Wait for the database, and bring its schema up to date."""
    from runstream_schemas.database import connect, migrate, wait_for_database

    await wait_for_database(settings)
    connection = await connect(settings)
    try:
        await migrate(connection)
    finally:
        await connection.close()


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep unless told to stop; whether we were."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


def stop_at_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        logger.info("asked to stop by %s", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    return stop


def detach() -> None:
    """Leave the training process that started us: its session, and files it left open to its children."""
    with contextlib.suppress(OSError):
        os.setsid()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def run_blocking(main: Awaitable[None]) -> None:
    """Run a coroutine to its end, on uvloop where there is one."""

    async def whole() -> None:
        await main

    # A batch holds tens of thousands of objects for a moment, none of them in a cycle: with Python's own thresholds each was
    # looked at several times, a third of what storing short runs cost.
    gc.set_threshold(10_000, 20, 10)
    if sys.platform == "win32":
        asyncio.run(whole())
    else:
        import uvloop

        uvloop.run(whole())


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("the services do without pandas", name=name)


def do_without_pandas() -> None:
    """Keep pyarrow from loading pandas in a service: it does so when it is first given a list, for 1.5 s and 60 MB."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WithoutPandas())


def log_to_stderr(level: str) -> None:
    """Log as the services do: one line a record, UTC.

    Raises:
        SettingsError: no such level.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise SettingsError(f"RUNSTREAM_LOG_LEVEL={level!r}: expected DEBUG, INFO, WARNING or ERROR")
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn.access", "botocore", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    if root.level > logging.DEBUG:  # while a broker is away it logs ten errors a second; ours say it once
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
