"""The spool as a source: what is told stored is what was stored, whatever was lost and read again meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.producers.reading import settings_for

from runstream import spool
from runstream_consumers.source import Fetched, Partition
from runstream_consumers.spool_source import SpoolSource
from runstream_schemas.events import MetricsEvent


def _slots(fetched: Sequence[Fetched]) -> list[int]:
    events = [event for one in fetched for event in one.events if isinstance(event, MetricsEvent)]
    return [slot for event in events for slot in range(event.first, event.first + event.count)]


async def test_a_batch_stored_after_a_lost_fence_frees_nothing_of_the_next(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "spool", flush_interval=0.0)
    offset = 0

    async def load(partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        return dict.fromkeys(partitions, offset)

    writer = spool.open_run(settings, "run")
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
        assert again[0].start == second[0].start
        await source.stored(second[0])  # it was being stored meanwhile
        await source.fetch(1 << 20, 0)  # what was told stored is noted with the next look
        await source.lost(source.partition)  # `again` meets the fence
        read = await source.fetch(1 << 20, 10)
        assert set(_slots(read)) >= set(_slots(again))
    finally:
        await source.stop()
        writer.close()
