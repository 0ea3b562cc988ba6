"""Real servers of each kind as processes: the embedded service, a cluster's server with tokens, the same behind a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

KINDS = ("embedded", "cluster", "behind a proxy")
OWNER = "the-token-of-this-server"


@asynccontextmanager
async def server_of(kind: str, database: Any) -> AsyncIterator[tuple[str, str]]:
    """Address and owner's token of a server of that kind over a test's database and store."""
    port = _free_port()
    home = Path(database.settings.home) / "home"
    variables = {
        "RUNSTREAM_HOME": str(home),
        "RUNSTREAM_DATABASE": database.settings.database,
        "RUNSTREAM_STORE": database.settings.store,
        "RUNSTREAM_PORT": str(port),
    }
    words = ["up", "--foreground"] if kind == "embedded" else ["server"]
    if kind != "embedded":
        variables["RUNSTREAM_TOKEN"] = OWNER
    if kind == "behind a proxy":
        variables["RUNSTREAM_TRUSTED_PROXIES"] = "127.0.0.1"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNSTREAM_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runstream", *words, env=clean | variables
    )
    try:
        await _ready(f"http://127.0.0.1:{port}", process)
        async with AsyncExitStack() as stack:
            if kind == "behind a proxy":
                port = await stack.enter_async_context(proxy(port))
            token = (home / "token").read_text().strip() if kind == "embedded" else OWNER
            yield f"http://127.0.0.1:{port}", token
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(base: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=base, timeout=5) as client:
        while True:
            assert process.returncode is None
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def proxy(behind: int) -> AsyncIterator[int]:
    """The port of a proxy before a server: it says whom it asks for, and hands all else on as it came."""

    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while piece := await source.read(1 << 16):
                    target.write(piece)
                    await target.drain()
                target.write_eof()

        task = asyncio.current_task()
        assert task is not None
        relays.add(task)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)
        try:
            first = await reader.readline()
            inner_writer.write(first + b"X-Forwarded-For: 10.9.8.7\r\n")
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            relays.discard(task)
            for stream in (writer, inner_writer):
                stream.close()
                with contextlib.suppress(ConnectionError):
                    await stream.wait_closed()

    server = await asyncio.start_server(relay, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(relays):
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
