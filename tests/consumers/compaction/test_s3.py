"""The whole of compaction against an object store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from tests.schemas.test_store import s3, s3_settings

from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.orphans import clean_files, clean_rows
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.store import open_store

from .conftest import Pipeline, rounds

__all__ = ["s3"]


async def test_points_go_to_objects_are_merged_and_swept(pipeline: Pipeline, s3: str, tmp_path: Path) -> None:
    pipeline.settings = replace(
        s3_settings(s3, tmp_path.name),
        database=pipeline.settings.database,
        compact_after=pipeline.settings.compact_after,
    )
    store = pipeline.store = open_store(pipeline.settings)
    worker = Worker()
    for number in range(8):
        await pipeline.add_run(f"run_{number}")
        await pipeline.add_chunk(f"run_{number}", rounds(["a", "b"], 10))
        await pipeline.compact()
    old = await pipeline.files()
    assert len(old) == 8
    await merge_small_files(pipeline.pool, store, worker)
    (path,) = await pipeline.files()
    with store.open_input(path) as source:
        table = pq.read_table(source)
    assert table.num_rows == 160
    assert len(set(table.column("run_id").to_pylist())) == 8
    with store.open_input(old[0]) as source:  # queries under way still find it
        assert pq.ParquetFile(source).metadata.num_rows == 20
    await clean_rows(pipeline.pool, store, pending_grace=60, trash_grace=0)
    with store.create(f"metrics/experiment=exp/{'0' * 32}.parquet") as new:
        new.stream.write(b"left by a crash")
    assert (await clean_files(pipeline.pool, store, grace=-10)).deleted == 0
    assert (await clean_files(pipeline.pool, store, grace=-10, keep=-10)).deleted == 1
    assert [entry.path for entry in store.list("metrics")] == [path]
    worker.close()
