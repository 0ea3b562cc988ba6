"""Typed values (histograms) lie in files of their own, with what was logged and nothing lost, through every merge."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.values.histograms import Histogram, decode_histogram, encode_histogram
from runstream_schemas.values.typed_values import TYPED

from .conftest import START, Pipeline, Row, rounds

KEY = SeriesKey(SeriesClass.HISTOGRAM, "weights")


def text(step: int) -> str:
    return encode_histogram(Histogram([step, 1], [0.0, 0.5, 1.0], step + 1, 0.1, 0.9, 3.5), uniform=True)


def rows(first: int, n: int) -> list[Row]:
    return [(KEY, Kind.TEXT, first + i, first + i, START + first + i, text(first + i)) for i in range(n)]


def files(pipeline: Pipeline) -> list[Path]:
    return sorted(Path(pipeline.store.root).glob("histograms/**/*.parquet"))


async def test_a_home_without_them_claims_no_file_for_them(pipeline: Pipeline) -> None:
    await pipeline.add_run("plain")
    await pipeline.add_chunk("plain", rounds(["loss"], 10))
    await pipeline.compact()
    assert await pipeline.pool.fetchval("select count(*) from files where kind = 'histograms'") == 0


async def test_they_move_and_merge_in_order_of_logging(pipeline: Pipeline) -> None:
    await pipeline.pool.execute("insert into series (cls, name, \"column\") values (7, 'weights', '')")
    await pipeline.add_run("run")
    for part in range(8):
        await pipeline.add_run(f"other_{part}")
        await pipeline.add_chunk(f"other_{part}", rows(0, 2))
        await pipeline.add_chunk("run", [*rows(part * 10, 9), *rounds(["loss"], 1, slot=part * 10 + 9)])
        await pipeline.compact(now=True)
    await pipeline.add_run("last")
    await pipeline.add_chunk("last", rows(0, 1))
    await pipeline.compact(now=True)
    assert not await pipeline.hot()
    worker = Worker()
    try:
        await merge_small_files(pipeline.pool, pipeline.store, worker)
    finally:
        worker.close()
    tables = [pq.read_table(path) for path in files(pipeline)]
    assert len(tables) < 9
    steps, logged = [], []
    for table in tables:
        for run_id, step, encoded in zip(
            table.column("run_id").to_pylist(),
            table.column("step").to_pylist(),
            TYPED["histograms"].texts(table),
            strict=True,
        ):
            if run_id == "run":
                steps.append(step)
                logged.append(decode_histogram(encoded))
    assert steps == [part * 10 + i for part in range(8) for i in range(9)]
    assert logged == [decode_histogram(text(step)) for step in steps]
    assert tables[0].column("counts").to_pylist()[0][1] == 1


async def test_what_somebody_elses_producer_sent_that_is_none_is_kept_as_it_came(pipeline: Pipeline) -> None:
    await pipeline.pool.execute("insert into series (cls, name, \"column\") values (7, 'weights', '')")
    await pipeline.add_run("run")
    odd: list[Row] = [
        (KEY, Kind.TEXT, 0, 0, START, "no histogram"),
        (KEY, Kind.FLOAT, 1, 1, START, 0.5),
        (KEY, Kind.TEXT, 2, 2, START, text(2)),
    ]
    await pipeline.add_chunk("run", odd)
    await pipeline.compact(now=True)
    (path,) = files(pipeline)
    table = pq.read_table(path)
    assert table.column("text").to_pylist()[0] == "no histogram"
    assert table.column("counts").to_pylist() == [None, None, [2, 1]]
    assert len(table) == 3
