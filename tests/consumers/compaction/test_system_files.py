"""System metrics lie in files of their own, each machine's by itself, through every merge; never among the metrics."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .conftest import START, Pipeline, Row, rounds

NAME = "system/cpu_utilization_percentage"


def rows(node: str, first: int, n: int) -> list[Row]:
    key = SeriesKey(SeriesClass.SYSTEM, NAME, node)
    return [(key, Kind.FLOAT, first + i, first + i, START + first + i, float(first + i)) for i in range(n)]


def tables(pipeline: Pipeline, kind: str) -> list[list[tuple[str, str, str, int, float]]]:
    columns = ["run_id", "name", "node" if kind == "system" else "cls", "step", "value"]
    return [
        list(zip(*(pq.read_table(path).column(name).to_pylist() for name in columns), strict=True))
        for path in sorted(Path(pipeline.store.root).glob(f"{kind}/**/*.parquet"))
    ]


async def test_a_home_without_them_claims_no_file_for_them(pipeline: Pipeline) -> None:
    await pipeline.add_run("plain")
    await pipeline.add_chunk("plain", rounds(["loss"], 10))
    await pipeline.compact()
    assert await pipeline.pool.fetchval("select count(*) from files where kind = 'system'") == 0


async def test_they_move_and_merge_by_machine_in_order_of_logging(pipeline: Pipeline) -> None:
    await pipeline.pool.execute(
        "insert into series (cls, name, \"column\") values (9, $1, 'a'), (9, $1, 'b')", NAME
    )
    await pipeline.add_run("run")
    for part in range(8):
        await pipeline.add_run(f"other_{part}")
        await pipeline.add_chunk(f"other_{part}", rows("a", 0, 2))
        await pipeline.add_chunk("run", rows("a", part * 10, 9), source=1)
        await pipeline.add_chunk("run", rows("b", part * 10, 9), source=2)
        await pipeline.add_chunk("run", rounds(["loss"], 1, slot=part))
        await pipeline.compact(now=True)
    assert not await pipeline.hot()
    worker = Worker()
    try:
        await merge_small_files(pipeline.pool, pipeline.store, worker)
    finally:
        worker.close()
    files = tables(pipeline, "system")
    assert len(files) < 8
    steps = [part * 10 + i for part in range(8) for i in range(9)]
    of_run = [row for file in files for row in file if row[0] == "run"]
    for node in ("a", "b"):
        assert [row[3] for row in of_run if row[2] == node] == steps
        assert [row[4] for row in of_run if row[2] == node] == [float(step) for step in steps]
    assert {row[1] for file in tables(pipeline, "metrics") for row in file} == {"loss"}


@pytest.mark.parametrize("points", [5000, 70_000], ids=["of some length", "a row group of its own"])
async def test_long_series_of_other_classes_move_too(pipeline: Pipeline, points: int) -> None:
    """Of a run of an hour the machine's series are so long, as may be what a rewind cuts off."""
    former = SeriesKey(SeriesClass.FORMER, "loss", "1")
    await pipeline.pool.execute("insert into series (cls, name, \"column\") values (9, $1, 'a')", NAME)
    await pipeline.pool.execute("insert into series (cls, name, \"column\") values (10, 'loss', '1')")
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", rows("a", 0, points))
    await pipeline.add_chunk("run", [(former, *row[1:]) for row in rows("a", points, points)])
    await pipeline.compact()
    assert not await pipeline.hot()
    files = await pipeline.pool.fetch("select kind, rows from files where state = 'live' order by kind")
    assert [tuple(file) for file in files] == [("former", points), ("system", points)]
