"""Lists of runs: filters, orders and pages."""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Any

import pytest
from msgspec import to_builtins
from tests.query.conftest import utc
from tests.seeds import new_random

from runstream_query.runs.run_filter import ANY, LabelFilter, MetricFilter, RunFilter
from runstream_query.runs.run_order import Order
from runstream_query.runs.runs import count_runs, descendants, get_run, list_runs
from runstream_query.runs.search import search
from runstream_schemas.errors import QueryError
from runstream_schemas.runs.params import as_stored


async def names(
    database: Any, filter_: RunFilter | None = None, order: str = "run_id", **options: Any
) -> list[str]:
    async with database.pool.acquire() as connection:
        page = await list_runs(connection, filter_, order=Order.parse(order), **options)
    return [run.run_id for run in page.runs]


async def label(
    database: Any, table: str, run: int, key: str, value: str | None, removed: bool = False
) -> None:
    more = ", removed" if table == "tags" else ""
    await database.pool.execute(
        f"insert into {table} (run_key, key, value, time_us, source, seq{more}) values ($1, $2, $3, 0, $4, 0"
        + (f", {removed})" if more else ")"),
        run,
        key,
        value,
        uuid.uuid4(),
    )


@pytest.fixture
async def filled(database: Any) -> Any:
    a = await database.add_run("a", "one", status="Running", type="train", start_time=utc(10), target="gpu")
    b = await database.add_run(
        "b", "one", status="Failed", parent_run_id="a", root_run_id="a", start_time=utc(20)
    )
    c = await database.add_run(
        "c", "two", parent_run_id="b", root_run_id="a", start_time=utc(30), end_time=utc(31)
    )
    d = await database.add_run("d", "two", archived_at=utc(99))
    await database.pool.execute("insert into runs (run_id) values ('e')")  # only a metric of it has arrived
    await label(database, "tags", a, "q", "high")
    await label(database, "tags", b, "q", None)
    await label(database, "tags", c, "q", "high", removed=True)
    await label(database, "tags", c, "other", "=x")
    await label(database, "properties", a, "author", "me")
    for run, values in (
        (a, {"fast": "true", "lr": "10.5", "seed": "9007199254740993"}),
        (b, {"lr": "0.1", "epochs": "3", "net": '"10.5"', "nan": "NaN", "none": "null"}),
        (c, {"lr": "0.002", "net": '"deep"', "inf": "Infinity", "l": "[1,2]"}),
    ):
        for name, value in values.items():
            await database.pool.execute(
                "insert into params (run_key, name, kind, text, number, origin, time_us, source, seq) "
                "values ($1, $2, $3, $4, $5, 2, 0, $6, 0)",
                run,
                name,
                *as_stored(value),
                uuid.uuid4(),
            )
    for run, low, last in ((a, 0.5, 3.0), (b, 0.1, math.nan), (c, 0.9, 1.0), (d, 0.0, 0.0)):
        await database.add_summary(
            run, "val/loss:x", min=low, last=last, sum=2.0, finite=4, max=5.0, first=1.0
        )
    await database.pool.execute(
        "insert into gaps (run_key, first, next, reason) values ($1, 0, 5, 'sequence')", a
    )
    return database


@pytest.mark.parametrize(
    ("conditions", "passing"),
    [
        ({}, "abce"),
        ({"archived": None}, "abcde"),
        ({"archived": True}, "d"),
        ({"workspace": "default"}, "abc"),
        ({"workspace": "none"}, ""),
        ({"experiment": "one"}, "ab"),
        ({"experiment": "one", "workspace": "default"}, "ab"),
        ({"status": ["Running"]}, "a"),
        ({"status": ["Running", "Failed"]}, "ab"),
        ({"type": "train"}, "a"),
        ({"target": "gpu"}, "a"),
        ({"parent": "a"}, "b"),
        ({"parent": "none"}, "ae"),
        ({"ancestor": "a"}, "bc"),
        ({"run_ids": ["c", "zz"]}, "c"),
        ({"tags": [("q", ANY)]}, "ab"),
        ({"tags": [("q", "high")]}, "a"),
        ({"tags": [("q", None)]}, "b"),
        ({"tags": [("other", "=x")]}, "c"),
        ({"tags": [("q", ANY), ("other", ANY)]}, ""),
        ({"properties": [("author", "me")]}, "a"),
        ({"started_from": utc(20)}, "bc"),
        ({"started_from": utc(10), "started_to": utc(20)}, "a"),
        ({"metrics": [MetricFilter("val/loss:x", "min", "<", 0.6)]}, "ab"),
        ({"metrics": [MetricFilter("val/loss:x", "last", ">=", 0)]}, "ac"),
        (
            {
                "metrics": [
                    MetricFilter("val/loss:x", "mean", "=", 0.5),
                    MetricFilter("val/loss:x", "min", "!=", 0.5),
                ]
            },
            "bc",
        ),
        ({"metrics": [MetricFilter("none", "min", "<", 1)]}, ""),
        ({"labels": [LabelFilter("tag", "q", "=", "high")]}, "a"),
        ({"labels": [LabelFilter("tag", "q", "<", 5.0)]}, ""),
        ({"labels": [LabelFilter("param", "lr", "<", 0.5)]}, "bc"),
        ({"labels": [LabelFilter("param", "lr", ">=", 0.5)]}, "a"),
        ({"labels": [LabelFilter("param", "fast", "=", "yes")]}, "a"),
        ({"labels": [LabelFilter("param", "epochs", "", ANY)]}, "b"),
        ({"labels": [LabelFilter("param", "none", "", ANY)]}, "b"),
        ({"labels": [LabelFilter("param", "fast", "=", "True")]}, "a"),
        ({"labels": [LabelFilter("param", "fast", "!=", "no")]}, "a"),
        ({"labels": [LabelFilter("param", "lr", "=", "1e-1")]}, "b"),
        ({"labels": [LabelFilter("param", "lr", "!=", "1e-1")]}, "ac"),
        ({"labels": [LabelFilter("param", "net", "=", "deep")]}, "c"),
        ({"labels": [LabelFilter("param", "net", ">", 10.0)]}, "b"),  # a text that is a number counts as one
        ({"labels": [LabelFilter("param", "nan", "<", 1.0)]}, ""),
        ({"labels": [LabelFilter("param", "nan", "=", "NaN")]}, "b"),
        ({"labels": [LabelFilter("param", "inf", ">", 1.0)]}, "c"),
        ({"labels": [LabelFilter("param", "l", "=", "[1,2]")]}, "c"),
        ({"labels": [LabelFilter("param", "seed", "=", "9007199254740993")]}, "a"),
        ({"without": [RunFilter(labels=[LabelFilter("param", "lr", "<", 0.5)], archived=None)]}, "ae"),
        ({"without": [RunFilter(tags=[("q", ANY)], archived=None)]}, "ce"),
        ({"without": [RunFilter(type="train", archived=None), RunFilter(parent="none")]}, "bc"),
    ],
)
async def test_filters(filled: Any, conditions: dict[str, Any], passing: str) -> None:
    assert "".join(await names(filled, RunFilter(**conditions))) == passing
    async with filled.pool.acquire() as connection:
        assert sum((await count_runs(connection, RunFilter(**conditions))).values()) == len(passing)


@pytest.mark.parametrize(
    ("order", "passing"),
    [
        ("-start_time", "cbae"),
        ("start_time", "abce"),
        ("metric:val/loss:x:min", "bace"),
        ("-metric:val/loss:x:min", "cabe"),
        ("metric:val/loss:x:last", "cabe"),  # NaN, and nothing, come last
        ("-metric:val/loss:x:mean", "cbae"),
        ("-created", "ecba"),
        ("experiment", "abce"),
        ("duration", "cabe"),
        ("param:lr", "cbae"),  # 2e-3, 0.1, 10.5: by the number
        ("-param:lr", "abce"),
        ("param:net", "bcae"),  # numbers before texts
        ("param:inf", "cabe"),
        ("-param:nan", "beca"),
        ("tag:q", "abce"),
        ("property:author", "abce"),
    ],
)
async def test_orders(filled: Any, order: str, passing: str) -> None:
    assert "".join(await names(filled, None, order)) == passing


@pytest.mark.parametrize("order", ["colour", "metric:loss", "metric::min", "metric:loss:median", "-"])
def test_unknown_orders(order: str) -> None:
    with pytest.raises(QueryError, match="order="):
        Order.parse(order)


async def test_a_record(filled: Any) -> None:
    async with filled.pool.acquire() as connection:
        run = await get_run(connection, "a", summaries=True)
        assert run is not None
        record = to_builtins(run.record())
        assert await get_run(connection, "zz") is None
        assert await descendants(connection, "a") == ["c", "b"]
        assert await descendants(connection, "a", type="train") == []
    assert record["tags"] == {"q": "high"}
    assert record["properties"] == {"author": "me"}
    assert record["start_time_utc"] == "1970-01-01T00:00:10Z"
    assert record["gaps"] == 1
    assert record["settled"] is False
    assert record["summaries"]["val/loss:x"]["mean"] == 0.5


@pytest.mark.parametrize(
    "order",
    ["-start_time", "start_time", "-metric:m:min", "metric:m:last", "-created", "status", "name", "-tag:k"],
)
async def test_paging_visits_every_run_exactly_once_while_runs_are_created(database: Any, order: str) -> None:
    chance = new_random(7)
    there = []
    for n in range(60):
        started = utc(chance.randrange(10)) if chance.random() < 0.8 else None
        run = await database.add_run(f"r{n}", start_time=started, name=chance.choice(["x", "y", None]))
        if chance.random() < 0.7:
            await database.add_summary(
                run,
                "m",
                min=chance.choice([1.0, 2.0, math.inf, -math.inf]),
                last=chance.choice([math.nan, 1.0]),
            )
            await label(database, "tags", run, "k", chance.choice(["2", "10", "1e1", "ten", None]))
        there.append(f"r{n}")
    seen: list[str] = []
    after: str | None = None
    new = 0
    while True:
        async with database.pool.acquire() as connection:
            page = await list_runs(connection, order=Order.parse(order), limit=7, after=after)
        seen += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            break
        for _ in range(3):
            await database.add_run(f"new{new}", start_time=utc(chance.randrange(10)), name="x")
            new += 1
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


async def test_a_cursor_belongs_to_its_order(filled: Any) -> None:
    async with filled.pool.acquire() as connection:
        page = await list_runs(connection, limit=1)
        assert page.next
        with pytest.raises(QueryError, match="start again"):
            await list_runs(connection, limit=1, after=page.next, order=Order.parse("status"))
        for nonsense in ("x", "AAAA", page.next[:-6]):
            with pytest.raises(QueryError, match="cursor"):
                await list_runs(connection, limit=1, after=nonsense)
        for limit in (0, 1001):
            with pytest.raises(QueryError, match="limit"):
                await list_runs(connection, limit=limit)


async def test_what_is_not_finite_passes_no_comparison(database: Any) -> None:
    for run_id, last in (("low", -math.inf), ("high", math.inf), ("none", math.nan), ("one", 1.0)):
        await database.add_summary(await database.add_run(run_id), "loss", last=last)
    for operator in ("<", "<=", ">", ">=", "!=", "="):
        value = 1.0 if "=" in operator and operator != "!=" else 2.0 if operator in ("<", "!=") else 0.0
        filter_ = RunFilter(metrics=[MetricFilter("loss", "last", operator, value)])
        assert await names(database, filter_) == ["one"], operator
    assert await names(database, RunFilter(metrics=[MetricFilter("loss", "last", "<", math.inf)])) == ["one"]
    assert await names(database, search("-loss<5")) == ["high", "low", "none"]


async def test_a_status_there_is_not_is_refused(filled: Any) -> None:
    with pytest.raises(QueryError, match="use one of NotStarted, Queued"):
        await names(filled, RunFilter(status=["Odd"]))


async def test_readers_do_not_wait_for_writers(filled: Any) -> None:
    async with filled.pool.acquire() as writer:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("update runs set status = 'Canceled'")
        assert await asyncio.wait_for(names(filled, RunFilter(status=["Running"])), 5) == ["a"]
        await transaction.rollback()
