"""HTTP connections with an end: who sends half a request, or takes no answer, does not hold a connection for ever.

uvicorn's own limits begin with a whole request. Here a request's head has to come within `HEAD_SECONDS`, the connections
that wait for one are bounded, and one whose answer nobody takes is cut. Bodies are the gate's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import connection_owner

HEAD_SECONDS = 20.0
"""Seconds from the first byte of a request (or from the connection) until its head is complete."""
MOST_WAITING = 512
"""Connections that have sent no whole head yet; beyond, the oldest is cut."""
CONNECTION = "runstream.connection"
"""Where handlers find the `Connection`, among the scope's extensions."""

_waiting: dict[Connection, None] = {}


class Connection(H11Protocol):
    """One client's connection."""

    _head: asyncio.TimerHandle | None = None
    _unsent = 0
    _owner: asyncio.Task[int | None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner: Callable[[Any, Any, Any], Awaitable[None]] = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {CONNECTION: self}
            await inner(scope, receive, send)

        self.app = app
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def timeout_keep_alive_handler(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent and not self.transport.is_closing():
            # A slow client is still taking the last answer.
            self._unsent = unsent
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif unsent:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def cut(self) -> None:
        """End it at once, whatever has not been sent."""
        self.transport.abort()

    async def owner(self) -> int | None:
        """The user at the other end, looked up once; see `connection_owner.owner`."""
        if self._owner is None:
            local, peer = self.transport.get_extra_info("sockname"), self.transport.get_extra_info("peername")
            if not local or not peer:
                return None
            self._owner = asyncio.create_task(asyncio.to_thread(connection_owner.owner, local[:2], peer[:2]))
        return await asyncio.shield(self._owner)

    def _wait_for_head(self) -> None:
        if self._head is not None:
            return  # a drop now and then does not make it wait any longer
        self._head = self.loop.call_later(HEAD_SECONDS, self.cut)
        _waiting[self] = None
        if len(_waiting) > MOST_WAITING:
            oldest = next(iter(_waiting))
            del _waiting[oldest]
            oldest.cut()

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
        _waiting.pop(self, None)
