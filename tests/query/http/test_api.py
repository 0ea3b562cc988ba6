"""The HTTP API, over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from runstream_query.http.app import run_server
from runstream_query.http.endpoints.live import open_pages
from runstream_query.http.failures import error_answer
from runstream_query.http.responses import ARROW
from runstream_schemas.errors import ServiceError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

LOSS = SeriesKey(SeriesClass.METRIC, "loss")
SOURCE = b"s" * 16


@asynccontextmanager
async def serving(database: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_server(database.settings, stop, on_ready=ready.set_result, **options))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    if task.done():
        task.result()
    token = options.get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(base_url=await ready, headers=headers, timeout=20) as client:
            yield client
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def http(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(database) as client:
        yield client


async def test_health_and_counters(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path)
        assert (answer.status_code, answer.text) == (200, "ok")
    text = (await http.get("/metrics")).text
    assert 'runstream_http_requests_total{method="GET",route="/readyz",status="200"} 1' in text


async def test_a_run_and_what_is_asked_of_it(http: httpx.AsyncClient, database: Any) -> None:
    missing = await http.get("/api/v1/runs/nobody")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["status"] == 404
    key = await database.add_run("r1", type="train")
    await database.add_summary(key, "loss", min=0.5, last=float("inf"))
    record = (await http.get("/api/v1/runs/r1", params={"summaries": "1"})).json()
    assert record["run_id"] == "r1"
    assert record["experiment"] == "e"
    assert record["tags"] == {}
    assert record["summaries"]["loss"]["min"] == 0.5
    assert record["summaries"]["loss"]["last"] == "Infinity"
    listed = (await http.get("/api/v1/runs", params={"experiment": "e", "count": "1"})).json()
    assert [run["run_id"] for run in listed["runs"]] == ["r1"]
    assert listed["next"] is None
    assert listed["count"] == {"Completed": 1}


@pytest.mark.parametrize(
    "query",
    ["order=colour", "limit=0", "limit=many", "after=nonsense", "metric=loss", "started_from=yesterday"],
)
async def test_a_wrong_parameter_is_named(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/api/v1/runs?{query}")
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.json()["detail"]


async def test_metrics_as_msgpack(http: httpx.AsyncClient, database: Any) -> None:
    parent, child = await database.add_run("p"), await database.add_run("c", parent_run_id="p")
    rows = [(LOSS, Kind.FLOAT, i, i, 10 + i, i / 2) for i in range(3)]
    await database.add_chunk(parent, SOURCE, [*rows, (SeriesKey(0, "ok"), Kind.BOOL, 3, 0, 20, True)])
    await database.add_chunk(child, b"c" * 16, [(LOSS, Kind.INT, 0, 0, 1, 7)])
    answer = await http.get("/api/v1/metrics", params={"run": "p", "recursive": "1"})
    document = msgpack.unpackb(answer.content)
    assert [run["run_id"] for run in document["runs"]] == ["c", "p"]
    loss, ok = document["runs"][1]["series"]
    assert np.frombuffer(loss["values"], "<f8").tolist() == [0.0, 0.5, 1.0]
    assert np.frombuffer(loss["steps"], "<i8").tolist() == [0, 1, 2]
    assert (ok["name"], ok["kind"], ok["values"]) == ("ok", 2, [True])
    assert (await http.get("/api/v1/metrics")).status_code == 400


async def test_series_is_downsampled(http: httpx.AsyncClient, database: Any) -> None:
    run = await database.add_run("r")
    rows = [(LOSS, Kind.FLOAT, i, i, i, 99.0 if i == 777 else 0.0) for i in range(5000)]
    await database.add_chunk(run, SOURCE, rows)
    document = (await http.get("/api/v1/series?run=r&name=loss&width=20")).json()
    assert document["points"] == 5000
    assert 777 in document["steps"]
    assert len(document["steps"]) <= 80
    arrow = await http.get("/api/v1/series?run=r&name=loss&width=20", headers={"Accept": ARROW})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table.column("step").to_pylist() == document["steps"]
    assert (await http.get("/api/v1/series?run=r&name=none")).status_code == 404
    assert (await http.get("/api/v1/series?run=r&name=loss&width=0")).status_code == 400


async def test_many_series_over_time_as_arrow_and_json(http: httpx.AsyncClient, database: Any) -> None:
    for number, name in enumerate(("a", "b")):
        run = await database.add_run(name)
        rows = [
            (LOSS, Kind.FLOAT, i, i, 1_000_000 * i, float("nan") if i == 70 else float(i)) for i in range(100)
        ]
        await database.add_chunk(run, bytes([number + 1]) * 16, rows)
        await database.add_summary(run, "loss", count=100)
    query = "/api/v1/charts?run=a&run=b&name=loss&width=16"
    answer = await http.get(query + "&x=time&from=50000000&to=60000000", headers={"Accept": ARROW})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert set(table.column("run_id").to_pylist()) == {"a", "b"}
    times = [time.timestamp() for time in table.column("x").to_pylist()]
    assert min(times) >= 49
    assert max(times) <= 61
    assert json.loads(table.schema.metadata[b"charts"])[0]["name"] == "loss"
    answer = await http.get(query, headers={"Accept": "application/json"})
    [chart] = answer.json()["charts"]
    assert [line["run_id"] for line in chart["lines"]] == ["a", "b"]
    for line in chart["lines"]:
        assert line["points"] == 100
        assert (line["low"][0], line["last"][-1], max(line["marks"])) == (0.0, 99.0, 1)
        assert len(line["x"]) == len(line["last"]) <= 17
    assert (await http.get(query)).headers["content-type"] == "application/vnd.runstream.chart"


async def test_points_that_did_not_change_are_not_sent_again(http: httpx.AsyncClient, database: Any) -> None:
    key = await database.add_run("r")
    await database.source_key(key, SOURCE, next=2)
    rows = [(LOSS, Kind.FLOAT, n, n, n, float(n)) for n in range(2)]
    await database.add_chunk(key, SOURCE, rows)
    await database.add_summary(key, "loss", count=2)
    paths = (
        "/api/v1/metrics?run=r",
        "/api/v1/series?run=r&name=loss",
        "/api/v1/charts?run=r&name=loss",
        "/api/v1/runs/r/values?name=loss",
    )
    tags = {path: (await http.get(path)).headers["etag"] for path in paths}
    assert len(set(tags.values())) == len(paths)
    await database.compact()  # the same points in the other tier
    for path, tag in tags.items():
        again = await http.get(path, headers={"If-None-Match": f'"x", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await http.get(path + "&wait=", headers={"If-None-Match": tag})).status_code == 304
        assert (await http.get(path + "&width=3", headers={"If-None-Match": tag})).status_code == 200
        assert (await http.get(path)).content
    await database.pool.execute("update sources set next = 3")  # as the writer does with every batch
    for path, tag in tags.items():
        assert (await http.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_one_series_over_another_and_tails(http: httpx.AsyncClient, database: Any) -> None:
    key = await database.add_run("r")
    epoch = SeriesKey(SeriesClass.METRIC, "epoch")
    loss = SeriesKey(SeriesClass.METRIC, "loss")
    rows = [(loss, Kind.FLOAT, n, n, 100 + n, float(n)) for n in range(4)]
    await database.add_chunk(key, SOURCE, [*rows, (epoch, Kind.INT, 4, 2, 104, 7)])
    answer = await http.get("/api/v1/series?run=r&name=loss&x=epoch")
    assert answer.json()["x"] == ["NaN", "NaN", 7, 7]
    assert "x" not in (await http.get("/api/v1/series?run=r&name=loss")).json()

    async def tail(query: str) -> dict[str, int]:
        runs = msgpack.unpackb((await http.get(f"/api/v1/metrics?run=r&{query}")).content)["runs"]
        return {series["name"]: len(series["steps"]) // 8 for run in runs for series in run["series"]}

    assert await tail("from_step=2") == {"loss": 2, "epoch": 1}
    assert await tail("from_time=103") == {"loss": 1, "epoch": 1}
    assert await tail("from_time=105") == {}


async def test_sql_as_json_and_arrow(http: httpx.AsyncClient, database: Any) -> None:
    run = await database.add_run("r")
    await database.add_chunk(run, SOURCE, [(LOSS, Kind.FLOAT, i, i, i, float(i)) for i in range(4)])
    query = {"query": "SELECT run_id, sum(value) AS total FROM metrics GROUP BY 1"}
    document = (await http.post("/api/v1/sql", json=query)).json()
    assert [column["name"] for column in document["columns"]] == ["run_id", "total"]
    assert document["rows"] == [["r", 6.0]]
    arrow = await http.post("/api/v1/sql", json=query, headers={"Accept": ARROW})
    assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == [{"run_id": "r", "total": 6.0}]
    assert (await http.post("/api/v1/sql", json={"query": "DROP VIEW metrics"})).status_code == 400
    assert (await http.post("/api/v1/sql", json={"quarry": ""})).status_code == 400
    assert (await http.post("/api/v1/sql", content=json.dumps(query))).status_code == 415


async def test_files_up_and_down(http: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * 20_000
    url = "/api/v1/runs/r/files/models/a b/ü.bin"
    first = await http.put(url, content=data)
    assert first.status_code == 201
    assert first.json() == {
        "path": "models/a b/ü.bin",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert (await http.put(url, content=data)).status_code == 200
    assert (await http.put(url, content=b"other")).status_code == 409
    assert (await http.put("/api/v1/runs/r/files/models", content=b"a folder")).status_code == 409
    assert [file["path"] for file in (await http.get("/api/v1/runs/r/files")).json()["files"]] == [
        "models/a b/ü.bin"
    ]
    assert (await http.get(url)).content == data
    part = await http.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    tail = await http.get(url, headers={"Range": "bytes=-5"})
    assert tail.content == data[-5:]
    assert (await http.get(url, headers={"Range": f"bytes={len(data)}-"})).status_code == 416
    assert (await http.get(url, headers={"If-None-Match": part.headers["etag"]})).status_code == 304
    assert (await http.head(url)).headers["content-length"] == str(len(data))
    assert (await http.get("/api/v1/runs/r/files/none")).status_code == 404
    assert (await http.put("/api/v1/runs/r/files/empty", content=b"")).status_code == 201
    assert (await http.get("/api/v1/runs/r/files/empty")).content == b""


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "a%2f..%2fb", "a%00b", ".part-x", "x" * 300])
async def test_a_file_cannot_leave_its_run(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.put(f"/api/v1/runs/r/files/{path}", content=b"x")).status_code == 400


async def test_two_uploads_of_one_name_at_once_leave_one_of_them_whole(http: httpx.AsyncClient) -> None:
    contents = [bytes([n]) * 3_000_000 for n in range(4)]
    answers = await asyncio.gather(*(http.put("/api/v1/runs/r/files/f", content=data) for data in contents))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    winner = next(i for i, answer in enumerate(answers) if answer.status_code == 201)
    assert (await http.get("/api/v1/runs/r/files/f")).content == contents[winner]


async def test_an_upload_that_breaks_off_leaves_nothing(http: httpx.AsyncClient, database: Any) -> None:
    host, port = http.base_url.host, http.base_url.port
    _, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"PUT /api/v1/runs/r/files/f HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n\r\n".encode()
        + b"x" * 5_000_000
    )
    await writer.drain()
    writer.close()
    for _ in range(200):
        await asyncio.sleep(0.02)
        if 'status="499"} 1' in (await http.get("/metrics")).text:
            break
    assert (await http.get("/api/v1/runs/r/files")).json() == {"files": []}
    assert list(database.store.list("artifacts")) == []


async def test_experiments(http: httpx.AsyncClient) -> None:
    made = await http.put("/api/v1/experiments/a%20b?workspace=w")
    assert made.status_code == 200
    assert (await http.put("/api/v1/experiments/a%20b?workspace=w")).json()["id"] == made.json()["id"]
    listed = (await http.get("/api/v1/experiments?workspace=w")).json()["experiments"]
    assert [(experiment["name"], experiment["runs"]) for experiment in listed] == [("a b", 0)]
    assert (await http.get("/api/v1/experiments?workspace=other")).json() == {"experiments": []}


async def test_a_read_waits_for_the_callers_writes(http: httpx.AsyncClient, database: Any) -> None:
    run = await database.add_run("r")
    key = await database.source_key(run, SOURCE)

    async def store_later() -> None:
        await asyncio.sleep(0.2)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("update sources set next = 10 where key = $1", key)
            await connection.execute("select pg_notify('runstream', '{}')")

    later = asyncio.create_task(store_later())
    answer = await http.get(f"/api/v1/runs/r?wait={SOURCE.hex()}:10&timeout=10")
    assert later.done()
    assert "x-runstream-stale" not in answer.headers
    stale = await http.get(f"/api/v1/runs/r?wait={SOURCE.hex()}:10,{SOURCE.hex()}.tags:1&timeout=0.2")
    assert (stale.status_code, stale.headers["x-runstream-stale"]) == (200, "1")
    assert (await http.get("/api/v1/runs/r?wait=nonsense:1")).status_code == 400


async def test_events_are_pushed(http: httpx.AsyncClient, database: Any) -> None:
    async with http.stream("GET", "/api/v1/events") as stream:
        lines = stream.aiter_lines()
        assert await _event(lines) == ("hello", {})
        assert open_pages() == 1
        reading = asyncio.ensure_future(_event(lines))
        for _ in range(100):  # the listening connection may still be opening
            await database.pool.execute(
                """select pg_notify('runstream', '{"topic": "metrics", "runs": ["r"]}')"""
            )
            done, _ = await asyncio.wait({reading}, timeout=0.5)
            if done:
                break
        assert await reading == ("change", {"metrics": ["r"]})


async def _event(lines: AsyncIterator[str]) -> tuple[str, Any]:
    """The next event of a stream: its name and data."""
    name = ""
    async for line in lines:
        key, _, value = line.partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            return name, json.loads(value)
    raise AssertionError("the stream ended")


async def test_the_token_is_asked_for(database: Any) -> None:
    async with serving(database, token="the-secret-token-of-it") as client:
        assert (await client.get("/api/v1/runs")).status_code == 200
        for headers in (
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic the-secret-token-of-it"},
            {"Authorization": ""},
        ):
            answer = await client.get("/api/v1/runs", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/healthz", headers={"Authorization": ""})).status_code == 200


async def test_another_host_name_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/v1/runs", headers={"Host": "evil.example:80"})).status_code == 403
    assert (await http.get("/api/v1/runs", headers={"Host": "localhost:1"})).status_code == 200


async def test_a_taken_port_is_named(database: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"127.0.0.1:{port}.*RUNSTREAM_PORT"):
            await run_server(replace(database.settings, port=port), asyncio.Event())


async def test_large_answers_are_compressed(http: httpx.AsyncClient, database: Any) -> None:
    run = await database.add_run("r")
    await database.add_chunk(run, SOURCE, [(LOSS, Kind.FLOAT, i, i, i, 0.0) for i in range(4000)])
    for name in ("gzip", "zstd", "identity"):
        async with http.stream("GET", "/api/v1/metrics?run=r", headers={"Accept-Encoding": name}) as answer:
            assert answer.headers.get("content-encoding", "identity") == name
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert (len(raw) < 50_000) == (name != "identity")


async def test_unknown_paths_and_methods(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/v1/nothing")).json()["status"] == 404
    assert (await http.delete("/api/v1/runs")).json()["status"] == 405


@pytest.mark.parametrize(
    "error",
    [MemoryError(), asyncpg.OutOfMemoryError("out of memory"), RuntimeError("can't start new thread")],
    ids=lambda error: type(error).__name__,
)
def test_a_server_without_memory_says_so_and_is_asked_again(error: Exception) -> None:
    answer = error_answer("GET /api/v1/export/points", error)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert b"no memory left" in answer.body


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        OSError("no route"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_went_away_is_named_and_asked_again(error: Exception) -> None:
    answer = error_answer("GET /api/v1/runs", error)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert b"the database is away" in answer.body
