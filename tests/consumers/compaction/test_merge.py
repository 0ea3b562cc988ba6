"""Small files become larger ones; what was replaced is out of sight at once, and gone after its grace."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runstream_consumers.compaction import manifest, merge, row_groups
from runstream_consumers.compaction.merge import MergeReport, merge_small_files
from runstream_consumers.compaction.orphans import MARKER, clean_files, clean_rows
from runstream_consumers.compaction.row_groups import MAX_ROWS, MIN_ROWS, RowGroups
from runstream_consumers.compaction.sorted_points import SortedPoints
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.errors import StoreError
from runstream_schemas.parquet.arrow import METRICS
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .conftest import START, Pipeline, floats, rounds


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """The thread that merges."""
    worker = Worker()
    yield worker
    worker.close()


async def _merge(pipeline: Pipeline, worker: Worker) -> MergeReport:
    return await merge_small_files(pipeline.pool, pipeline.store, worker)


async def _fill(pipeline: Pipeline, files: int) -> None:
    for number in range(files):
        await pipeline.add_run(f"run_{number}")
        await pipeline.add_chunk(f"run_{number}", rounds(["loss", "acc"], 20))
        await pipeline.compact()


def _overwrite(pipeline: Pipeline, path: str, cut: int) -> bytes:
    """Cut a file short; returns what it was."""
    place = Path(pipeline.store.locate(path))
    content = place.read_bytes()
    place.write_bytes(content[:-cut])
    return content


def _move_back(pipeline: Pipeline, path: str) -> None:
    """As if a compactor had died between the commit and the rename."""
    Path(pipeline.store.locate(path)).rename(Path(pipeline.store.root, "staging", path))


async def test_eight_small_files_become_one(pipeline: Pipeline, worker: Worker) -> None:
    await _fill(pipeline, 8)
    old = await pipeline.files()
    assert (await _merge(pipeline, worker)).files == 8
    assert len(await pipeline.files()) == 1
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged
    assert sorted(await pipeline.files("trash")) == sorted(old)
    assert all("/trash/" in pipeline.store.locate(path) for path in old)  # where queries under way find them
    with pipeline.store.open_input(old[0]) as source:
        assert pq.ParquetFile(source).metadata.num_rows == 40
    assert (await _merge(pipeline, worker)).files == 0


async def test_seven_files_wait_for_an_eighth(pipeline: Pipeline, worker: Worker) -> None:
    await _fill(pipeline, 7)
    assert (await _merge(pipeline, worker)).files == 0


async def test_replaced_files_are_deleted_after_their_grace(pipeline: Pipeline, worker: Worker) -> None:
    await _fill(pipeline, 8)
    old = await pipeline.files()
    await _merge(pipeline, worker)
    assert (await clean_rows(pipeline.pool, pipeline.store, pending_grace=60, trash_grace=60)).deleted == 0
    assert (await clean_rows(pipeline.pool, pipeline.store, pending_grace=60, trash_grace=0)).deleted == 8
    assert await pipeline.files("trash") == []
    with pytest.raises(StoreError, match=r"no such file .* restore"):
        pipeline.store.locate(old[0])
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_files_of_one_run_are_joined_series_by_series_in_order_of_logging(
    pipeline: Pipeline, worker: Worker
) -> None:
    await pipeline.add_run("run")
    for part in range(8):  # the same time everywhere: only the order of the files tells
        rows = [
            (
                SeriesKey(SeriesClass.METRIC, name),
                Kind.FLOAT,
                6 * part + i,
                100 - part,
                START,
                3.0 * part + i // 2,
            )
            for i, name in enumerate(["a", "b"] * 3)
        ]
        await pipeline.add_chunk("run", rows)
        await pipeline.compact()
    await _merge(pipeline, worker)
    (path,) = await pipeline.files()
    table = pq.read_table(pipeline.store.locate(path), partitioning=None)
    assert table.column("name").to_pylist() == ["a"] * 24 + ["b"] * 24
    assert table.column("value").to_pylist() == 2 * [float(i) for i in range(24)]
    assert await pipeline.both_tiers() == pipeline.logged


async def test_points_of_sources_that_took_turns_lie_by_source(pipeline: Pipeline, worker: Worker) -> None:
    await pipeline.add_run("run")
    key = SeriesKey(SeriesClass.METRIC, "x")
    for part in range(8):  # even parts by one source, odd by another, whose clock is an hour behind
        source, place = part % 2, part // 2
        rows = [
            (
                key,
                Kind.FLOAT,
                3 * place + i,
                i,
                START + 20 * (3 * place + i) - 3600 * source,
                12.0 * source + 3 * place + i,
            )
            for i in range(3)
        ]
        await pipeline.add_chunk("run", rows, source=source)
        await pipeline.compact()
    await _merge(pipeline, worker)
    (path,) = await pipeline.files()
    values = pq.read_table(pipeline.store.locate(path), partitioning=None).column("value").to_pylist()
    assert values == [float(i) for i in range(24)]


async def test_a_merged_file_takes_the_place_of_its_first(pipeline: Pipeline, worker: Worker) -> None:
    """Readers put a run's files in order of their creation: a later file must stay later."""
    await _fill(pipeline, 8)
    await pipeline.add_chunk("run_0", floats("loss", [1.0] * 400, slot=100))  # another tier
    await pipeline.compact()
    later = (await pipeline.files())[-1]
    await _merge(pipeline, worker)
    assert len(await pipeline.files()) == 2
    assert (await pipeline.files())[-1] == later


async def test_a_file_is_not_merged_past_another_file_of_its_run(pipeline: Pipeline, worker: Worker) -> None:
    """run_0 lies in the first small file, a large one, and the last small one: joining the small ones would disorder it."""
    await _fill(pipeline, 7)
    await pipeline.add_chunk("run_0", floats("loss", [1.0] * 400, slot=100))
    await pipeline.compact()
    await pipeline.add_chunk("run_0", floats("loss", [2.0] * 40, slot=500))
    await pipeline.compact()
    files = await pipeline.files()
    assert len(files) == 9
    assert (await _merge(pipeline, worker)).files == 7
    assert (await pipeline.files())[1:] == files[-2:]
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_tables_are_merged_by_row(pipeline: Pipeline, worker: Worker) -> None:
    await pipeline.add_run("run")
    key = SeriesKey(SeriesClass.TABLE, "t", "a")
    for part in range(8):
        await pipeline.add_chunk("run", [(key, Kind.TEXT, part, part, START, f"cell {part}")])
        await pipeline.compact()
    await _merge(pipeline, worker)
    (path,) = await pipeline.files()
    table = pq.read_table(pipeline.store.locate(path), partitioning=None)
    assert table.column("row").to_pylist() == list(range(8))
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_the_manifest_knows_the_row_groups_of_every_run(
    pipeline: Pipeline, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "MIN_ROWS", 50)
    monkeypatch.setattr(row_groups, "MAX_ROWS", 130)
    for number in range(8):
        await pipeline.add_run(f"run_{number}")
        rows = [*rounds(["a", "b", "c"], 10 + number), *floats("long", range(300), slot=1000)]
        await pipeline.add_chunk(f"run_{number}", rows)
        await pipeline.compact()
    for _ in range(2):
        for row in await pipeline.pool.fetch(
            "select path, run_id, fr.* from file_runs fr join files f on f.id = file_id join runs r on r.key = run_key "
            "where state = 'live'"
        ):
            file = pq.ParquetFile(pipeline.store.locate(row["path"]))
            groups = list(range(row["first_row_group"], row["last_row_group"] + 1))
            rows_of_run = file.read_row_groups(groups).column("run_id").to_pylist().count(row["run_id"])
            assert (
                rows_of_run
                == row["rows"]
                == sum(n for cell, n in pipeline.logged.items() if cell[0] == row["run_id"])
            )
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            assert max(sizes) <= 130
        await _merge(pipeline, worker)
    assert len(await pipeline.files()) == 1
    assert await pipeline.both_tiers() == pipeline.logged


async def test_a_damaged_file_is_named_and_nothing_is_lost(pipeline: Pipeline, worker: Worker) -> None:
    await _fill(pipeline, 8)
    path = (await pipeline.files())[3]
    content = _overwrite(pipeline, path, cut=20)
    with pytest.raises(StoreError, match=f"{path}: damaged .* restore"):
        await _merge(pipeline, worker)
    pipeline.store.delete(path)
    with pytest.raises(StoreError, match=f"{path}: no such file"):
        await _merge(pipeline, worker)
    assert await pipeline.files("pending") == []
    with pipeline.store.create(path) as new:
        new.stream.write(content)
    await _merge(pipeline, worker)
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


ORPHAN = f"metrics/experiment=exp/{'0' * 32}.parquet"


async def test_a_sweep_completes_a_move_that_a_crash_interrupted(pipeline: Pipeline) -> None:
    await _fill(pipeline, 2)
    path = (await pipeline.files())[0]
    _move_back(pipeline, path)
    assert "/staging/" in pipeline.store.locate(path)
    assert (await clean_files(pipeline.pool, pipeline.store)).moved == 1
    assert pipeline.globbed() == pipeline.logged


async def test_an_orphan_leaves_the_glob_first_and_the_store_later(pipeline: Pipeline) -> None:
    await _fill(pipeline, 2)
    store = pipeline.store
    staged, foreign = f"metrics/experiment=exp/{'1' * 32}.parquet", "metrics/experiment=exp/mine.parquet"
    for new in (store.create(ORPHAN), store.stage(staged), store.create(foreign)):
        new.stream.write(b"PAR1")
        new.commit()
    assert (await clean_files(pipeline.pool, store)).orphans == 0  # it may be somebody's work in progress
    report = await clean_files(pipeline.pool, store, grace=-10)
    assert (report.orphans, report.deleted) == (1, 1)
    assert "/trash/" in store.locate(ORPHAN)
    with pytest.raises(StoreError):
        store.locate(staged)
    assert (await clean_files(pipeline.pool, store, grace=-10)).deleted == 0
    assert (await clean_files(pipeline.pool, store, grace=-10, keep=-10)).deleted == 1
    assert store.exists(foreign)  # not one of our names
    store.delete(foreign)
    assert pipeline.globbed() == pipeline.logged


async def test_a_database_that_is_not_the_stores_own_deletes_nothing(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody pointed a fresh database at a store full of points: to it, every file is an orphan."""
    await _fill(pipeline, 2)
    await clean_files(pipeline.pool, pipeline.store)
    await pipeline.pool.execute("truncate files, file_runs, iceberg_files")
    await pipeline.pool.execute("update installation set id = gen_random_uuid()")
    for marked in (True, False):
        report = await clean_files(pipeline.pool, pipeline.store, grace=-10, keep=-10)
        assert (report.orphans, report.deleted) == (0, 0)
        assert "belongs to" in caplog.text
        assert pipeline.globbed() == pipeline.logged
        if marked:
            pipeline.store.delete(MARKER)


async def test_a_sweep_leaves_young_claims_and_removes_old_ones_with_their_file(pipeline: Pipeline) -> None:
    path = "metrics/experiment=exp/claimed.parquet"
    async with pipeline.pool.acquire() as connection:
        await manifest.claim(connection, "metrics", path, None, [])
    with pipeline.store.stage(path) as new:
        new.stream.write(b"begun")
    await clean_rows(pipeline.pool, pipeline.store, pending_grace=60, trash_grace=60)
    await clean_files(pipeline.pool, pipeline.store, grace=-10)
    assert pipeline.store.locate(path)
    assert (await clean_rows(pipeline.pool, pipeline.store, pending_grace=-1, trash_grace=60)).abandoned == 1
    with pytest.raises(StoreError):
        pipeline.store.locate(path)


def sorted_zeros(run_id: str, counts: list[int]) -> SortedPoints:
    """A run of series of these lengths."""
    steps = np.arange(sum(counts))
    series = [SeriesKey(SeriesClass.METRIC, f"s{i}") for i in range(len(counts))]
    bits = np.zeros(len(steps), dtype=np.uint64)
    return SortedPoints(
        run_id, series, np.array(counts), steps, steps, bits, Kind.FLOAT, [], steps[:0], steps[:0]
    )


def test_row_groups_are_cut_between_series() -> None:
    sink = io.BytesIO()
    groups = RowGroups(sink, METRICS)
    counts = {1: [100_000, 100_000, 5], 2: [2_500_000, 10], 3: [10] * 200}
    for key, lengths in counts.items():
        points = sorted_zeros(f"run_{key}", lengths)
        groups.add(key, points.metrics_table(), points.ends)
    groups.close()
    file = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [200_000, 5, MAX_ROWS, MAX_ROWS, 2_500_000 - 2 * MAX_ROWS, 2010]
    assert all(size >= MIN_ROWS for size in (sizes[0], *sizes[2:5]))
    assert {key: (place.first, place.last) for key, place in groups.runs.items()} == {
        1: (0, 1),
        2: (2, 5),
        3: (5, 5),
    }
    assert manifest.tier_of(MAX_ROWS * 4) > merge.TOP_TIER


def test_a_row_group_repeats_only_the_names_it_holds() -> None:
    sink = io.BytesIO()
    groups = RowGroups(sink, METRICS)
    points = sorted_zeros("run", [1000] * 1000)
    groups.add(1, points.metrics_table(), points.ends)
    groups.close()
    file = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
    for number in range(file.metadata.num_row_groups):
        names = file.read_row_group(number).column("name").combine_chunks()
        assert len(names.dictionary) == len(names) // 1000
        assert names[0].as_py() == f"s{132 * number}"
