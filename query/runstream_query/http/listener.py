"""Connections taken in, whatever one of them met.

uvloop's own server takes no further connection, for good and without a word, once anything raises while it takes one in:
libuv waits for what it holds to be accepted. No memory for a moment is enough.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

PAUSE = 0.2
"""Seconds until it is tried again, where there was no memory or no descriptor; who comes meanwhile waits."""
_AT_ONCE = 64
_log = logging.getLogger("runstream.server")


class Listener:
    """What `asyncio.Server` is to uvicorn: takes connections in until it is closed.

    Args:
        listening: a bound socket.
        make_protocol: makes the protocol of each connection.
        backlog: how many connections may wait.
        context: for TLS; None: none.
    """

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        backlog: int,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._listening, self._make_protocol, self._context = listening, make_protocol, context
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        listening.listen(backlog)
        self._loop.add_reader(listening, self._take)

    def close(self) -> None:
        """Take no more in; the socket stays open."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Until those that were just coming in are connections, or gone."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _take(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                connection, _ = self._listening.accept()
                try:
                    task = self._loop.create_task(self._begin(connection))
                except MemoryError:
                    connection.close()
                    raise
                self._beginning.add(task)
                task.add_done_callback(self._beginning.discard)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # nobody waits, or who does is looked for again at once
        except (OSError, MemoryError) as error:
            # First of all: if this raises too, the socket is still looked at.
            self._loop.call_later(PAUSE, self._go_on)
            self._loop.remove_reader(self._listening)
            _log.warning("connections wait, there is no room for another: %r", error)

    def _go_on(self) -> None:
        if self._closed:
            return
        try:
            self._loop.add_reader(self._listening, self._take)
        except MemoryError:
            self._loop.call_later(PAUSE, self._go_on)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            # Not every loop does that by itself.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._context)
        except asyncio.CancelledError:
            connection.close()
            raise
        except Exception as error:
            # Who does not speak TLS, or leaves at once, is no fault of ours; one that had no room can come again.
            connection.close()
            _log.debug("a connection came to nothing: %r", error)
