"""Deleted runs: out of sight at once, gone after a purge, whatever step it dies at; nothing brings them back."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.purge import SNAPSHOT_PROPERTIES, purge_runs, purge_snapshots
from runstream_consumers.compaction.worker import Worker
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer
from runstream_query.runs.deletion import StillActive, delete_runs, would_delete
from runstream_query.sql.sql import run_sql
from runstream_schemas.runs.deletion import run_folder
from runstream_schemas.wire.events import MetricsEvent, StatusEvent, StatusOp, TagOp, TagsEvent, summarize
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import build_points

from .conftest import START, Pipeline, floats
from .test_crash import STRIDE, let_die, mortal

__all__ = ["mortal"]


async def purge(pipeline: Pipeline) -> Any:
    worker = Worker()
    try:
        return await purge_runs(pipeline.pool, pipeline.store, worker)
    finally:
        worker.close()


def without(pipeline: Pipeline, *run_ids: str) -> Counter[Any]:
    return Counter({cell: n for cell, n in pipeline.logged.items() if cell[0] not in run_ids})


async def upload(pipeline: Pipeline, run_id: str, path: str) -> Path:
    new = pipeline.store.create(f"{run_folder(run_id)}/{path}")
    new.stream.write(b"x")
    new.commit()
    await pipeline.pool.execute(
        "insert into artifacts (run_key, path, size, sha256) values ($1, $2, 1, 'x')",
        pipeline.run_keys[run_id],
        path,
    )
    return Path(pipeline.store.root, run_folder(run_id), path)


async def filled(pipeline: Pipeline) -> None:
    """Runs a, b and c share a file; d has one of its own and hot points; all but a have a parent: a <- b <- c."""
    for run, parent in (("a", None), ("b", "a"), ("c", "b")):
        key = await pipeline.add_run(run)
        await pipeline.pool.execute("update runs set parent_run_id = $2 where key = $1", key, parent)
        await pipeline.add_chunk(run, floats("x", range(20)))
    await pipeline.compact(now=True)
    await pipeline.add_run("d")
    await pipeline.add_chunk("d", floats("x", range(20)))
    await pipeline.compact(now=True)
    await pipeline.add_chunk("d", floats("y", range(3), slot=20))


async def test_a_deleted_run_goes_with_its_descendants_and_the_others_stay(pipeline: Pipeline) -> None:
    await filled(pipeline)
    kept, gone = await upload(pipeline, "a", "model"), await upload(pipeline, "b", "out/model")
    async with pipeline.pool.acquire() as connection:
        held = await would_delete(connection, ["b"])
        assert (held["runs"], held["descendants"], held["active"], held["files"]) == (1, 1, 0, 1)
    assert sorted(await delete_runs(pipeline.pool, ["b", "nobody"])) == ["b", "c"]
    assert await delete_runs(pipeline.pool, ["b"]) == []
    rest = without(pipeline, "b", "c")
    # At once: files still hold the points, no reader shows them.
    table = await run_sql(
        pipeline.pool, pipeline.store, pipeline.settings, "select distinct run_id from metrics"
    )
    assert sorted(table.column(0).to_pylist()) == ["a", "d"]
    assert await pipeline.both_tiers() == pipeline.logged
    report = await purge(pipeline)
    assert (report.runs, report.files, report.uploads) == (2, 1, 1)
    assert await pipeline.both_tiers() == rest
    assert pipeline.globbed() == rest - await pipeline.hot()
    assert kept.exists()
    assert not gone.exists()
    for table_name in ("chunks", "file_runs fr join files f on f.id = fr.file_id and f.state = 'live'"):
        left = await pipeline.pool.fetch(f"select distinct run_key from {table_name}")
        assert {row["run_key"] for row in left} <= {pipeline.run_keys["a"], pipeline.run_keys["d"]}
    assert (await purge(pipeline)).runs == 0


async def test_a_file_that_holds_nothing_else_goes_and_its_experiment_can_go_too(pipeline: Pipeline) -> None:
    await filled(pipeline)
    await delete_runs(pipeline.pool, ["d"])
    await purge(pipeline)
    assert await pipeline.both_tiers() == pipeline.globbed() == without(pipeline, "d")
    await delete_runs(pipeline.pool, ["a"])
    await pipeline.pool.execute("delete from experiments")
    await purge(pipeline)
    assert await pipeline.both_tiers() == pipeline.globbed() == Counter()


async def test_a_run_that_has_not_ended_needs_force(pipeline: Pipeline) -> None:
    await pipeline.add_run("live", status="Running")
    with pytest.raises(StillActive, match="1 of 1 runs have not ended"):
        await delete_runs(pipeline.pool, ["live"])
    assert await delete_runs(pipeline.pool, ["live"], force=True) == ["live"]


async def test_files_that_still_hold_deleted_runs_can_be_merged(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream_consumers.compaction.merge.FANOUT", 2)
    await filled(pipeline)
    await delete_runs(pipeline.pool, ["b"])
    worker = Worker()
    report = await merge_small_files(pipeline.pool, pipeline.store, worker)
    worker.close()
    assert report.merged == 1
    assert (await purge(pipeline)).runs == 2
    assert await pipeline.both_tiers() == without(pipeline, "b", "c")


@pytest.mark.parametrize("known", [True, False])
async def test_what_arrives_late_brings_nothing_back(pipeline: Pipeline, known: bool) -> None:
    """`known`: the writer has the run and its sources in its cache."""
    writer = Writer(pipeline.pool, pipeline.settings)
    place = Partition("cluster", "topic", "metrics", 0)
    offset = 0

    async def store(slot: int) -> None:
        nonlocal offset
        points = build_points(floats("x", range(5), slot=slot, time=START + slot))
        events = []
        for run in ("gone", "stays"):
            source = run.encode().ljust(16, b"-")
            events += [
                MetricsEvent(
                    run, source, slot, 5, 5, points.series, summarize(points), encode_points(points)
                ),
                TagsEvent(run, source, slot, 1, [TagOp(slot, START + slot, "set", "k", str(slot))]),
                StatusEvent(run, source, slot, 1, [StatusOp(slot, START + slot, "start", {})]),
            ]
        await writer.store([Fetched(place, offset, offset + 1, events)])
        offset += 1

    await store(0)
    deleted_key = await pipeline.pool.fetchval("select key from runs where run_id = 'gone'")
    await delete_runs(pipeline.pool, ["gone"], force=True)
    if not known:
        writer = Writer(pipeline.pool, pipeline.settings)
    for slot in (5, 10):
        await store(slot)
    assert [row["run_id"] for row in await pipeline.pool.fetch("select run_id from runs")] == ["stays"]
    counts = await pipeline.pool.fetch("select run_key, count(*) as n from chunks group by 1 order by 1")
    assert [row["n"] for row in counts if row["run_key"] != deleted_key] == [3]
    assert writer.counters.dead_letters == 0
    await purge(pipeline)
    assert not await pipeline.pool.fetchval("select count(*) from chunks where run_key = $1", deleted_key)
    assert await pipeline.pool.fetchval("select string_agg(value, chr(44)) from tags") == "10"
    assert await pipeline.pool.fetchval("select sum(count) from summaries") == 15


async def test_a_child_made_after_its_parent_was_deleted_goes_too(pipeline: Pipeline) -> None:
    await filled(pipeline)
    await delete_runs(pipeline.pool, ["a"])
    key = await pipeline.add_run("late", status="Running")
    await pipeline.pool.execute("update runs set parent_run_id = 'c' where key = $1", key)
    await purge(pipeline)
    assert [row["run_id"] for row in await pipeline.pool.fetch("select run_id from runs")] == ["d"]


@pytest.mark.parametrize("name", SNAPSHOT_PROPERTIES)
async def test_snapshots_without_a_run_are_deleted(pipeline: Pipeline, name: str) -> None:
    for digest in ("a" * 64, "b" * 64):
        new = pipeline.store.create(f"blobs/{digest[:2]}/{digest}")
        new.stream.write(b"x")
        new.commit()
        await pipeline.pool.execute("insert into blobs (sha256, size) values ($1, 1)", digest)
        await pipeline.pool.execute(
            "insert into source_snapshots (id, files, size) values ($1, 1, 1)", digest
        )
        await pipeline.pool.execute(
            "insert into source_files (snapshot_id, path, sha256, executable) values ($1, 'x', $1, false)",
            digest,
        )
    key = await pipeline.add_run("r")
    await pipeline.pool.execute(
        "insert into properties (run_key, key, value, time_us, source, seq) "
        "values ($1, $3, $2, 0, gen_random_uuid(), 0)",
        key,
        "a" * 64,
        name,
    )
    assert await purge_snapshots(pipeline.pool, pipeline.store) == 0  # they are young
    assert await purge_snapshots(pipeline.pool, pipeline.store, keep=-1.0) == 1
    assert [entry.path for entry in pipeline.store.list("blobs")] == [f"blobs/aa/{'a' * 64}"]
    await delete_runs(pipeline.pool, ["r"])
    assert await purge_snapshots(pipeline.pool, pipeline.store, keep=-1.0) == 1


@pytest.mark.timeout(900)
async def test_a_purge_that_dies_at_any_step_is_completed(
    pipeline: Pipeline, mortal: subprocess.Popen[str]
) -> None:
    step, code, stride, gone = -20, 9, 2 * STRIDE + 1, set()
    while code == 9:
        step += stride
        names = [f"run_{step}_{number}" for number in range(3)]
        for name in names:
            await pipeline.add_run(name, f"exp_{step}")
            await pipeline.add_chunk(name, floats("x", range(10)))
        await pipeline.compact(now=True)
        await pipeline.add_chunk(names[0], floats("y", range(3), slot=10))
        await upload(pipeline, names[0], "model")
        gone.add(names[0])
        await delete_runs(pipeline.pool, [names[0]])
        code = await let_die(pipeline, mortal, step)
        assert code in (0, 9), f"step {step}"
        others = without(pipeline, *gone)
        held = await pipeline.both_tiers()
        assert {cell: n for cell, n in held.items() if cell[0] not in gone} == others, f"died at step {step}"
        assert not [cell for cell, n in pipeline.globbed().items() if n > pipeline.logged[cell]]
        assert await let_die(pipeline, mortal, 1 << 30) == 0
        assert await pipeline.both_tiers() == others, f"after step {step}"
    assert step > 60  # or the steps are not counted
    assert await let_die(pipeline, mortal, 1 << 30) == 0  # sweeps what the last round replaced
    assert await pipeline.both_tiers() == pipeline.globbed() == others
    live = set(await pipeline.files())
    kinds = ("metrics", "tables", "staging", "trash", "artifacts")
    assert {entry.path for kind in kinds for entry in pipeline.store.list(kind)} == live
    assert not await pipeline.pool.fetchval("select count(*) from deleted_runs where purged_at is null")
