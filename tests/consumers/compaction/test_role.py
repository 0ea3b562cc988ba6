"""The compactor as a role: it does everything by itself, survives an outage, and ends when told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from runstream_consumers.compaction import role as compaction
from runstream_consumers.compaction.orphans import clean_rows
from runstream_consumers.compaction.role import run_compactor
from runstream_consumers.compaction.runs_file import PATH
from runstream_consumers.compaction.selection import is_due
from runstream_consumers.compaction.state import CompactorState
from runstream_consumers.storing.run_states import RunChanges, store_run_changes
from runstream_schemas.errors import StoreError
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore
from runstream_schemas.wire.events import StatusOp
from runstream_service.sync import compact_now

from .conftest import Pipeline, floats, rounds


async def _until(pipeline: Pipeline, files: int) -> None:
    async with asyncio.timeout(20):
        while len(await pipeline.files()) != files or not pipeline.store.exists(PATH):
            await asyncio.sleep(0.05)


async def test_it_compacts_merges_and_writes_the_runs_until_it_is_stopped(pipeline: Pipeline) -> None:
    stop = asyncio.Event()
    role = asyncio.create_task(run_compactor(replace(pipeline.settings, compact_interval=0.1), stop))
    for number in range(8):
        await pipeline.add_run(f"run_{number}")
        await pipeline.add_chunk(f"run_{number}", rounds(["a", "b"], 10))
        async with asyncio.timeout(20):
            while await pipeline.hot():
                await asyncio.sleep(0.02)
    await _until(pipeline, 1)
    stop.set()
    await asyncio.wait_for(role, 10)
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_it_counts_what_is_left_in_the_hot_tier(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all compactors together: any of them shows it."""
    monkeypatch.setattr(compaction, "LEFT_EVERY", 0.0)
    await pipeline.add_run("live", status="Running")
    await pipeline.add_chunk("live", rounds(["a", "b"], 10))
    stop, state = asyncio.Event(), CompactorState()
    settings = replace(pipeline.settings, compact_interval=0.1)
    role = asyncio.create_task(run_compactor(settings, stop, state=state))
    async with asyncio.timeout(20):
        while not state.left:
            await asyncio.sleep(0.02)
    assert state.left == {"moving": (0, 0), "ended": (0, 0), "running": (1, 20)}
    stop.set()
    await asyncio.wait_for(role, 10)
    hot = {
        (family.name, *sample.labels.items()): sample.value
        for family in state.collect()
        for sample in family.samples
        if "_hot_" in family.name and sample.labels["state"] == "running"
    }
    running = ("state", "running")
    assert hot == {
        ("runstream_compactor_hot_runs", running): 1,
        ("runstream_compactor_hot_points", running): 20,
    }


async def test_a_store_that_cannot_be_written_is_tried_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compaction, "_RETRY", 0.1)
    stage = LocalStore.stage
    refused = asyncio.Event()

    def full(store: LocalStore, path: str) -> object:
        loop.call_soon_threadsafe(refused.set)
        raise StoreError(f"{path}: cannot write it in the store {store.root} (No space left on device)")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(LocalStore, "stage", full)
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", rounds(["a"], 10))
    stop = asyncio.Event()
    role = asyncio.create_task(run_compactor(replace(pipeline.settings, compact_interval=0.1), stop))
    await asyncio.wait_for(refused.wait(), 10)
    assert await pipeline.hot() == pipeline.logged
    monkeypatch.setattr(LocalStore, "stage", stage)
    await _until(pipeline, 1)
    stop.set()
    await asyncio.wait_for(role, 10)
    assert "No space left on device" in caplog.text
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


RUN = {
    "experiment_id": 1,
    "status": "Completed",
    "settled_at": "long ago",
    "settled_ago": 60.0,
    "newest_ago": 60.0,
    "oldest_ago": 60.0,
    "bytes": 1000,
    "chunks": 1,
}


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({}, True),
        ({"settled_ago": 5.0}, False),
        ({"newest_ago": 5.0}, False),  # late points: more may follow
        ({"newest_ago": 5.0, "oldest_ago": 300.0}, True),  # but not for ever
        ({"settled_at": None, "settled_ago": None}, False),
        ({"settled_at": None, "settled_ago": None, "newest_ago": 700.0}, True),
        ({"settled_at": None, "settled_ago": None, "status": "Running", "newest_ago": 700.0}, False),
        ({"settled_at": None, "settled_ago": None, "status": "Running", "newest_ago": 4000.0}, True),
        (
            {
                "settled_at": None,
                "settled_ago": None,
                "status": "Running",
                "newest_ago": 0.0,
                "bytes": 1 << 30,
            },
            True,
        ),
        (
            {"settled_at": None, "settled_ago": None, "status": "Running", "newest_ago": 0.0, "chunks": 9000},
            True,
        ),
        ({"experiment_id": None}, False),  # its creation may be on its way
        ({"experiment_id": None, "newest_ago": 90_000.0}, True),
    ],
)
def test_when_a_run_is_due(change: dict[str, object], due: bool) -> None:
    assert is_due(RUN | change, Settings()) is due


@pytest.mark.parametrize(("state", "age"), [("pending", 60), ("trash", 900)])
async def test_no_clock_that_is_set_forward_takes_a_claim_or_a_replaced_file_away(
    pipeline: Pipeline, state: str, age: int
) -> None:
    await pipeline.pool.execute(
        "insert into files (kind, path, state, changed_at) values ('metrics', 'x', $1, now() - interval '1 day')",
        state,
    )

    async def there() -> bool:
        await clean_rows(pipeline.pool, pipeline.store, pending_grace=60.0, trash_grace=900.0)
        return bool(await pipeline.pool.fetchval("select count(*) from files"))

    assert await there()
    await pipeline.pool.execute("update uptime set seconds = seconds + $1", age - 1)
    assert await there()
    await pipeline.pool.execute("update uptime set seconds = seconds + 1")
    assert not await there()


async def test_compacting_by_hand_waits_for_another_compactor_and_says_what_stays(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_id, points in (("claimed", 10), ("free", 10), ("damaged", 50)):
        await pipeline.add_run(run_id)
        await pipeline.add_chunk(run_id, floats("x", range(points)))
    life = RunChanges()  # its status follows from it when the damage is noted
    for seq, kind in enumerate(("create", "complete")):
        life.add_status(
            pipeline.run_keys["damaged"], b"s" * 16, StatusOp(seq, 1_700_000_000_000_000 + seq, kind, {})
        )
    async with pipeline.pool.acquire() as connection, connection.transaction():
        await store_run_changes(connection, life)
    await pipeline.pool.execute(
        "update runs set settled_at = now() - interval '1 minute' where run_id = 'damaged'"
    )
    await pipeline.add_run("goes_on", status="Running")
    await pipeline.add_chunk("goes_on", rounds(["a"], 10))
    await pipeline.pool.execute(
        "update chunks set payload = set_byte(payload, 40, 255) where run_key = $1",
        pipeline.run_keys["damaged"],
    )
    claim = await pipeline.pool.fetchval(
        "insert into files (kind, path, state) values ('metrics', 'metrics/x.parquet', 'pending') returning id"
    )
    await pipeline.pool.execute(
        "insert into file_runs values ($1, $2, 0, 0, 0)", claim, pipeline.run_keys["claimed"]
    )
    by_hand = asyncio.create_task(compact_now(pipeline.settings))
    said = ""
    async with asyncio.timeout(30):
        while "waiting for it" not in said:
            await asyncio.sleep(0.05)
            said += capsys.readouterr().out
        assert "is moving 10 points of 1 runs" in said
        await pipeline.pool.execute("delete from files where id = $1", claim)  # it gave up
        await by_hand
    said = capsys.readouterr().out
    assert said.startswith("20 points of 2 runs: 2 files, ")
    assert "50 points of 1 runs that ended stay in the database: damaged: damaged\n" in said
    assert said.endswith("10 points of 1 runs stay there until these end\n")
    assert {cell[0] for cell in await pipeline.cold()} == {"claimed", "free"}
