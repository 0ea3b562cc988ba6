"""Times outside the years 1 to 9999, stored by an earlier version: no list, export, SQL or compaction fails by them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from runstream_consumers.compaction.runs_file import write_runs
from runstream_consumers.compaction.worker import Worker
from runstream_query.charts.charts import Charts
from runstream_query.http.responses import python_values
from runstream_query.points import exports
from runstream_query.points.export_formats import FORMATS, encode
from runstream_query.runs.run_filter import RunFilter
from runstream_query.runs.run_order import Order
from runstream_query.runs.runs import list_runs
from runstream_query.sql.sql import run_sql
from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.times import shown_times

pytestmark = pytest.mark.attack

LOSS = SeriesKey(SeriesClass.METRIC, "loss")
NOTE = SeriesKey(SeriesClass.METRIC, "note")
FAR = (-(2**62), 2**62, -(2**63), 2**63 - 1, 5)
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
async def strange(database: Any) -> Any:
    """A run of our time, and two of others, with points of all times."""
    for n, (run_id, started) in enumerate(
        [
            ("now", "2026-01-02"),
            ("late", "294000-01-01"),
            ("later", "294001-01-01"),
            ("early", "4000-01-01 BC"),
        ]
    ):
        key = await database.add_run(run_id)
        await database.pool.execute(
            f"update runs set created_at = '{started}', start_time = '{started}', end_time = '{started}', "
            f"last_seen = '{started}', settled_at = now() where key = $1",
            key,
        )
        rows = [(LOSS, Kind.FLOAT, i, i, time, float(i)) for i, time in enumerate(FAR)]
        rows += [(NOTE, Kind.TEXT, 5, 0, 2**62, "text")]
        await database.add_chunk(key, bytes([n]) * 16, rows)
        await database.add_summary(key, "loss", count=5, first_time=FAR[0], last_time=2**62)
    return database


async def pages(database: Any, order: str) -> list[Any]:
    runs, after = [], None
    while True:
        async with database.pool.acquire() as connection:
            page = await list_runs(connection, order=Order.parse(order), limit=1, after=after, summaries=True)
        runs += page.runs
        after = page.next
        if after is None:
            return runs
        assert len(runs) < 9, "the same again and again"


@pytest.mark.parametrize("order", ["start_time", "created", "end_time"])
async def test_lists_show_the_nearest_time_and_every_run_once(strange: Any, order: str) -> None:
    runs = await pages(strange, order)
    assert [run.run_id for run in runs] == ["early", "now", "late", "later"]
    assert [run.run_id for run in await pages(strange, "-" + order)] == ["later", "late", "now", "early"]
    assert [run.start_time for run in runs] == [FIRST, datetime(2026, 1, 2, tzinfo=UTC), LAST, LAST]
    for run in runs:
        assert run.record().created_utc == run.record().last_seen_utc
        assert run.summaries["loss"].last_time == TIME_MAX_US
    async with strange.pool.acquire() as connection:
        assert [
            run.run_id for run in (await list_runs(connection, RunFilter(shorter=1, longer=-1))).runs
        ] == ["later", "late", "now", "early"]


@pytest.mark.parametrize("compacted", [False, True])
async def test_points_are_read_charted_exported_and_asked_for(strange: Any, compacted: bool) -> None:
    if compacted:
        await strange.compact()
        assert not await strange.pool.fetchval("select count(*) from chunks")
    shown = [TIME_MIN_US, TIME_MAX_US, TIME_MIN_US, TIME_MAX_US, 5]
    vectors = await strange.query.vectors(["now"])
    assert {series.name: series.times.tolist() for series in vectors} == {
        "loss": shown,
        "note": [TIME_MAX_US],
    }
    assert {row["time"].year for row in vectors.to_arrow().to_pylist()} == {1, 1970, 9999}
    for axis in ("step", "time", "relative"):
        (chart,) = await Charts(strange.query).read(["now", "late"], ["loss"], axis=axis)
        assert [line.total for line in chart.lines] == [5, 5]
    for format in FORMATS:
        tables = exports.point_tables(strange.query, ["now"], ["loss"], 20)
        assert b"".join([part async for part in encode(tables, format)])
        columns = await exports.columns(strange.pool, ["start_time", "duration", "metric:loss:last"])
        tables = exports.run_pages(strange.pool, RunFilter(), Order(), columns, 20)
        assert b"".join([part async for part in encode(tables, format)])
    for statement in ("select * from metrics", "select * from runs", "select time, time::date from metrics"):
        table = await run_sql(strange.pool, strange.store, strange.settings, statement)
        rows = [python_values(column) for column in table.columns]
        assert {len(column) for column in rows} == {4 if "runs" in statement else 24}


async def test_the_snapshot_of_the_runs_is_written(strange: Any) -> None:
    worker = Worker()
    try:
        assert await write_runs(strange.pool, strange.store, worker) == 4
    finally:
        worker.close()


def test_only_what_cannot_be_shown_becomes_none() -> None:
    times = pa.chunked_array([pa.array([0, 2**62, None], pa.timestamp("us"))])
    assert python_values(times) == [datetime(1970, 1, 1), None, None]
    import numpy as np

    good = np.array([1, 2, 3])
    assert shown_times(good) is good
    assert shown_times(np.array([], dtype=np.int64)).tolist() == []
