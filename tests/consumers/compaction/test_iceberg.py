"""Invariant: what an Iceberg table shows is what the manifest says, at every snapshot that readers can come to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

from runstream_consumers.compaction.iceberg.publisher import Publisher, PublishReport
from runstream_consumers.compaction.iceberg.sweep import forget_tables, sweep_metadata
from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.orphans import clean_files, clean_rows
from runstream_consumers.compaction.purge import purge_runs
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .conftest import START, Cell, Pipeline, floats, rounds


@pytest.fixture
def worker() -> Any:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def publisher(pipeline: Pipeline, worker: Worker) -> Publisher:
    return Publisher(pipeline.pool, pipeline.store, pipeline.settings, worker)


async def _table(pipeline: Pipeline, kind: str = "metrics") -> StaticTable:
    path = await pipeline.pool.fetchval("select metadata from iceberg_tables where name = $1", kind)
    return StaticTable.from_metadata(pipeline.store.address(path))


async def _shown(pipeline: Pipeline) -> Counter[Cell]:
    """Points as pyiceberg reads them."""
    cells: Counter[Cell] = Counter()
    for row in await pipeline.pool.fetch("select name, metadata from iceberg_tables"):
        table = StaticTable.from_metadata(pipeline.store.address(row["metadata"]))
        cells.update(cells_of(row["name"], await asyncio.to_thread(table.scan().to_arrow)))
    return cells


def cells_of(kind: str, table: pa.Table) -> Counter[Cell]:
    cells: Counter[Cell] = Counter()
    place = "step" if kind == "metrics" else "row"
    times = table.column("time").cast(pa.int64()).to_pylist()
    for row, time in zip(table.drop_columns(["time"]).to_pylist(), times, strict=True):
        value = None if row["value"] is None else repr(row["value"])
        value = row["text"] if row["text"] is not None else row["int_value"] if row["int_value"] is not None else value
        cells[row["run_id"], row["name"], row.get("column", ""), row[place], time, value] += 1
    return cells


async def _fill(pipeline: Pipeline, runs: int, *, first: int = 0) -> None:
    for number in range(first, first + runs):
        run = f"run_{number}"
        await pipeline.add_run(run, f"an experiment/{number % 2}")
        await pipeline.add_chunk(run, rounds(["a", "b"], 10))
        await pipeline.compact()


async def test_a_table_shows_what_was_compacted_of_every_kind(pipeline: Pipeline, publisher: Publisher) -> None:
    rows = [
        (SeriesKey(SeriesClass.METRIC, "kinds"), kind, slot, slot, START + slot, value)
        for slot, (kind, value) in enumerate(
            [(Kind.FLOAT, float("nan")), (Kind.INT, -(2**60)), (Kind.BOOL, True), (Kind.TEXT, "ünï"), (Kind.NULL, None)]
        )
    ]
    rows.append((SeriesKey(SeriesClass.TABLE, "table", "column"), Kind.FLOAT, 5, 0, START, 0.5))
    await pipeline.add_run("one", "a b/ü")
    await pipeline.add_chunk("one", rows)
    await pipeline.compact()
    assert await publisher.publish() == PublishReport(snapshots=2, added=2)
    assert await _shown(pipeline) == pipeline.logged
    table = await _table(pipeline)
    (task,) = table.scan(row_filter="experiment = 'a b/ü'").plan_files()
    assert not list(table.scan(row_filter="experiment = 'another'").plan_files())
    assert not list(table.scan(row_filter="run_id > 'one'").plan_files())
    assert task.file.record_count == 5
