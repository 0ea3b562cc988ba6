"""The part of a service that holds rules against runs and sends what they raise: one process at a time, by a lock.

The lock is of the database's session, so it is free as soon as its holder is gone, however it went. All that is
raised goes over the connection that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from runstream_schemas.database import connect, create_pool
from runstream_schemas.settings import Settings

from ..points.watermark import Notifications
from .evaluator import Evaluator, changes_of
from .postman import Post
from .receivers import parse_receivers
from .sending import FIRST_PAUSE, SECONDS, Sender
from .state import AlertsState

logger = logging.getLogger("runstream.alerts")

LOCK = 0x616C65727473  # "alerts"
LOOK_PAUSE = 0.5
"""Seconds in which changes are put together into one look."""
SWEEP_SECONDS = 60.0
"""Seconds between two sweeps for what no notification told."""
SWEEP_POLLED = 15.0
"""The same where the connection cannot listen (PgBouncer): then a sweep is all there is."""
OTHERS_PAUSE = 5.0
"""Seconds between two attempts to get the lock, or the database."""
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def run_alerts(
    settings: Settings,
    stop: asyncio.Event,
    *,
    seconds: float = SECONDS,
    first_pause: float = FIRST_PAUSE,
    state: AlertsState | None = None,
) -> None:
    """Hold rules against runs, and send what they raise, until `stop` is set. While another process does, wait.

    Args:
        settings: `database` (migrated) and `alert_receivers` are used.
        seconds: the time a receiver has to take a message.
        first_pause: seconds until a receiver that did not take one is asked again.
        state: counts on in this.

    Raises:
        ServiceError: the receivers cannot be read.
        DatabaseError: the database's address cannot be used.
    """
    receivers = parse_receivers(settings.alert_receivers)
    post = Post(seconds)
    pool = await create_pool(settings, min_size=0, max_size=2)
    state = AlertsState() if state is None else state
    sender = Sender(pool, receivers, post, first_pause, state)
    try:
        while not stop.is_set():
            try:
                async with _alone(settings) as connection:
                    if connection is not None:
                        await _work(settings, stop, connection, sender, state)
            except AWAY as error:
                logger.warning("alerts wait for the database: %s: %s", type(error).__name__, error)
            finally:
                await sender.stop()
            await _stopped_within(stop, OTHERS_PAUSE)
    finally:
        await post.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pool.close(), 5.0)


@contextlib.asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[asyncpg.Connection[Any] | None]:
    """A connection that holds the lock; None: another process has it."""
    connection = await connect(settings)
    try:
        if settings.database_pgbouncer:
            await connection.execute("begin")  # keeps this connection on one of the server's
        yield connection if await connection.fetchval("select pg_try_advisory_lock($1)", LOCK) else None
    finally:
        connection.terminate()


async def _work(
    settings: Settings,
    stop: asyncio.Event,
    connection: asyncpg.Connection[Any],
    sender: Sender,
    state: AlertsState,
) -> None:
    evaluator = Evaluator(connection)
    notifications = Notifications(settings)
    sweep_seconds = SWEEP_POLLED if settings.database_pgbouncer else SWEEP_SECONDS
    try:
        if not settings.database_pgbouncer:
            await notifications.start()
            while not notifications.listening and not await _stopped_within(stop, 0.05):
                pass  # what changes from now on is heard
        await evaluator.begin()
        await sender.resume()
        seen, raised = notifications.count, -1
        before = state.raised
        swept = listened = time.monotonic()
        unswept = settings.database_pgbouncer
        while not await _stopped_within(stop, LOOK_PAUSE):
            if connection.is_closed():
                raise ConnectionError("the connection that holds the lock was closed")
            now = time.monotonic()
            if notifications.count != seen:
                changes = changes_of(notifications.since(seen))
                seen, unswept = notifications.count, True
                if changes.rules:
                    await evaluator.renew()
                    await sender.wake()
                if not evaluator.idle:
                    await evaluator.look(changes)
            if unswept and now - swept >= sweep_seconds:
                swept, unswept = now, settings.database_pgbouncer
                await evaluator.renew()
                await sender.wake()
            if evaluator.pause is not None and now - listened >= evaluator.pause:
                listened = now
                await evaluator.listen(now)
            if evaluator.raised != raised:
                raised = evaluator.raised
                state.raised = before + raised
                await sender.wake()
        await evaluator.keep()
    finally:
        await notifications.stop()


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
