"""Read your writes: wait until what a process logged is stored. A watermark, not a sleep.

A writer knows how far it wrote (source, slot); `sources.next` says how far that is stored. The consumer's NOTIFY wakes the
waiters; where a connection cannot listen (PgBouncer in transaction mode) they look again at short intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import asyncpg

from runstream_schemas.backoff import Backoff
from runstream_schemas.database import connect
from runstream_schemas.errors import QueryError
from runstream_schemas.settings import Settings

from .. import queries

CHANNEL = "runstream"
POLL_FIRST, POLL_MOST = 0.02, 0.25
"""Seconds between two looks without a notification, at first and at most."""
POLL_NOTIFIED = 1.0
"""The same while notifications arrive: they can be lost, with the connection."""
HISTORY = 4096
"""Most notifications kept for those who were away for a moment."""


class Notifications:
    """One connection of its own that listens, and wakes all who wait. `start` and `stop` it.

    Args:
        settings: `database` is listened to.

    Attributes:
        epoch: name of this numbering; another process, or a later one, has another.
        count: how many notifications came so far, which is the number of the latest.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.epoch = secrets.token_hex(6)
        self.count = 0
        self._history: deque[str | None] = deque(maxlen=HISTORY)  # None: some may have been missed here
        self._connection: asyncpg.Connection[Any] | None = None
        self._next: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.stopped = False

    @property
    def listening(self) -> bool:
        """Whether notifications arrive at present."""
        return self._connection is not None and not self._connection.is_closed()

    async def start(self) -> None:
        """Begin to listen; retries in the background while the database is away."""
        self._task = asyncio.create_task(self._keep(), name="runstream-listen")

    async def stop(self) -> None:
        """End listening, and every wait."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if not self._next.done():
            self._next.set_result("{}")

    async def wait(self, timeout: float) -> str | None:
        """Wait for the next notification, at most `timeout` seconds; returns what it says, or None when there was none."""
        done, _ = await asyncio.wait({self._next}, timeout=timeout)
        return next(iter(done)).result() if done else None

    def since(self, number: int) -> list[str] | None:
        """The notifications after the one of that number; None when some of them are not, or no longer, known."""
        since = self.count - number
        if since > len(self._history):
            return None
        recent = list(self._history)[len(self._history) - since :]
        known = [payload for payload in recent if payload is not None]
        return known if len(known) == len(recent) else None

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        self._record(str(payload))
        self._wake(str(payload))

    def _record(self, payload: str | None) -> None:
        self._history.append(payload)
        self.count += 1

    def _wake(self, payload: str) -> None:
        following, self._next = self._next, asyncio.get_running_loop().create_future()
        following.set_result(payload)

    async def _keep(self) -> None:
        missed = False
        while True:
            try:
                connection = self._connection = await connect(self._settings)
                try:
                    closed = asyncio.Event()
                    connection.add_termination_listener(lambda *_, closed=closed: closed.set())
                    await connection.add_listener(CHANNEL, self._notified)
                    if missed:
                        self._record(None)
                        self._wake("{}")
                    missed = True
                    await closed.wait()
                finally:
                    self._connection = None
                    connection.terminate()
            except (
                TimeoutError,
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ):
                pass  # Postgres is away: the waiters poll meanwhile
            await asyncio.sleep(1.0)


async def wait_stored(
    pool: asyncpg.Pool[Any],
    positions: Mapping[str, int],
    timeout: float,
    *,
    notifications: Notifications | None = None,
) -> bool:
    """Wait until every source is stored up to its position.

    Args:
        pool: connections; none is held while waiting.
        positions: slot below which everything has to be stored; by source (32 hexadecimal digits) for its metrics, by
            `<source>.tags` and `<source>.status` for the other topics, whose slots are counted on their own. With `@` and
            its run's id (percent-encoded) behind it, a source is not waited for when that run was deleted.
        timeout: seconds to wait at most.
        notifications: what wakes the waiter; None: looks at intervals.

    Returns:
        False when it timed out.

    Raises:
        QueryError: a key that is no source.
    """
    awaited: dict[tuple[uuid.UUID, str], int] = {}
    runs: dict[tuple[uuid.UUID, str], str] = {}
    for key, seq in positions.items():
        place, _, run = key.partition("@")
        source, _, topic = place.partition(".")
        try:
            awaited[uuid.UUID(source), topic or "metrics"] = seq
            if run:
                runs[uuid.UUID(source), topic or "metrics"] = unquote(run)
        except ValueError:
            raise QueryError(f"wait={key!r:.80}: expected the 32 hexadecimal digits of a source") from None
    deadline = time.monotonic() + timeout
    notified, polled = Backoff(POLL_FIRST, POLL_NOTIFIED), Backoff(POLL_FIRST, POLL_MOST, 1.5)
    while True:
        keys = list(awaited)
        rows = await pool.fetch(queries.STORED, [source for source, _ in keys], [topic for _, topic in keys])
        stored = {(row["source"], row["topic"]): row["next"] for row in rows}
        awaited = {key: seq for key, seq in awaited.items() if stored.get(key, 0) < seq}
        if asked := {runs[key] for key in awaited if key in runs}:
            gone = {row["run_id"] for row in await pool.fetch(queries.DELETED, list(asked))}
            awaited = {key: seq for key, seq in awaited.items() if runs.get(key) not in gone}
        left = deadline - time.monotonic()
        if not awaited or left <= 0:
            return not awaited
        if notifications is not None and notifications.listening:
            # A notification between the look and the wait is not lost for long: the first waits are short.
            await notifications.wait(min(next(notified), left))
        else:
            await asyncio.sleep(min(next(polled), left))
