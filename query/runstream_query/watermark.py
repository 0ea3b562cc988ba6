"""Read your writes: wait until what a process logged is stored. A watermark, not a sleep.

A writer knows how far it wrote (source, slot); `sources.next` says how far that is stored. The consumer's NOTIFY wakes the
waiters; where a connection cannot listen (PgBouncer in transaction mode) they look again at short intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg

from runstream_schemas.errors import QueryError

from . import queries

CHANNEL = "runstream"
POLL_FIRST, POLL_MOST = 0.02, 0.25
"""Seconds between two looks without a notification, at first and at most."""
POLL_NOTIFIED = 1.0
"""The same while notifications arrive: they can be lost, with the connection."""


class Notifications:
    """One connection that listens, and wakes all who wait. `start` and `stop` it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: Any = None
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def listening(self) -> bool:
        """Whether notifications arrive at present."""
        return self._connection is not None and not self._connection.is_closed()

    async def start(self) -> None:
        """Begin to listen; goes on trying in the background where that fails."""
        self._task = asyncio.create_task(self._keep(), name="runstream-listen")

    async def stop(self) -> None:
        """End listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._event.set()

    async def wait(self, timeout: float) -> None:
        """Wait for the next notification, at most `timeout` seconds."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)

    def _notified(self, *_: Any) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def _keep(self) -> None:
        while True:
            closed = asyncio.Event()
            try:
                async with self._pool.acquire() as connection:
                    connection.add_termination_listener(lambda *_, closed=closed: closed.set())
                    await connection.add_listener(CHANNEL, self._notified)
                    self._connection = connection
                    self._notified()
                    try:
                        await closed.wait()
                    finally:
                        self._connection = None
                        if not connection.is_closed():
                            await connection.remove_listener(CHANNEL, self._notified)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass  # Postgres is away: the waiters poll meanwhile
            await asyncio.sleep(1.0)


async def wait_stored(
    pool: asyncpg.Pool,
    positions: Mapping[str, int],
    timeout: float,
    *,
    topic: str = "metrics",
    notifications: Notifications | None = None,
) -> bool:
    """Wait until every source is stored up to its position.

    Args:
        pool: connections; none is held while waiting.
        positions: slot below which everything has to be stored, by source (hex).
        timeout: seconds to wait at most.
        topic: 'metrics', 'tags' or 'status': a source counts the slots of each on its own.
        notifications: what wakes the waiter; None: looks at intervals.

    Returns:
        False when it timed out.

    Raises:
        QueryError: a source that is not 32 hexadecimal digits.
    """
    try:
        wanted = {uuid.UUID(source): seq for source, seq in positions.items() if seq > 0}
    except ValueError:
        raise QueryError(
            f"wait={','.join(positions)!r:.80}: expected SOURCE:SLOT with the source's 32 hexadecimal digits"
        ) from None
    deadline = time.monotonic() + timeout
    pause = POLL_FIRST
    while wanted:
        rows = await pool.fetch(queries.STORED, list(wanted), topic)
        stored = {row["source"]: row["next"] for row in rows}
        wanted = {source: seq for source, seq in wanted.items() if stored.get(source, 0) < seq}
        left = deadline - time.monotonic()
        if not wanted or left <= 0:
            break
        if notifications is not None and notifications.listening:
            # A notification between the look and the wait is not lost for long: the first waits are short.
            await notifications.wait(min(pause, left))
            pause = min(pause * 2, POLL_NOTIFIED)
        else:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, POLL_MOST)
    return not wanted
