"""The copy of the runs beside the points, for those who read files only."""

from __future__ import annotations

import uuid

import duckdb
import pandas
import polars

from runstream_consumers.compaction.runs_file import PATH, runs_changed, write_runs
from runstream_consumers.compaction.worker import Worker

from .conftest import START, Pipeline, floats


async def _snapshot(pipeline: Pipeline) -> str:
    worker = Worker()
    await write_runs(pipeline.pool, pipeline.store, worker)
    worker.close()
    return pipeline.store.locate(PATH)


async def test_files_alone_answer_a_join_of_points_and_parameters(pipeline: Pipeline) -> None:
    for number in range(3):
        key = await pipeline.add_run(f"run_{number}")
        await pipeline.add_chunk(f"run_{number}", floats("loss", [3.0, 1.0 + number]))
        for tag, value, removed in (("lr", f"0.{number}", False), ("old", "x", True), ("flag", None, False)):
            await pipeline.pool.execute(
                "insert into tags values ($1, $2, $3, $4, $5, $6, 0)",
                key,
                tag,
                value,
                removed,
                START,
                uuid.uuid4(),
            )
        await pipeline.pool.execute(
            "insert into properties values ($1, 'git', 'abc', $2, $3, 0)", key, START, uuid.uuid4()
        )
    series = await pipeline.pool.fetchval("insert into series (cls, name) values (0, 'loss') returning id")
    await pipeline.pool.execute(
        """insert into live_summaries
            (run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, last_time)
        values ($1, $2, 0, 2, 2, 3, 1, 1, 3, 4, 1, 0)""",
        pipeline.run_keys["run_0"],
        series,
    )
    await pipeline.compact()
    path = await _snapshot(pipeline)
    root = pipeline.store.root
    rows = (
        duckdb.connect()
        .execute(
            f"""select r.tags['lr'], min(m.value) from read_parquet('{root}/metrics/**/*.parquet') m
        join read_parquet('{root}/runs/*.parquet') r using (run_id) where name = 'loss' group by all order by all"""
        )
        .fetchall()
    )
    assert rows == [("0.0", 1.0), ("0.1", 2.0), ("0.2", 3.0)]
    frame = pandas.read_parquet(path)
    assert list(frame["run_id"]) == ["run_0", "run_1", "run_2"]
    assert set(frame["experiment"]) == {"exp"}
    assert dict(frame["tags"][0]) == {"lr": "0.0", "flag": None}
    assert dict(frame["properties"][0]) == {"git": "abc"}
    (summary,) = frame["summaries"][0]
    assert (summary["name"], summary["count"], summary["mean"], summary["last"]) == ("loss", 2, 2.0, 1.0)
    assert polars.read_parquet(path)["status"].to_list() == ["Completed"] * 3


async def test_the_snapshot_is_replaced_and_changes_are_noticed(pipeline: Pipeline) -> None:
    await _snapshot(pipeline)
    before = await runs_changed(pipeline.pool)
    await pipeline.add_run("run")
    async with pipeline.pool.acquire() as connection:
        await connection.execute("select pg_stat_force_next_flush()")
    for connection in [await pipeline.pool.acquire() for _ in range(pipeline.pool.get_size())]:
        await connection.execute("select pg_stat_force_next_flush()")
        await pipeline.pool.release(connection)
    assert await runs_changed(pipeline.pool) > before
    path = await _snapshot(pipeline)
    assert polars.read_parquet(path).height == 1
    assert [entry.path for entry in pipeline.store.list("runs")] == [PATH]
