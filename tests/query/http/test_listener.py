"""A server goes on taking connections in, whatever happened while it took one: with uvloop's own, it never did again."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import uvloop

from runstream_query.http.app import run_server
from runstream_query.http.connections import Connection
from runstream_query.http.listener import Listener


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        connection = transport.get_extra_info("socket")
        transport.write(b"%d" % connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        transport.close()


async def greeted(address: Any, client: socket.socket | None = None) -> bytes:
    async with asyncio.timeout(10):
        if client is None:
            reader, writer = await asyncio.open_connection(*address)
        else:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, address)
            reader, writer = await asyncio.open_connection(sock=client)
        said = await reader.read()
        writer.close()
        return said


def listening() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("any other"), OSError(24, "none left")])
def test_one_that_cannot_be_begun_is_closed_and_the_next_one_is_taken(
    run: Callable[[Any], None], error: Exception
) -> None:
    made = 0

    def protocol() -> Greeting:
        nonlocal made
        made += 1
        if made == 1:
            raise error
        return Greeting()

    async def whole() -> None:
        with listening() as bound:
            listener = Listener(bound, protocol, backlog=8)
            assert await greeted(bound.getsockname()) == b""
            assert [await greeted(bound.getsockname()) for _ in range(3)] == [b"1"] * 3
            listener.close()
            await listener.wait_closed()

    run(whole())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_without_descriptors_connections_wait_for_one(run: Callable[[Any], None]) -> None:
    async def whole() -> None:
        with listening() as bound, socket.socket() as client:
            listener = Listener(bound, Greeting, backlog=8)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            await asyncio.sleep(0)  # the loop has what it needs
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                waiting = asyncio.create_task(greeted(bound.getsockname(), client))
                await asyncio.sleep(0.5)
                assert not waiting.done()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert await waiting == b"1"
            assert await greeted(bound.getsockname()) == b"1"
            listener.close()
            await listener.wait_closed()

    run(whole())


async def test_a_server_answers_after_a_moment_without_memory(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where a service that starved for two seconds stored on and never answered again."""
    begin, begun = Connection.__init__, 0

    def starved(self: Connection, *given: Any, **named: Any) -> None:
        nonlocal begun
        begun += 1
        if begun <= 2:
            raise MemoryError
        begin(self, *given, **named)

    async def whole() -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        server = asyncio.create_task(run_server(database.settings, stop, on_ready=ready.set_result))
        async with httpx.AsyncClient(base_url=await ready, timeout=10) as client:
            monkeypatch.setattr(Connection, "__init__", starved)
            for _ in range(2):
                with pytest.raises(httpx.TransportError):
                    await client.get("/healthz")
            assert (await client.get("/healthz")).status_code == 200
        stop.set()
        await server

    def in_uvloop(do: Callable[[], Awaitable[None]]) -> None:
        uvloop.run(do())  # type: ignore[arg-type]

    await asyncio.to_thread(in_uvloop, whole)
