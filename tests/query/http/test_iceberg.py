"""Clients of Iceberg catalogs find the workspaces' tables at the server, and read in them what our own readers read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchTableError
from tests.query.http.kinds import OWNER, server_of

from runstream_consumers.compaction.iceberg.publisher import Publisher
from runstream_consumers.compaction.role import compact_once
from runstream_consumers.compaction.worker import Worker
from runstream_query.http.app import create_app
from runstream_query.http.context import Server
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

POINTS = "select run_id, name, step, epoch_us(time) as time, value, int_value, text from metrics"
VALUES = [
    (Kind.FLOAT, 0.1),
    (Kind.FLOAT, float("nan")),
    (Kind.INT, 2**53 + 1),
    (Kind.BOOL, True),
    (Kind.TEXT, "ä"),
]


@pytest.fixture
async def published(database: Any) -> Any:
    """Two workspaces with points at rest, as tables."""
    for number, workspace in enumerate(("default", "a.b")):
        experiment = await database.pool.fetchval(
            "insert into experiments (workspace, name) values ($1, 'e 1') returning id", workspace
        )
        key = await database.add_run(f"run-{number}", experiment_id=experiment)
        points = [
            (SeriesKey(SeriesClass.METRIC, f"loss/{place % 2}"), kind, place, place, 10 * place, value)
            for place, (kind, value) in enumerate(VALUES * 20)
        ]
        await database.add_chunk(key, bytes([number + 1]) * 16, points)
    await compact_once(database.pool, database.store, database.settings, now=True)
    worker = Worker()
    await Publisher(database.pool, database.store, database.settings, worker).publish()
    worker.close()
    return database


@pytest.fixture
async def http(published: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        Server(published.pool, published.store, published.settings), token=OWNER, local_only=True
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


def digest(rows: Iterable[Iterable[Any]]) -> str:
    """Of all points, whatever their order."""
    return hashlib.sha256("\n".join(sorted(repr(tuple(row)) for row in rows)).encode()).hexdigest()


def digest_of(table: pa.Table) -> str:
    """Of a table's points."""
    columns = [
        table.column(name).cast(pa.int64()).to_pylist() if name == "time" else table.column(name).to_pylist()
        for name in ("run_id", "name", "step", "time", "value", "int_value", "text")
    ]
    return digest(zip(*columns, strict=True))


async def test_engines_read_the_same_points_as_our_own_readers(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    async with server_of("cluster", published) as (base, token):
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            made = {"name": "reader", "role": "read", "workspace": "a.b"}
            scoped = (await client.post("/api/v1/tokens", json=made)).json()["token"]
            answer = await client.post(
                "/api/v1/sql",
                json={"query": POINTS},
                headers=headers | {"Accept": "application/vnd.apache.arrow.stream"},
            )
        ours = pa.ipc.open_stream(answer.content).read_all()

        def as_engines_do() -> None:
            catalog = load_catalog("runstream", type="rest", uri=f"{base}/iceberg", token=token)
            assert isinstance(catalog, RestCatalog)
            assert set(catalog.list_namespaces()) >= {("default",), ("a.b",)}
            assert catalog.list_tables("default") == [("default", "metrics")]
            assert catalog.table_exists(("default", "metrics"))
            assert not catalog.table_exists(("default", "nothing"))
            assert catalog.namespace_exists("default")
            with pytest.raises(NoSuchTableError, match="RUNSTREAM_ICEBERG_INTERVAL is 0"):
                catalog.load_table(("default", "nothing"))
            tables = [catalog.load_table((*name, "metrics")) for name in (("default",), ("a.b",))]
            read = pa.concat_tables(table.scan().to_arrow() for table in tables)
            lazily = [pl.scan_iceberg(table, reader_override="native").collect() for table in tables]
            assert len(read) == len(ours) == 200
            assert digest_of(ours) == digest_of(read) == digest_of(pl.concat(lazily).to_arrow())
            assert set(read.column("experiment").to_pylist()) == {"e 1"}
            theirs = load_catalog("theirs", type="rest", uri=f"{base}/iceberg", token=scoped)
            assert theirs.list_namespaces() == [("a.b",)]
            assert len(theirs.load_table("a.b.metrics").scan().to_arrow()) == 100
            with pytest.raises(NoSuchTableError, match="there is no namespace 'default'"):
                theirs.load_table("default.metrics")

        await asyncio.to_thread(as_engines_do)


async def test_without_a_token_nothing_is_told(http: httpx.AsyncClient) -> None:
    for path in ("config", "namespaces", "namespaces/default", "namespaces/default/tables/metrics"):
        answer = await http.get(f"/iceberg/v1/{path}", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "NotAuthorizedException"


async def test_nothing_is_written_through_the_catalog(http: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {OWNER}"}
    table = "/iceberg/v1/namespaces/default/tables/metrics"
    for method in ("POST", "PUT", "DELETE"):
        assert (await http.request(method, table, headers=headers)).status_code == 405
    told = (await http.get("/iceberg/v1/config", headers=headers)).json()["endpoints"]
    assert {line.split()[0] for line in told} == {"GET", "HEAD"}


async def test_a_namespace_has_none_below_it(http: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {OWNER}"}
    answer = await http.get("/iceberg/v1/namespaces?parent=default", headers=headers)
    assert answer.json() == {"namespaces": []}


async def test_engines_learn_where_the_object_store_is_and_no_key(published: Any) -> None:
    settings = replace(
        published.settings,
        store_endpoint="http://127.0.0.1:9",
        store_key="key-of-it",
        store_secret="secret-of-it",
    )
    app = create_app(Server(published.pool, published.store, settings), token=OWNER, local_only=True)
    headers = {"Authorization": f"Bearer {OWNER}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answer = await client.get("/iceberg/v1/namespaces/default/tables/metrics", headers=headers)
    assert answer.json()["config"]["s3.endpoint"] == "http://127.0.0.1:9"
    assert "of-it" not in answer.text
