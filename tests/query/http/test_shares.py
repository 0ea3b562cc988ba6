"""Nobody takes a server from the others: filters, bodies, connections, places of the database and of SQL are bounded."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from runstream_query.files import code_snapshots
from runstream_query.files.code_snapshots import parse_files
from runstream_query.files.partial_uploads import uploads_root
from runstream_query.http import connections, shares
from runstream_schemas.errors import QueryError

from .test_api import serving

pytestmark = pytest.mark.attack

OWNER = "the-token-of-this-server"


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database, token=OWNER) as client:
        yield client


async def bearer(http: httpx.AsyncClient, name: str, role: str = "write") -> dict[str, str]:
    made = await http.post("/api/v1/tokens", json={"name": name, "role": role})
    return {"Authorization": f"Bearer {made.json()['token']}"}


async def connect(http: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(http.base_url.host, http.base_url.port)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_a_list_has_so_many_filters(http: httpx.AsyncClient) -> None:
    for name, value, most in (
        ("metric", "loss:min<1", 16),
        ("tag", "a=b", 64),
        ("property", "a=b", 64),
        ("status", "Running", 64),
    ):
        for many, status in ((most, 200), (most + 1, 400), (130, 400)):
            answer = await http.get("/api/v1/runs", params=[(name, value)] * many)
            assert (name, many, answer.status_code) == (name, many, status)
    assert (await http.get("/api/v1/runs", params={"q": "loss<1 " * 17})).status_code == 400
    assert (await http.get("/api/v1/runs", params={"q": "a" * 4001})).status_code == 400


async def test_changes_and_method_names_are_bounded(http: httpx.AsyncClient, database: Any) -> None:
    await database.add_run("r")
    for many, status in ((1000, 200), (1001, 400), (100_000, 400)):
        tags = {str(number): "x" for number in range(many)}
        answer = await http.patch("/api/v1/runs/r", json={"tags": {"set": tags}})
        assert (many, answer.status_code) == (many, status)
    tags = {str(number): "x" for number in range(1001)}
    assert (await http.put("/api/v1/workspaces/w", json={"tags": tags})).status_code == 400
    for method in ("A" * 20_000, "PROPFIND"):
        assert (await http.request(method, "/api/v1/runs")).status_code == 405
    said = (await http.get("/metrics")).text
    assert 'method="other"' in said
    assert "AAAA" not in said
    assert "PROPFIND" not in said


def test_a_list_of_files_is_read_one_by_one() -> None:
    file = {"path": "a", "size": 1, "sha256": "0" * 64}
    assert parse_files(b'{"files": []}').files == []
    two = f' {{ "files" :\n[ {json.dumps(file)} ,{json.dumps({**file, "path": "b"})} ] }}'
    assert [file.path for file in parse_files(two.encode()).files] == ["a", "b"]
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"files": {}}',
        b'{"files": [1]}',
        b'{"files": [{}',
        b'{"files": [{}]}',
        b'{"files": [,]}',
        b'{"files": [' + b"[" * 200_000,
        b'{"files": [{"path": "a", "size": 1e999, "sha256": "0"}]}',
        b"\xff",
        json.dumps({"files": [file]}).encode()[:-2],
        json.dumps({"files": [file, file]}).encode(),
    ):
        with pytest.raises(QueryError):
            parse_files(body)
    with pytest.raises(QueryError, match="at most 100000 files"):
        parse_files(b'{"files": [' + b",".join([json.dumps(file).encode()] * 100_001) + b"]}")
    assert code_snapshots.MAX_FILES == 100_000


async def test_half_a_head_holds_no_connection(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    readers = []
    for sent in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
        reader, writer = await connect(http)
        writer.write(sent)
        readers.append((reader, writer))
    dripping, drips = await connect(http)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                drips.write(b"G")
                await drips.drain()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    for reader, writer in (*readers, (dripping, drips)):
        assert await until_closed(reader) == b""
        writer.close()
    task.cancel()
    # A connection that has sent whole requests is kept for the next one.
    reader, writer = await connect(http)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.8)
    writer.close()


async def test_of_many_half_heads_the_oldest_goes(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_WAITING", 3)
    made = []
    for _ in range(6):
        made.append(await connect(http))
        made[-1][1].write(b"GET ")
        assert (await http.get("/healthz")).status_code == 200  # and others are served
    for reader, _ in made[:2]:
        assert await until_closed(reader) == b""
    for _, writer in made:
        writer.close()


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_body_that_stalls_is_given_up(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, slowly: bool
) -> None:
    monkeypatch.setattr(shares, "STALLED_SECONDS", 0.5)
    reader, writer = await connect(http)
    head = "PUT /api/v1/runs/r/files/outputs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    writer.write(f"{head}Authorization: Bearer {OWNER}\r\n\r\n".encode() + b"x" * 10)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while slowly:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    assert (await until_closed(reader)).startswith(b"HTTP/1.1 408")
    task.cancel()
    writer.close()
    assert (await http.get("/api/v1/runs/r/files")).json()["files"] == []


async def test_an_answer_nobody_takes_is_given_up(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await http.put("/api/v1/runs/r/files/outputs/a", content=bytes(64 << 20))
    monkeypatch.setattr(shares, "STALLED_SECONDS", 0.5)
    reader, writer = await connect(http)
    head = "GET /api/v1/runs/r/files/outputs/a HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    writer.write(f"{head}Authorization: Bearer {OWNER}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        while "http_requests_in_flight 1.0\n" not in (await http.get("/metrics")).text:
            await asyncio.sleep(0.1)
    assert len(await until_closed(reader)) < 64 << 20
    writer.close()


async def test_one_token_has_so_many_requests_under_way(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others = await bearer(http, "mine"), await bearer(http, "others")
    monkeypatch.setattr(shares, "MOST_BODIES", 2)
    stalled = []
    for _ in range(2):
        reader, writer = await connect(http)
        head = "PUT /api/v1/runs/r/files/outputs/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        head += f"Expect: 100-continue\r\nAuthorization: {mine['Authorization']}\r\n\r\n"
        writer.write(head.encode())
        # Asked for its body it is under way. Another request before that may take its place, and it be the one refused.
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"x")
        stalled.append(writer)
    assert (await http.put("/api/v1/experiments/e", headers=mine)).status_code == 429
    assert (await http.get("/api/v1/runs", headers=mine)).status_code == 200
    assert (await http.put("/api/v1/experiments/e", headers=others)).status_code == 200
    monkeypatch.setattr(shares, "MOST_REQUESTS", 2)
    refused = await http.get("/api/v1/runs", headers=mine)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert (await http.get("/api/v1/runs", headers=others)).status_code == 200
    for writer in stalled:
        writer.close()
    async with asyncio.timeout(60):
        while (await http.put("/api/v1/experiments/e", headers=mine)).status_code != 200:
            await asyncio.sleep(0.05)


async def test_unfinished_uploads_of_a_token_have_a_quota(database: Any) -> None:
    database.settings = replace(database.settings, upload_quota=1000)
    async with serving(database, token=OWNER) as http:
        mine, others = await bearer(http, "mine"), await bearer(http, "others")
        first, second = (hashlib.sha256(bytes([n]) * 600).hexdigest() for n in range(2))

        async def send(digest: str, who: dict[str, str], content: bytes, offset: int = 0) -> httpx.Response:
            path = f"/api/v1/uploads/{digest}?offset={offset}"
            return await http.patch(path, content=content, headers=who)

        assert (await send(first, mine, bytes(600))).status_code == 200
        refused = await send(second, mine, b"\1" * 600)
        assert refused.status_code == 413
        assert "raise RUNSTREAM_UPLOAD_QUOTA" in refused.json()["detail"]
        # What others send has nothing to do with it, and what is finished counts no more.
        assert (await send(second, others, b"\1" * 600)).status_code == 200
        named = f"/api/v1/runs/r/files/outputs/a?upload={first}&size=600"
        assert (await http.put(named, headers=mine)).status_code == 201
        assert (await send(second, mine, b"\1" * 600)).status_code == 200


async def test_uploads_nobody_goes_on_with_are_forgotten(database: Any) -> None:
    """Also those of a token that never comes again."""
    async with serving(database, token=OWNER) as http:
        revoked = await bearer(http, "revoked")
        digest = hashlib.sha256(b"ab").hexdigest()
        assert (
            await http.patch(f"/api/v1/uploads/{digest}", content=b"a", headers=revoked)
        ).status_code == 200
        uploads = uploads_root(database.store, database.settings)
        [left] = [path for path in uploads.rglob("*") if path.is_file()]
        os.utime(left, (time.time() - 25 * 3600,) * 2)
        assert (await http.patch(f"/api/v1/uploads/{digest}", content=b"a")).status_code == 200
        assert not left.exists()


async def test_a_connection_of_the_database_is_left_for_others(database: Any) -> None:
    database.settings = replace(database.settings, database_pool=4)
    async with serving(database, token=OWNER) as http:
        mine, others = await bearer(http, "mine"), await bearer(http, "others", "admin")
        await http.get("/api/v1/runs", headers=mine)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("lock table runs in access exclusive mode")
            waiting = [asyncio.create_task(http.get("/api/v1/runs", headers=mine)) for _ in range(12)]
            await asyncio.sleep(1.0)
            answer = await http.get("/api/v1/tokens", headers=others)
            assert answer.status_code == 200
            assert not any(task.done() for task in waiting)
        assert {(await task).status_code for task in waiting} == {200}


async def test_places_for_sql_are_left_for_others(http: httpx.AsyncClient) -> None:
    mine, others = await bearer(http, "mine", "read"), await bearer(http, "others", "read")
    slow = {"query": "select count(*) from range(1000000000000) t(i) where i % 7 = 3"}
    waiting = [
        asyncio.create_task(http.post("/api/v1/sql", json=slow, headers=mine, timeout=60)) for _ in range(4)
    ]
    await asyncio.sleep(1.0)
    answer = await http.post("/api/v1/sql", json={"query": "select 1 as one"}, headers=others)
    assert answer.json()["rows"] == [[1]]
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
