"""A rewind brings points back from files of Iceberg tables: every snapshot has them once, on the branch of its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import StaticTable
from tests.producers.reading import drain, settings_for

from runstream.spool.collecting.collector import Collector
from runstream.spool.writing.writer import RunWriter
from runstream_consumers.compaction.iceberg.cleaning import clean_metadata
from runstream_consumers.compaction.iceberg.publisher import Publisher
from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.orphans import clean_files, clean_rows
from runstream_consumers.compaction.recall import Recall
from runstream_consumers.compaction.worker import Worker
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer

from .conftest import Pipeline, floats

BESIDE = [float(value) for value in range(5)]


@pytest.fixture
def worker() -> Any:
    worker = Worker()
    yield worker
    worker.close()


class Rewinding:
    """A run that is logged, rewound and compacted, beside another one in its file."""

    def __init__(self, pipeline: Pipeline, directory: Path, worker: Worker) -> None:
        settings = settings_for(directory / "spool")
        self.pipeline, self.worker = pipeline, worker
        self.run = RunWriter(settings, "rewound")
        self.collector = Collector(settings)
        self.cold = Recall(pipeline.pool, pipeline.settings)
        self.writer = Writer(pipeline.pool, pipeline.settings, cold=self.cold)
        self.publisher = Publisher(pipeline.pool, pipeline.store, pipeline.settings, worker)
        self.stored = 0

    def log(self, first: int, end: int, offset: int = 0) -> None:
        for step in range(first, end):
            self.run.log("loss", float(step + offset), "", step)

    async def store(self) -> None:
        events = drain(self.collector)
        partition = Partition("cluster", "topic", "metrics", 0)
        await self.writer.store([Fetched(partition, self.stored, self.stored + len(events), events)])
        self.stored += len(events)

    async def compact(self) -> None:
        await self.pipeline.pool.execute("update runs set settled_at = now(), status = 'Completed'")
        await self.pipeline.compact(now=True)
        await merge_small_files(self.pipeline.pool, self.pipeline.store, self.worker)
        assert not await self.pipeline.pool.fetchval("select count(*) from chunks")

    async def tables(self) -> dict[str, StaticTable]:
        rows = await self.pipeline.pool.fetch("select name, metadata from iceberg_tables")
        return {
            row["name"]: StaticTable.from_metadata(self.pipeline.store.address(row["metadata"]))
            for row in rows
        }

    async def shown(self) -> dict[str, list[float]]:
        """By table and run, or former branch, the values of the newest snapshots."""
        shown: dict[str, list[float]] = {}
        for name, table in (await self.tables()).items():
            for row in table.scan().to_arrow().sort_by("step").to_pylist():
                key = f"{row['run_id']} {row['branch']}" if name == "former" else row["run_id"]
                shown.setdefault(key, []).append(row["value"])
        return shown


@pytest.fixture
async def rewinding(pipeline: Pipeline, tmp_path: Path, worker: Worker) -> Rewinding:
    """Both runs lie in one file, which the table shows."""
    rewinding = Rewinding(pipeline, tmp_path, worker)
    for run in ("rewound", "beside"):
        await pipeline.add_run(run)
    await pipeline.add_chunk("beside", floats("loss", BESIDE))
    rewinding.log(0, 10)
    await rewinding.store()
    await rewinding.compact()
    await rewinding.publisher.publish()
    assert await rewinding.shown() == {"rewound": [float(step) for step in range(10)], "beside": BESIDE}
    return rewinding


async def test_points_that_come_back_leave_the_table_and_return_on_their_branch(rewinding: Rewinding) -> None:
    before = (await rewinding.tables())["metrics"]
    rewinding.run.rewind(3)
    rewinding.log(4, 7, 100)
    await rewinding.store()
    # What came back is in the hot tier, ahead of the table, which says so.
    report = await rewinding.publisher.publish()
    assert (report.added, report.removed) == (1, 1)
    assert await rewinding.shown() == {"beside": BESIDE}
    snapshot = (await rewinding.tables())["metrics"].current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary["runstream.hot-points"] == "13"
    await rewinding.compact()
    await rewinding.publisher.publish()
    visible, former = [0.0, 1.0, 2.0, 3.0, 104.0, 105.0, 106.0], [float(step) for step in range(4, 10)]
    assert await rewinding.shown() == {"rewound": visible, "beside": BESIDE, "rewound 1": former}
    # Who began before the rewind reads what was then, and the cleaning leaves him the file.
    pool, store = rewinding.pipeline.pool, rewinding.pipeline.store
    await clean_rows(pool, store, pending_grace=60, trash_grace=0)
    await clean_files(pool, store, grace=-10, keep=-10)
    values = before.scan(row_filter="run_id = 'rewound'").to_arrow().column("value").to_pylist()
    assert sorted(values) == [float(step) for step in range(10)]
    await pool.execute("update uptime set seconds = seconds + 1000")
    await rewinding.publisher.publish()
    await clean_metadata(pool, store, rewinding.worker, grace=-10)
    assert await rewinding.shown() == {"rewound": visible, "beside": BESIDE, "rewound 1": former}


async def test_a_rewind_between_two_snapshots_is_seen_whole_or_not_at_all(rewinding: Rewinding) -> None:
    """Nobody publishes between the rewind and the file its points are in again."""
    rewinding.run.rewind(-1)
    rewinding.log(0, 2, 200)
    await rewinding.store()
    await rewinding.compact()
    await rewinding.publisher.publish()
    everything = [float(step) for step in range(10)]
    assert await rewinding.shown() == {"rewound": [200.0, 201.0], "beside": BESIDE, "rewound 1": everything}
    seen = []
    table = (await rewinding.tables())["metrics"]
    for snapshot in table.snapshots():
        rows = table.scan(row_filter="run_id = 'rewound'", snapshot_id=snapshot.snapshot_id).to_arrow()
        seen.append(sorted(rows.column("value").to_pylist()))
    assert seen == [everything, [200.0, 201.0]]
