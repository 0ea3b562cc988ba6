"""Points and files in an object store, read by the same code."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from runstream_query.files import artifacts
from runstream_query.points.reader import Query
from runstream_query.sql.sql import run_sql
from runstream_schemas.errors import StoreError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.store import open_store

BUCKET = "points"
LOSS = SeriesKey(SeriesClass.METRIC, "loss")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A local S3 with one bucket."""
    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()
    yield address
    server.stop()


@pytest.fixture
async def remote(database: Any, endpoint: str, tmp_path: Any) -> Any:
    """The database of a test, with its store in the bucket."""
    settings = replace(
        database.settings,
        store=f"s3://{BUCKET}/{tmp_path.name}",
        store_endpoint=endpoint,
        store_key="key",
        store_secret="secret",
    )
    database.settings, database.store = settings, open_store(settings)
    database.query = Query(database.pool, database.store, settings)
    return database


async def test_vectors_and_sql(remote: Any) -> None:
    for name in ("cold", "hot"):
        run = await remote.add_run(name, f"exp {name}'s")
        await remote.add_chunk(
            run, name[:1].encode() * 16, [(LOSS, Kind.FLOAT, i, i, i, i / 2) for i in range(4)]
        )
        if name == "cold":
            await remote.compact()
    vectors = await remote.query.vectors(["cold", "hot"])
    assert [(s.run_id, s.to_numpy().tolist()) for s in vectors] == [
        ("cold", [0.0, 0.5, 1.0, 1.5]),
        ("hot", [0.0, 0.5, 1.0, 1.5]),
    ]
    statement = (
        "SELECT experiment, run_id, sum(value) AS total FROM metrics WHERE step > 1 GROUP BY ALL ORDER BY ALL"
    )
    table = await run_sql(remote.pool, remote.store, remote.settings, statement)
    assert table.to_pylist() == [
        {"experiment": f"exp {name}'s", "run_id": name, "total": 2.5} for name in ("cold", "hot")
    ]
    path = await remote.pool.fetchval("select path from files where kind = 'metrics'")
    remote.store.delete(path)
    with pytest.raises(StoreError, match=path.rpartition("/")[2]):
        await remote.query.vectors(["cold"])
    with pytest.raises(StoreError, match=path.rpartition("/")[2]):
        await run_sql(remote.pool, remote.store, remote.settings, statement)


async def test_files(remote: Any) -> None:
    async def content(*pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    data = bytes(range(256)) * 10_000
    saved = await artifacts.save(
        remote.pool, remote.store, "r", "a/b.bin", content(data[:99], data[99:]), None
    )
    assert saved[0].size == len(data)
    part = [piece async for piece in artifacts.read(remote.store, "r", "a/b.bin", 1000, 2_000_000)]
    assert b"".join(part) == data[1000:2_000_000]
