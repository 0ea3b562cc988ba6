"""Invariant: a point is in exactly one tier, and a plain glob shows every point of a settled run once."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import duckdb
import pandas
import polars
import pyarrow.parquet as pq

from runstream_consumers.compaction.role import compact_once
from runstream_schemas.parquet.arrow import restore_kinds
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .conftest import START, Pipeline, floats, rounds

METRIC, TABLE = SeriesClass.METRIC, SeriesClass.TABLE


async def test_settled_runs_move_to_files_that_a_glob_shows(pipeline: Pipeline) -> None:
    for number in range(5):
        await pipeline.add_run(f"run_{number}", "exp" if number < 3 else "other")
        for part in range(3):
            await pipeline.add_chunk(f"run_{number}", rounds(["loss", "acc"], 20, slot=40 * part))
    report = await pipeline.compact()
    assert (report.files, report.runs, report.points) == (2, 5, 600)
    assert await pipeline.hot() == {}
    assert await pipeline.cold() == pipeline.logged
    assert pipeline.globbed() == pipeline.logged
    assert sorted(path.split("/")[1] for path in await pipeline.files()) == [
        "experiment=exp",
        "experiment=other",
    ]
    assert (await pipeline.compact()).files == 0


async def test_every_kind_of_value_comes_back(pipeline: Pipeline) -> None:
    await pipeline.add_run("run")
    x, image = SeriesKey(METRIC, "x"), SeriesKey(SeriesClass.IMAGE, "plot")
    rows = [
        (x, Kind.FLOAT, 0, 0, START, math.nan),
        (x, Kind.INT, 1, 1, START + 1, (1 << 63) - 1),
        (x, Kind.FLOAT, 2, 2, START + 2, -math.inf),
        (x, Kind.TEXT, 3, 3, START + 3, "true"),
        (x, Kind.BOOL, 4, 4, START + 4, True),
        (x, Kind.NULL, 5, 5, START + 5, None),
        (x, Kind.INT, 6, 6, START + 6, -(1 << 63)),
        (x, Kind.TEXT, 7, 7, START + 7, ""),
        (x, Kind.BOOL, 8, 8, START + 8, False),
        (image, Kind.TEXT, 9, 0, START + 9, "artifact://plot.png"),
    ]
    await pipeline.add_chunk("run", rows)
    await pipeline.compact()
    assert await pipeline.both_tiers() == pipeline.logged
    (path,) = await pipeline.files()
    table = pq.read_table(pipeline.store.locate(path), partitioning=None)
    assert restore_kinds(table).tolist() == [kind for _, kind, *_ in rows]  # and in order of logging
    assert table.column("step").to_pylist() == [*range(9), 0]
    assert table.column("cls").to_pylist() == [0] * 9 + [SeriesClass.IMAGE]
    assert table.column("int_value").to_pylist()[1] == (1 << 63) - 1


async def test_tables_have_files_of_their_own_and_rows_of_sources_do_not_collide(pipeline: Pipeline) -> None:
    await pipeline.add_run("run")
    for source in (0, 1):
        rows = [
            (SeriesKey(TABLE, "t", column), Kind.INT, 2 * row + i, row, START + row, row * 10 + i)
            for row in range(4)
            for i, column in enumerate("ab")
        ]
        await pipeline.add_chunk("run", [*rows, *floats("loss", [0.5], slot=8)], source=source)
    report = await pipeline.compact()
    assert report.files == 2
    assert pipeline.globbed() == pipeline.logged
    (path,) = [path for path in await pipeline.files() if path.startswith("tables/")]
    table = pq.read_table(pipeline.store.locate(path), partitioning=None)
    assert table.column("row").to_pylist() == 2 * [*range(4), *((1 << 40) + row for row in range(4))]


async def test_order_of_logging_survives_steps_that_fall(pipeline: Pipeline) -> None:
    await pipeline.add_run("run")
    key = SeriesKey(METRIC, "x")
    for part in (1, 0):  # chunks may be stored in another order than they were logged
        rows = [(key, Kind.FLOAT, 4 * part + i, 7 - i, START, 4.0 * part + i) for i in range(4)]
        await pipeline.add_chunk("run", rows)
    await pipeline.compact()
    (path,) = await pipeline.files()
    values = pq.read_table(pipeline.store.locate(path), partitioning=None).column("value").to_pylist()
    assert values == [float(i) for i in range(8)]


async def test_sources_of_one_series_lie_one_after_the_other_whatever_their_clocks_say(
    pipeline: Pipeline,
) -> None:
    await pipeline.add_run("run")
    key = SeriesKey(METRIC, "x")
    await pipeline.add_chunk("run", [(key, Kind.FLOAT, i, i, START + 10 * i, i) for i in range(4)], source=0)
    backwards = [START + 15, START + 12, START + 25]  # a clock that was set back
    await pipeline.add_chunk(
        "run", [(key, Kind.FLOAT, i, i, t, 100 + i) for i, t in enumerate(backwards)], source=1
    )
    await pipeline.compact()
    (path,) = await pipeline.files()
    values = pq.read_table(pipeline.store.locate(path), partitioning=None).column("value").to_pylist()
    assert values == [0, 1, 2, 3, 100, 101, 102]


async def test_late_points_become_another_file_of_the_run(pipeline: Pipeline) -> None:
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", floats("x", range(10)))
    await pipeline.compact()
    await pipeline.add_chunk("run", floats("x", range(10), slot=10, step=10, time=START + 10_000))
    assert await pipeline.both_tiers() == pipeline.logged
    await pipeline.compact()
    assert len(await pipeline.files()) == 2
    assert await pipeline.hot() == {}
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_two_compactors_at_once_move_every_point_once(pipeline: Pipeline) -> None:
    for number in range(12):
        await pipeline.add_run(f"run_{number}", f"exp_{number % 4}")
        for part in range(4):
            await pipeline.add_chunk(f"run_{number}", rounds(["a", "b", "c"], 30, slot=90 * part))
    reports = await asyncio.gather(
        *(compact_once(pipeline.pool, pipeline.store, pipeline.settings) for _ in range(3))
    )
    assert sum(report.points for report in reports) == 12 * 4 * 90
    assert await pipeline.hot() == {}
    assert await pipeline.cold() == pipeline.globbed() == pipeline.logged


async def test_compactors_that_ignore_each_others_claims_publish_only_once(pipeline: Pipeline) -> None:
    """Without the soft claim both write the same points; the transaction lets one of them through."""
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", floats("x", range(100)))
    from runstream_consumers.compaction.hot_to_parquet import Compactor
    from runstream_consumers.compaction.worker import Worker

    workers = [Worker(), Worker()]
    # Different installations name their files differently, and a grace of nothing sees no claim.
    racers = [
        Compactor(
            pipeline.pool,
            pipeline.store,
            replace(pipeline.settings, compact_claim_grace=-1.0),
            worker,
            installation=str(i),
        )
        for i, worker in enumerate(workers)
    ]
    reports = await asyncio.gather(*(racer.compact() for racer in racers))
    for worker in workers:
        worker.close()
    assert sum(report.points for report in reports) == 100
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_runs_that_run_or_just_ended_stay_hot(pipeline: Pipeline) -> None:
    await pipeline.add_run("running", status="Running")
    await pipeline.add_chunk("running", floats("x", range(5)))
    await pipeline.add_run("late")
    await pipeline.add_chunk("late", floats("x", range(5)), age=1)
    assert (await pipeline.compact()).files == 0
    report = await pipeline.compact(now=True)
    assert report.runs == 1
    assert list(await pipeline.pool.fetch("select distinct run_key from chunks")) == [
        (pipeline.run_keys["running"],)
    ]


async def test_a_running_run_that_outgrew_its_bound_is_compacted(pipeline: Pipeline) -> None:
    from dataclasses import replace

    await pipeline.add_run("running", status="Running")
    await pipeline.add_chunk("running", rounds(["x", "y"], 2000), age=0)
    pipeline.settings = replace(pipeline.settings, compact_bytes=1000)
    assert (await pipeline.compact()).points == 4000
    assert await pipeline.cold() == pipeline.logged


async def test_an_ended_run_whose_source_never_came_back_does_not_stay_hot_for_ever(
    pipeline: Pipeline,
) -> None:
    await pipeline.add_run("lost")
    await pipeline.pool.execute("update runs set settled_at = null, status = 'Failed'")
    await pipeline.add_chunk("lost", floats("x", range(5)), age=300)
    assert (await pipeline.compact()).files == 0
    await pipeline.pool.execute("update chunks set created_at = created_at - interval '1 hour'")
    assert (await pipeline.compact()).points == 5


async def test_duckdb_polars_and_pandas_open_the_files(pipeline: Pipeline) -> None:
    await pipeline.add_run("a", "exp")
    await pipeline.add_run("b", "exp two/π")
    for run in "ab":
        await pipeline.add_chunk(run, [*rounds(["loss", "acc"], 50), *floats("n", [1.5], slot=100)])
    await pipeline.compact()
    pattern = f"{pipeline.store.root}/metrics/**/*.parquet"
    rows = (
        duckdb.connect()
        .execute(
            f"select experiment, count(*), min(value) from read_parquet('{pattern}', hive_partitioning = true) "
            "where name = 'loss' group by all order by all"
        )
        .fetchall()
    )
    assert rows == [("exp", 50, 0.0), ("exp two/π", 50, 0.0)]
    frame = polars.scan_parquet(pattern, hive_partitioning=True).filter(polars.col("name") == "acc").collect()
    assert frame.height == 100
    assert set(frame["experiment"]) == {"exp", "exp two/π"}
    assert frame.schema["time"] == polars.Datetime("us", "UTC")
    table = pandas.read_parquet(f"{pipeline.store.root}/metrics")
    assert len(table) == 202
    assert str(table["time"].dtype) == "datetime64[us, UTC]"
    assert set(table["name"]) == {"loss", "acc", "n"}
