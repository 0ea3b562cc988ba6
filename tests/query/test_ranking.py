"""Lists sorted by a metric: the same whether a run's statistics were copied into the index or not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from tests.seeds import new_random

from runstream_consumers.compaction.ranking import rank_runs
from runstream_consumers.storing.queries import UNRANK
from runstream_query.runs.run_filter import MetricFilter, Order, RunFilter, page_sql
from runstream_query.runs.runs import list_runs
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .conftest import utc

SOURCE = b"s" * 16
KEY = SeriesKey(SeriesClass.METRIC, "m")


async def pages(database: Any, order: str, wanted: RunFilter | None = None) -> list[str]:
    """All pages of a list, put together."""
    found: list[str] = []
    after: str | None = None
    while True:
        async with database.pool.acquire() as connection:
            page = await list_runs(connection, wanted, order=Order.parse(order), limit=9, after=after)
        found += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            return found


@pytest.mark.parametrize("stat", ["last", "min", "max", "mean"])
async def test_ranked_or_not_the_order_is_the_same(database: Any, stat: str) -> None:
    chance = new_random(3)
    for n in range(50):
        settled = chance.random() < 0.7
        key = await database.add_run(
            f"r{n}", chance.choice(["one", "two"]), settled_at=utc(5) if settled else None,
            archived_at=utc(9) if chance.random() < 0.1 else None,
        )  # fmt: skip
        if chance.random() < 0.8:
            values = {name: chance.choice([1.0, 2.0, 3.5, -math.inf]) for name in ("min", "max", "sum")}
            await database.add_summary(key, "m", last=chance.choice([math.nan, 1.0, math.inf]), **values)
        if chance.random() < 0.2:
            await database.add_chunk(key, n.to_bytes(16, "big"), [(KEY, Kind.FLOAT, 0, 0, 0, 1.0)])
    wanted = [RunFilter(), RunFilter(experiment="one"), RunFilter(status=["Completed"], archived=None)]
    wanted.append(RunFilter(metrics=[MetricFilter("m", "max", ">", 1.5)]))
    asked = [(order, one) for order in (f"metric:m:{stat}", f"-metric:m:{stat}") for one in wanted]
    before = [await pages(database, *one) for one in asked]
    assert await rank_runs(database.pool) > 10
    assert await database.pool.fetchval("select count(*) from settled_metrics") > 10
    assert [await pages(database, *one) for one in asked] == before
    assert await rank_runs(database.pool) == 0


async def test_late_points_of_a_ranked_run_count_at_once_and_after_compaction(database: Any) -> None:
    for name, value in (("low", 1.0), ("high", 2.0)):
        await database.add_summary(
            await database.add_run(name, settled_at=utc(5)), "m", min=value, last=value
        )
    await rank_runs(database.pool)
    assert await pages(database, "metric:m:min") == ["low", "high"]
    high = await database.pool.fetchval("select key from runs where run_id = 'high'")
    # As the writer does, in one transaction.
    await database.add_chunk(high, SOURCE, [(KEY, Kind.FLOAT, 0, 0, 0, 0.5)])
    await database.pool.execute("update summaries set min = 0.5, last = 0.5 where run_key = $1", high)
    await database.pool.execute(UNRANK, [high])
    assert await pages(database, "metric:m:min") == ["high", "low"]
    await database.compact()
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await rank_runs(database.pool) == 1
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await database.pool.fetchval("select min from settled_metrics where run_key = $1", high) == 0.5


async def test_settled_runs_are_ranked_before_they_are_compacted_and_stay_so(database: Any) -> None:
    for n in range(5):
        key = await database.add_run(f"r{n}", settled_at=utc(5))
        await database.add_chunk(key, n.to_bytes(16, "big"), [(KEY, Kind.FLOAT, 0, 0, 0, 9.0 - n)])
        await database.add_summary(
            key, "m", count=1, finite=1, min=9.0 - n, max=9.0 - n, first=9.0 - n, last=9.0 - n, sum=9.0 - n,
            first_time=0, last_step=0, last_time=0, first_position=0, last_position=0,
        )  # fmt: skip
    assert await rank_runs(database.pool) == 5
    assert await pages(database, "metric:m:min") == ["r4", "r3", "r2", "r1", "r0"]
    await database.compact()
    assert await database.pool.fetchval("select count(*) from runs where ranked") == 5
    assert await pages(database, "metric:m:min") == ["r4", "r3", "r2", "r1", "r0"]


async def test_a_run_is_not_ranked_by_what_a_writer_is_about_to_change(database: Any) -> None:
    """Whoever comes second waits: the rank is that of the summary that was stored, in either order."""
    key = await database.add_run("r", settled_at=utc(5))
    await database.add_summary(key, "m", min=2.0, last=2.0)
    async with database.pool.acquire() as writer, writer.transaction():
        await writer.execute("update summaries set min = 1.0 where run_key = $1", key)
        await writer.execute(UNRANK, [key])
        assert await rank_runs(database.pool) == 0
    assert await rank_runs(database.pool) == 1
    assert await database.pool.fetchval("select min from settled_metrics where run_key = $1", key) == 1.0


async def test_a_list_by_a_metric_looks_at_as_many_runs_as_it_shows(database: Any) -> None:
    """Of a thousand settled runs, all of them in the hot tier: a page of nine reads no summary of the others."""
    await database.pool.execute(
        "insert into runs (run_id, status, settled_at) "
        "select 'run ' || n, 'Completed', now() from generate_series(1, 1000) n"
    )
    await database.pool.execute("insert into series (cls, name) values (0, 'm')")
    await database.pool.execute(
        "insert into summaries (run_key, series_id, kind, count, finite, min, last, last_time) "
        "select r.key, s.id, 0, 1, 1, r.key, r.key, 0 from runs r, series s"
    )
    await database.pool.execute(
        "insert into chunks (run_key, source_key, first, count, points, payload) select key, key, 0, 1, 1, '' from runs"
    )
    await rank_runs(database.pool)
    await database.pool.execute("analyze")
    text, arguments = page_sql(RunFilter(archived=None), Order.parse("metric:m:min"), True, None, 9)
    async with database.pool.acquire() as connection:
        (row,) = await connection.fetchrow("explain (analyze, format json) " + text, *arguments)
    waiting, rows = [json.loads(row)[0]["Plan"]], 0
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Scan" in node["Node Type"] and node.get("Relation Name") in (
            "summaries",
            "chunks",
            "settled_metrics",
            "runs",
        ):
            rows += node["Actual Rows"] * node["Actual Loops"]
    assert rows < 50
