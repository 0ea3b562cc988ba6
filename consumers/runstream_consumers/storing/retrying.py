"""Trying again: what of the database passes is waited out, what an event is guilty of is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import lacks_memory

from .transaction import FenceLost, Stale

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT = 120.0
"""Seconds after which an attempt to commit is given up: a server that stopped answering does not close connections."""

TRANSIENT = (
    OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError, asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError,
)  # fmt: skip
# What an event can be guilty of at the database. Any other refusal (a full disk, a missing table) is the database's, and
# waited out. An exception that is not the database's is some event's: what cannot be stored must not stop what can.
REFUSED = (
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.NotNullViolationError,
    asyncpg.CheckViolationError,
    asyncpg.CardinalityViolationError,
)

SAME_VIOLATION = 5
"""Attempts in a row that break a rule of the database in the same way, each with what is stored read again: another writer
that was quicker explains the first of them, and what is still the same at the last is some event's."""

MOST_STARVED = 5
"""Attempts without memory, after which whoever tries lets go of what it holds."""

V = TypeVar("V")


async def persist(what: str, attempt: Callable[[], Awaitable[V]], before_retry: Callable[[], None]) -> V:
    """Run `attempt` until it succeeds, is refused because of an event, or finds the fence moved.

    Args:
        what: names the trouble in the log.
        before_retry: called before each further attempt.

    Raises:
        MemoryError: there is none again and again, of which no event is guilty; with nothing in hand there may be some.
    """
    violation, times, starved = "", 0, 0
    pauses = Backoff(0.02, 2.0)
    while True:
        pause = next(pauses)
        try:
            return await _attempted(attempt)
        except FenceLost:
            raise
        except REFUSED:
            raise
        except MemoryError as error:
            starved += 1
            if starved == MOST_STARVED:
                raise
            log.warning("%s, trying again: there is no memory: %s", what, error)
        except (Stale, asyncpg.IntegrityConstraintViolationError) as error:
            if not isinstance(error, Stale):
                violation, times = str(error), times + 1 if str(error) == violation else 1
                if times == SAME_VIOLATION:
                    raise
            if pause > 0.3:
                log.warning("%s, reading again what is stored: %s: %s", what, type(error).__name__, error)
        except TRANSIENT as error:
            # Also when the connection broke during the commit: if that one succeeded, the next attempt finds the
            # offset moved and loses the fence to itself.
            if pause > 0.3:
                log.warning("%s, trying again: %s: %s", what, type(error).__name__, error)
        except asyncpg.PostgresError as error:
            pause = max(pause, 1.0)
            log.error("%s, trying again: %s: %s", what, type(error).__name__, error)
        before_retry()
        await asyncio.sleep(pause)


async def _attempted(attempt: Callable[[], Awaitable[V]]) -> V:
    """One attempt, in time. asyncpg says of a value it had no memory for that the value is wrong."""
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT):
            return await attempt()
    except Exception as error:
        if lacks_memory(error) and not isinstance(error, (MemoryError, *TRANSIENT)):
            raise MemoryError(f"{type(error).__name__}: {error}") from error
        raise
