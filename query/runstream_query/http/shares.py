"""Nobody takes all of a server: what one token (or address, where there are none) may hold at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

MOST_REQUESTS = 256
"""Requests of one token under way: further ones are answered 429."""
MOST_BODIES = 64
"""Of those, requests whose body is still coming in."""
STALLED_SECONDS = 60.0
"""Seconds without a byte after which a request, or an answer, is given up."""
SLOWEST = 1024
"""Bytes a second a body has to bring on average, once it takes longer than `STALLED_SECONDS`."""
_MOST_KNOWN = 10_000

ASKER: ContextVar[Hashable] = ContextVar("asker", default=None)
"""Whose request is being answered; None: nobody's."""


T = TypeVar("T")


class Stalled(Exception):
    """A client sends its body too slowly, or takes no answer."""


@dataclass(slots=True)
class Places:
    """So many at once for each asker; the next one waits for a place of its own kind only."""

    most: int
    _by_asker: dict[Hashable, asyncio.Semaphore] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        asker = ASKER.get()
        if asker is None:
            yield
            return
        if len(self._by_asker) > _MOST_KNOWN:
            idle = [key for key, held in self._by_asker.items() if held._value == self.most]
            for key in idle:
                del self._by_asker[key]
        async with self._by_asker.setdefault(asker, asyncio.Semaphore(self.most)):
            yield


class SharedPool:
    """A pool of connections of which one asker holds three quarters at most: the others' requests find one.

    Args:
        pool: the connections.
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._places = Places(max(1, pool.get_max_size() * 3 // 4))

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._places.one(), self._pool.acquire() as connection:
            yield connection

    async def fetch(self, statement: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetch(statement, *values)

    async def fetchrow(self, statement: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchval(statement, *values)

    async def execute(self, statement: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.execute(statement, *values)


@dataclass(slots=True)
class UnderWay:
    """Requests under way, by asker."""

    requests: Counter[Hashable] = field(default_factory=Counter)
    bodies: Counter[Hashable] = field(default_factory=Counter)

    @contextlib.contextmanager
    def one(self, asker: Hashable, *, body: bool) -> Iterator[None]:
        """Count a request while it is answered.

        Raises:
            HTTPException: that asker has too many (429).
        """
        counted = [(self.requests, MOST_REQUESTS), *([(self.bodies, MOST_BODIES)] if body else [])]
        for counter, most in counted:
            if counter[asker] >= most:
                what = f"{most} requests of this token{' with a body' if body else ''} are under way"
                raise HTTPException(429, f"{what}; try again later", {"Retry-After": "1"})
        for counter, _ in counted:
            counter[asker] += 1
        try:
            yield
        finally:
            for counter, _ in counted:
                counter[asker] -= 1
                if not counter[asker]:
                    del counter[asker]


def in_time(receive: Receive) -> Receive:
    """The same, for a body that has to keep coming."""
    waited, came, whole = 0.0, 0, False

    async def received() -> Message:
        nonlocal waited, came, whole
        if whole:
            return await receive()  # waits for the end of the connection
        began = time.monotonic()
        message = await _at_most(receive)
        waited += time.monotonic() - began  # not what storing it takes
        came += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if not whole and waited > STALLED_SECONDS and came < waited * SLOWEST:
            raise Stalled(f"the body came too slowly, {came} bytes in {waited:.0f} s; send it again")
        return message

    return received


def taken_in_time(send: Send) -> Send:
    """The same, for an answer that has to be taken."""

    async def sent(message: Message) -> None:
        await _at_most(lambda: send(message))

    return sent


async def _at_most(do: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(STALLED_SECONDS) as limit:
            return await do()
    except TimeoutError:
        if limit.expired():
            raise Stalled(f"nothing came, or was taken, for {STALLED_SECONDS:.0f} s; send it again") from None
        raise
