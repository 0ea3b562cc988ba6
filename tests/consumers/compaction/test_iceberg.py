"""Invariant: what an Iceberg table shows is what the manifest said, at every snapshot that readers can come to."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable

from runstream_consumers.compaction.iceberg.cleaning import clean_metadata, forget_tables
from runstream_consumers.compaction.iceberg.publisher import Publisher, PublishReport
from runstream_consumers.compaction.iceberg.runs_table import RunsPublisher
from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.orphans import clean_files, clean_rows
from runstream_consumers.compaction.purge import purge_runs
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from . import test_crash
from .conftest import START, Cell, Pipeline, floats, rounds

mortal = test_crash.mortal
STRIDE = int(os.environ.get("RUNSTREAM_TEST_CRASH_STRIDE", "7"))


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
        value = (
            row["text"]
            if row["text"] is not None
            else row["int_value"]
            if row["int_value"] is not None
            else value
        )
        cells[row["run_id"], row["name"], row.get("column", ""), row[place], time, value] += 1
    return cells


def _names(root: str) -> set[str]:
    return {path.name for path in Path(root).rglob("*")}


async def _fill(pipeline: Pipeline, runs: int, *, first: int = 0) -> None:
    for number in range(first, first + runs):
        run = f"run_{number}"
        await pipeline.add_run(run, f"an experiment/{number % 2}")
        await pipeline.add_chunk(run, rounds(["a", "b"], 10))
        await pipeline.compact()


async def test_a_table_shows_what_was_compacted_of_every_kind(
    pipeline: Pipeline, publisher: Publisher
) -> None:
    rows = [
        (SeriesKey(SeriesClass.METRIC, "kinds"), kind, slot, slot, START + slot, value)
        for slot, (kind, value) in enumerate(
            [
                (Kind.FLOAT, float("nan")),
                (Kind.INT, -(2**60)),
                (Kind.BOOL, True),
                (Kind.TEXT, "ünï"),
                (Kind.NULL, None),
            ]
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


async def test_merged_and_purged_files_leave_with_one_snapshot_and_are_deleted_when_none_shows_them(
    pipeline: Pipeline, publisher: Publisher, worker: Worker
) -> None:
    pool, store = pipeline.pool, pipeline.store
    await _fill(pipeline, 16)
    assert await publisher.publish() == PublishReport(snapshots=1, added=16)
    assert await publisher.publish() == PublishReport()
    before = await _table(pipeline)
    small = await pipeline.files()
    await merge_small_files(pool, store, worker)
    assert await publisher.publish() == PublishReport(snapshots=1, added=2, removed=16)
    table = await _table(pipeline)
    assert [str(snapshot.summary["operation"].value) for snapshot in table.snapshots()] == [
        "append",
        "overwrite",
    ]
    assert await _shown(pipeline) == pipeline.logged
    async with pool.acquire() as connection, connection.transaction():
        await delete_rows(connection, [pipeline.run_keys["run_3"]])
    await purge_runs(pool, store, worker)
    assert await publisher.publish() == PublishReport(snapshots=1, added=1, removed=1)
    left = Counter({cell: times for cell, times in pipeline.logged.items() if cell[0] != "run_3"})
    assert await _shown(pipeline) == left
    # Whoever began with the first snapshot still reads it: nobody deletes its files.
    await clean_rows(pool, store, pending_grace=60, trash_grace=0)
    await clean_files(pool, store, grace=-10, keep=-10)
    assert cells_of("metrics", before.scan().to_arrow()) == pipeline.logged
    # Until both earlier ones are too old.
    await pool.execute("update uptime set seconds = seconds + 1000")
    assert await publisher.publish() == PublishReport()
    (snapshot,) = (await _table(pipeline)).snapshots()
    assert {
        name: snapshot.summary[name] for name in ("total-data-files", "total-records", "runstream.hot-points")
    } == {
        "total-data-files": "2",
        "total-records": str(left.total()),
        "runstream.hot-points": "0",
    }
    assert (await clean_rows(pool, store, pending_grace=60, trash_grace=900)).deleted == 17
    assert small[0].rpartition("/")[2] not in _names(store.root)
    assert await clean_metadata(pool, store, worker, grace=-10) > 0
    assert await clean_metadata(pool, store, worker, grace=-10) == 0
    assert await _shown(pipeline) == left


async def test_many_small_manifests_become_one(pipeline: Pipeline, publisher: Publisher) -> None:
    for number in range(18):
        await _fill(pipeline, 1, first=number)
        await publisher.publish()
    table = await _table(pipeline)
    current = table.current_snapshot()
    assert current is not None
    assert len(current.manifests(table.io)) < 16
    assert await _shown(pipeline) == pipeline.logged


async def test_of_two_compactors_the_second_finds_the_table_changed(
    pipeline: Pipeline, publisher: Publisher
) -> None:
    other = replace(publisher)
    await _fill(pipeline, 2)
    reports = await asyncio.gather(publisher.publish(), other.publish())
    assert sorted(report.snapshots for report in reports) == [0, 1]
    await _fill(pipeline, 2, first=2)
    reports = await asyncio.gather(publisher.publish(), other.publish())
    assert sorted(report.snapshots for report in reports) == [0, 1]
    assert len(list((await _table(pipeline)).snapshots())) == 2
    assert await _shown(pipeline) == pipeline.logged


async def test_no_snapshot_shows_a_part_of_a_round(
    pipeline: Pipeline, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many files some are described in each round; none is shown before all are."""
    monkeypatch.setattr("runstream_consumers.compaction.iceberg.publisher.MOST_DESCRIBED", 2)
    await _fill(pipeline, 5)
    assert [(await publisher.publish()).added for _ in range(3)] == [0, 0, 5]
    assert await _shown(pipeline) == pipeline.logged


async def test_a_renamed_experiment_is_another_partition(pipeline: Pipeline, publisher: Publisher) -> None:
    await _fill(pipeline, 3)
    await publisher.publish()
    await pipeline.pool.execute("update experiments set name = 'renamed' where name = 'an experiment/0'")
    assert await publisher.publish() == PublishReport(snapshots=1, added=2)
    table = await _table(pipeline)
    assert len(list(table.scan(row_filter="experiment = 'renamed'").plan_files())) == 2
    assert await _shown(pipeline) == pipeline.logged


@pytest.mark.parametrize("lost", ["metadata", "list"])
async def test_a_table_whose_metadata_is_lost_is_made_anew(
    pipeline: Pipeline, publisher: Publisher, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _fill(pipeline, 2)
    await publisher.publish()
    path = await pipeline.pool.fetchval("select metadata from iceberg_tables")
    if lost == "metadata":
        pipeline.store.delete(path)
    else:
        with pipeline.store.create(path) as new:
            new.stream.write(b"{")
    await _fill(pipeline, 1, first=2)
    assert (await publisher.publish()).snapshots == 0
    assert "made anew" in caplog.text
    assert await publisher.publish() == PublishReport(snapshots=1, added=3)
    assert await _shown(pipeline) == pipeline.logged


async def test_switched_off_nothing_is_left_of_the_tables(
    pipeline: Pipeline, publisher: Publisher, worker: Worker
) -> None:
    assert not await forget_tables(pipeline.pool, pipeline.store, worker)
    await _fill(pipeline, 2)
    await publisher.publish()
    assert await forget_tables(pipeline.pool, pipeline.store, worker)
    assert not [entry for folder in ("iceberg", "pinned") for entry in pipeline.store.list(folder)]
    assert pipeline.globbed() == pipeline.logged
    await publisher.publish()
    assert await _shown(pipeline) == pipeline.logged


async def test_files_of_earlier_versions_are_read_by_name(
    pipeline: Pipeline, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("runstream_schemas.parquet.arrow.with_field_ids", lambda schema: schema)
        await _fill(pipeline, 1)
    await _fill(pipeline, 2, first=1)
    await publisher.publish()
    assert await _shown(pipeline) == pipeline.logged


async def test_the_hot_tier_ahead_stands_in_the_snapshot(pipeline: Pipeline, publisher: Publisher) -> None:
    await _fill(pipeline, 1)
    await pipeline.add_run("live", "an experiment/0", status="Running")
    await pipeline.add_chunk("live", floats("x", range(7)))
    await publisher.publish()
    snapshot = (await _table(pipeline)).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary["runstream.hot-points"] == "7"
    assert snapshot.summary["runstream.hot-runs"] == "1"


async def test_runs_are_a_table_of_each_workspace_that_follows_what_changes(
    pipeline: Pipeline, publisher: Publisher, worker: Worker
) -> None:
    pool, store = pipeline.pool, pipeline.store
    of_runs = RunsPublisher(pool, store, pipeline.settings, worker)

    async def publish() -> int:
        of_runs._shown, of_runs._due = -1, 0.0  # whatever the server's counters say of it by now
        return await of_runs.publish()

    await pipeline.add_run("here", "a b/ü")
    theirs = await pool.fetchval(
        "insert into experiments (workspace, name) values ('theirs', 'e') returning id"
    )
    for number in range(3):
        await pool.execute(
            "insert into runs (run_id, experiment_id, status) values ($1, $2, 'Completed')",
            f"there-{number}",
            theirs,
        )
    here = pipeline.run_keys["here"]
    await pool.execute(
        "insert into tags (run_key, key, value, time_us, source, seq) values ($1, 'k', 'ü', 0, gen_random_uuid(), 0)",
        here,
    )
    await pool.execute(
        """insert into params (run_key, name, kind, text, number, origin, time_us, source, seq)
        values ($1, 'lr', 0, '0.5', 0.5, 0, 0, gen_random_uuid(), 0)""",
        here,
    )
    assert await publish() == 2
    assert await publish() == 0
    shown = {row["workspace"]: row["metadata"] for row in await pool.fetch("select * from iceberg_tables")}
    tables = {workspace: StaticTable.from_metadata(store.address(path)) for workspace, path in shown.items()}
    (row,) = tables["default"].scan().to_arrow().to_pylist()
    assert (row["run_id"], row["experiment"], row["tags"]) == ("here", "a b/ü", [("k", "ü")])
    assert [(param["name"], param["value"]) for param in row["params"]] == [("lr", 0.5)]
    assert len(tables["theirs"].scan().to_arrow()) == 3
    await pool.execute("delete from runs where run_id = 'there-1'")
    assert await publish() == 1
    path = await pool.fetchval("select metadata from iceberg_tables where workspace = 'theirs'")
    assert len(StaticTable.from_metadata(store.address(path)).scan().to_arrow()) == 2
    assert len(tables["theirs"].scan().to_arrow()) == 3  # who began before reads what was then
    await pool.execute("update uptime set seconds = seconds + 1000")
    assert await publisher.publish() == PublishReport()  # it lets old snapshots go, of every table
    await clean_metadata(pool, store, worker, grace=-10)
    path = await pool.fetchval("select metadata from iceberg_tables where workspace = 'theirs'")
    assert len(StaticTable.from_metadata(store.address(path)).scan().to_arrow()) == 2
    assert len([entry for entry in store.list("iceberg") if "/data/" in entry.path]) == 2


@pytest.mark.parametrize("mortal", ["iceberg"], indirect=True)
@pytest.mark.timeout(600)
async def test_a_crash_at_any_step_leaves_every_snapshot_whole(
    pipeline: Pipeline, mortal: subprocess.Popen[str]
) -> None:
    step, code, rounds_done = 1 - STRIDE, 9, 0
    while code == 9:
        step += STRIDE
        for number in range(2):
            run = f"run_{step}_{number}"
            await pipeline.add_run(run, "exp")
            await pipeline.add_chunk(run, floats("x", range(15)))
        code = await test_crash.let_die(pipeline, mortal, step)
        assert code in (0, 9), f"step {step}"
        for cells in await _all_snapshots(pipeline):
            assert cells <= pipeline.logged, f"died at step {step}"
        if rounds_done % 3 == 2:  # what was left is completed; else the next to die finds it
            assert await test_crash.let_die(pipeline, mortal, 1 << 30) == 0
            assert await _shown(pipeline) == pipeline.logged, f"after step {step}"
        rounds_done += 1
    assert step > 40  # or the steps are not counted
    for _ in range(2):
        assert await test_crash.let_die(pipeline, mortal, 1 << 30) == 0
    assert await _shown(pipeline) == pipeline.globbed() == pipeline.logged
    live = set(await pipeline.files())
    assert {entry.path.removeprefix("pinned/") for entry in pipeline.store.list("pinned")} == live
    assert {entry.path for kind in ("metrics", "trash") for entry in pipeline.store.list(kind)} == live


async def _all_snapshots(pipeline: Pipeline) -> list[Counter[Cell]]:
    """What readers see that are at any snapshot there is."""
    shown = []
    for row in await pipeline.pool.fetch("select name, metadata from iceberg_tables"):
        table = StaticTable.from_metadata(pipeline.store.address(row["metadata"]))
        for snapshot in table.snapshots():
            read = await asyncio.to_thread(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow)
            shown.append(cells_of(row["name"], read))
    return shown
