"""Real receivers of alerts on this machine: a mail server and an HTTP server, which take messages, refuse them, or hang."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Web:
    """An HTTP server that is sent JSON.

    Attributes:
        taken: the documents of those requests that were answered with 200.
        asked: paths of all requests, as they come.
        failing: paths that are answered with 500.
        hanging: paths that are never answered.
    """

    port: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)

    def address(self, path: str) -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1].strip("/")
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        body = json.loads(await reader.readexactly(length))
        self.asked.append(path)
        if path in self.hanging:
            await reader.read()  # until the other side gives up
        elif path in self.failing:
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            self.taken.append(body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


@dataclass
class Mail:
    """A mail server that takes everything."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?from=runstream@example.com&to=ada@example.com&mode=insecure"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line.split()[0].upper()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                body = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                parsed = message_from_bytes(body, policy=policy.default)
                assert isinstance(parsed, EmailMessage)
                self.taken.append(parsed)
            writer.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
        writer.close()


@asynccontextmanager
async def listening(receiver: Web | Mail) -> AsyncIterator[None]:
    """Have a receiver listen on a free port."""
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0, limit=1 << 24)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()


async def until(true: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Wait for a true answer (of a function or coroutine function), and return it."""
    async with asyncio.timeout(seconds):
        while True:
            answer = true()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.02)
    raise AssertionError(what)
