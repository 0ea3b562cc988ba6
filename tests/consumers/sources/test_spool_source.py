"""The spool as a source: what is told stored was stored, and what was lost and read again is not stored by chance."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.producers.reading import settings_for

from runstream.spool.writing import writer as spool
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.sources.spool_source import SpoolSource
from runstream_consumers.storing.transaction import FenceLost
from runstream_consumers.storing.writer import Writer
from runstream_schemas.wire.events import MetricsEvent


def _slots(fetched: Sequence[Fetched]) -> list[int]:
    events = [event for batch in fetched for event in batch.events if isinstance(event, MetricsEvent)]
    return [slot for event in events for slot in range(event.first, event.first + event.count)]


async def test_a_batch_stored_after_a_lost_fence_frees_nothing_of_the_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "spool", flush_interval=0.0)
    offset = 0

    async def load(partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        return dict.fromkeys(partitions, offset)

    writer = spool.RunWriter(settings, "run")
    source = SpoolSource(settings, load)
    await source.start()
    try:
        writer.log("x", 0)
        first = await source.fetch(1 << 20, 10)
        writer.log("x", 1)
        second = await source.fetch(1 << 20, 10)
        # The commit of the first succeeded and its answer was lost: the fence is lost to nobody but oneself.
        offset = first[0].next
        await source.lost(source.partition)
        writer.log("x", 2)
        again = await source.fetch(1 << 20, 10)
        assert again[0].start == second[0].start != again[0].next != second[0].next
        await source.stored(second[0])  # it was being stored meanwhile
        await source.fetch(1 << 20, 0)  # what was told stored is noted with the next look
        await source.lost(source.partition)  # `again` meets the fence
        read = await source.fetch(1 << 20, 10)
        assert set(_slots(read)) >= set(_slots(again))
    finally:
        await source.stop()
        writer.close()


async def test_a_batch_that_was_forgotten_cannot_meet_the_fence_by_chance(
    tmp_path: Path, pool: asyncpg.Pool
) -> None:
    settings = settings_for(tmp_path / "spool", flush_interval=0.0)
    writer, storing = spool.RunWriter(settings, "run"), Writer(pool, settings)
    source = SpoolSource(settings, storing.load_offsets)
    await source.start()
    try:
        writer.log("x", 0)
        await storing.store(await source.fetch(1 << 20, 10))
        writer.log("x", 1)
        forgotten = await source.fetch(1 << 20, 10)
        writer.log("x", 2)
        in_hand = await source.fetch(1 << 20, 10)
        await source.lost(source.partition)
        await storing.store(await source.fetch(1 << 20, 10))  # begins where `forgotten` does
        writer.log("x", 3)
        for batch in (forgotten, in_hand):
            with pytest.raises(FenceLost):
                await storing.store(batch)
    finally:
        await source.stop()
        writer.close()


async def test_a_run_that_could_keep_no_point_is_settled_whoever_reads_its_end(
    tmp_path: Path, pool: asyncpg.Pool
) -> None:
    settings = settings_for(tmp_path / "spool", flush_interval=0.0)
    writer = spool.RunWriter(settings, "run")
    for steps in (["create", "start"], ["fail"]):  # the service is another one then
        for step in steps:
            writer.status(step)
        storing = Writer(pool, settings)
        source = SpoolSource(settings, storing.load_offsets)
        await source.start()
        batch = await source.fetch(1 << 20, 10)
        await storing.store(batch)
        await source.stored(batch[0])
        await source.stop()
    run = await pool.fetchrow("select status, settled_at is not null as settled from runs")
    assert dict(run) == {"status": "Failed", "settled": True}
    assert await pool.fetchval("select count(*) from gaps") == 0
    writer.close()


async def test_a_source_that_cannot_end_in_order_still_lets_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process shuts itself out: it begins anew, and finds the spool read by itself."""
    settings = settings_for(tmp_path / "spool", flush_interval=0.0)

    async def load(partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        return dict.fromkeys(partitions, 0)

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")  # what Python says where no memory can be had

    source = SpoolSource(settings, load)
    await source.start()
    with monkeypatch.context() as without_memory:
        without_memory.setattr(threading, "_start_new_thread", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await source.stop()
    spool.RunWriter(settings, "run").log("x", 0)
    following = SpoolSource(settings, load)
    await following.start()
    try:
        assert _slots(await following.fetch(1 << 20, 10))
    finally:
        await following.stop()
