"""Lists sorted by a metric: the same whether a run's statistics were copied into the index or not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.seeds import new_random

from runstream_consumers.compaction.ranking import rank_runs
from runstream_query.runs.run_filter import MetricFilter, Order, RunFilter
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
    # As the writer does: the points and the summary in one transaction, nothing else.
    await database.add_chunk(high, SOURCE, [(KEY, Kind.FLOAT, 0, 0, 0, 0.5)])
    await database.pool.execute("update summaries set min = 0.5, last = 0.5 where run_key = $1", high)
    assert await pages(database, "metric:m:min") == ["high", "low"]
    await database.compact()
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await rank_runs(database.pool) == 1
    assert await pages(database, "metric:m:min") == ["high", "low"]
    assert await database.pool.fetchval("select min from settled_metrics where run_key = $1", high) == 0.5
