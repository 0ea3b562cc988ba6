"""Pages of a list, and the summaries they show."""

from __future__ import annotations

import math
from typing import Any

from runstream_query.runs.run_filter import RunFilter
from runstream_query.runs.run_order import Order
from runstream_query.runs.runs import list_runs
from runstream_schemas.series import SeriesClass, SeriesKey

KEY = SeriesKey(SeriesClass.METRIC, "m")
SUMMARIES = "select * from summaries order by run_key, series_id"


async def pages(database: Any, order: str, filter_: RunFilter | None = None) -> list[str]:
    """All pages of a list, put together."""
    listed: list[str] = []
    after: str | None = None
    while True:
        async with database.pool.acquire() as connection:
            page = await list_runs(connection, filter_, order=Order.parse(order), limit=9, after=after)
        listed += [run.run_id for run in page.runs]
        after = page.next
        if after is None:
            return listed


VALUES = [0.0, 0.5, 1.0, 1.0, 1.0, 2.5, -3.0, 1e300, math.inf, -math.inf, math.nan]
