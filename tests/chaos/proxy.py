"""A TCP proxy that can be slow, answer late, lose answers, cut what it carries, or let nobody in."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Listens on a free port of this machine.

    Args:
        upstream: (host, port), or the path of a unix socket.

    Attributes:
        port: where it listens.
        delay: seconds every piece of up to 64 KiB waits.
        late: seconds an answer waits besides; what was asked for has long been done.
        deaf: answers are thrown away. What was asked for is done, and nobody hears of it.
        closed: new connections are dropped at once.
    """

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self.upstream = upstream
        self.delay = self.late = 0.0
        self.deaf = self.closed = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def repair(self) -> None:
        """Carry everything at once again. A connection that has lost an answer is of no use any more."""
        if self.deaf:
            self.cut()
        self.delay = self.late = 0.0
        self.deaf = self.closed = False

    def cut(self) -> None:
        """Break every connection."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Listen no more, and break every connection."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.closed:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            for end in (client, server):
                self._open.add(end)
            for source, target in ((client, server), (server, client)):
                answers = source is server
                threading.Thread(target=self._carry, args=(source, target, answers), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self.upstream, str):
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.upstream)
            except OSError:
                server.close()
                raise
            return server
        return socket.create_connection(self.upstream, timeout=5)

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        lost = False
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                self._wait(answers)
                # After a lost answer the rest of the stream means nothing.
                lost = lost or (answers and self.deaf)
                if not lost:
                    target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._open.discard(end)

    def _wait(self, answers: bool) -> None:
        """As long as the harm is done."""
        began = time.monotonic()
        while (wait := self.delay + (self.late if answers else 0.0)) > time.monotonic() - began:
            time.sleep(min(0.05, wait))
