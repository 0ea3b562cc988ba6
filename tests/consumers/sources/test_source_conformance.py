"""What every source promises, for each of them: a spool directory and a Kafka topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from tests.consumers.logged import LoggingSource

from runstream.spool.writing.writer import RunWriter
from runstream_consumers.sources.kafka_source import KafkaSource
from runstream_consumers.sources.source import EventSource, Fetched, Partition
from runstream_consumers.sources.spool_source import SpoolSource
from runstream_consumers.storing.consumer import ConsumerState, consume
from runstream_consumers.storing.transaction import FenceLost
from runstream_consumers.storing.writer import Writer
from runstream_schemas.kafka.topics import kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import MetricsEvent, encode_event

RUNS = [f"run-{i}" for i in range(5)]


class LogUnderTest:
    """A log a test can write to, and open as often as it likes."""

    def __init__(
        self, settings: Settings, open_source: Callable[[Writer], EventSource], pool: asyncpg.Pool
    ) -> None:
        self.settings = settings
        self.pool = pool
        self._open = open_source

    async def write(self, points: int) -> None:
        """Log `points` to each run."""
        raise NotImplementedError

    def source_for(self, writer: Writer) -> EventSource:
        return self._open(writer)

    async def open(self) -> tuple[EventSource, Writer]:
        writer = Writer(self.pool, self.settings)
        source = self._open(writer)
        await source.start()
        return source, writer

    async def stored(self) -> int:
        return int(await self.pool.fetchval("select coalesce(sum(points), 0) from chunks"))


class SpoolLog(LogUnderTest):
    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        super().__init__(settings, lambda writer: SpoolSource(settings, writer.load_offsets), pool)
        self.writers = [RunWriter(settings, run_id) for run_id in RUNS]

    async def write(self, points: int) -> None:
        for writer in self.writers:
            for i in range(points):
                writer.log("loss", float(i))


class TopicLog(LogUnderTest):
    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        super().__init__(settings, lambda writer: KafkaSource(settings, "metrics", writer.load_offsets), pool)
        self.sources = [LoggingSource(run_id) for run_id in RUNS]

    async def write(self, points: int) -> None:
        producer = AIOKafkaProducer(**kafka_client_options(self.settings))
        await producer.start()
        for source in self.sources:
            first = len(source.points)
            for i in range(points):
                source.log("loss", float(i))
            value = encode_event(source.event(first, first + points))
            await producer.send_and_wait(
                f"{self.settings.topic_prefix}.metrics", value, source.run_id.encode()
            )
        await producer.stop()


@pytest.fixture
async def spool_log(pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[LogUnderTest]:
    spool = SpoolLog(Settings(spool=str(tmp_path / "spool"), flush_interval=0.02), pool)
    yield spool
    for writer in spool.writers:
        writer.close()


@pytest.fixture
async def topic_log(pool: asyncpg.Pool, kafka: Any) -> LogUnderTest:
    return TopicLog(kafka.settings(), pool)


@pytest.fixture(params=["spool_log", pytest.param("topic_log", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> LogUnderTest:
    under_test: LogUnderTest = request.getfixturevalue(request.param)
    return under_test


def points_of(batch: list[Fetched]) -> int:
    return sum(
        event.points for fetched in batch for event in fetched.events if isinstance(event, MetricsEvent)
    )


async def fetch_points(source: EventSource, points: int) -> list[list[Fetched]]:
    """Batches with so many points, not stored."""
    batches: list[list[Fetched]] = []
    async with asyncio.timeout(20):
        while sum(map(points_of, batches)) < points:
            batch = await source.fetch(1 << 20, 0.2)
            if batch:
                batches.append(batch)
    return batches


async def store(source: EventSource, writer: Writer, batches: list[list[Fetched]]) -> None:
    for batch in batches:
        await writer.store(batch)
        for fetched in batch:
            await source.stored(fetched)


async def test_everything_comes_once(log: LogUnderTest) -> None:
    source, writer = await log.open()
    for _ in range(3):
        await log.write(100)
        await store(source, writer, await fetch_points(source, 500))
    assert await source.fetch(1 << 20, 0.1) == []
    assert await log.stored() == 1500
    await source.stop()


async def test_batches_of_a_partition_follow_one_another(log: LogUnderTest) -> None:
    source, _ = await log.open()
    ends: dict[Any, int] = {}
    for _ in range(3):
        await log.write(50)
        for batch in await fetch_points(source, 250):
            assert len({fetched.partition for fetched in batch}) == len(batch)
            for fetched in batch:
                assert fetched.next > fetched.start
                assert fetched.start == ends.get(fetched.partition, fetched.start)
                ends[fetched.partition] = fetched.next
    await source.stop()


async def test_what_was_not_stored_comes_again(log: LogUnderTest) -> None:
    await log.write(100)
    source, writer = await log.open()
    batches = await fetch_points(source, 500)
    await store(source, writer, batches[:1])
    await log.write(10)
    await fetch_points(source, 50)  # read ahead, and forgotten
    await source.stop()
    source, writer = await log.open()
    async with asyncio.timeout(30):
        while await log.stored() < 550:
            await store(source, writer, [await source.fetch(1 << 20, 0.1)])
    assert await log.stored() == 550
    await source.stop()


async def test_after_a_lost_fence_it_goes_on_from_what_is_stored(log: LogUnderTest) -> None:
    await log.write(100)
    source, writer = await log.open()
    batches = await fetch_points(source, 500)
    # Somebody else stores the same, and their commits come first.
    other = Writer(log.pool, log.settings)
    for batch in batches:
        await other.store(batch)
    for batch in batches:
        with pytest.raises(FenceLost) as lost:
            await writer.store(batch)
        for partition in lost.value.partitions:
            await source.lost(partition)
    await log.write(20)
    async with asyncio.timeout(30):
        while await log.stored() < 600:
            await store(source, writer, [await source.fetch(1 << 20, 0.1)])
    assert await log.stored() == 600
    assert writer.counters.fences_lost == len(batches)
    await source.stop()


class ForgetfulWriter(Writer):
    """Its first commits succeed, and their answers are lost: the next attempt finds the fence moved, by nobody else.

    A batch is stored only when the consumer has the next one in hand, or knows that there is none.
    """

    def __init__(self, log: LogUnderTest, unanswered: int) -> None:
        super().__init__(log.pool, log.settings)
        self.unanswered = unanswered
        self.fetched_on = asyncio.Event()
        self.given: list[Fetched] = []
        self.holes = 0

    async def store(self, batch: Sequence[Fetched]) -> None:
        self.given += batch
        await self.fetched_on.wait()
        self.fetched_on.clear()
        if self.unanswered:
            self.unanswered -= 1
            await super().store(batch)
        await super().store(batch)
        self.holes += await self.pool.fetchval("select count(*) from sources where ahead <> '{}'")


async def test_what_was_handed_out_before_a_lost_fence_is_not_stored_after_it(log: LogUnderTest) -> None:
    writer, writes = ForgetfulWriter(log, unanswered=2), 8
    source = log.source_for(writer)
    batches: list[list[Fetched]] = []
    let_go: list[Fetched] = []
    fetch, lost = source.fetch, source.lost

    async def write_and_fetch(max_bytes: int, timeout: float) -> list[Fetched]:
        if len(batches) < writes:
            await log.write(10)
            batches.append([])
            while not batches[-1]:
                batches[-1] = await fetch(max_bytes, timeout)
        else:
            batches.append(await fetch(max_bytes, timeout))
        if len(batches) > 1:
            writer.fetched_on.set()
        return batches[-1]

    async def note_lost(partition: Partition) -> None:
        let_go.extend(fetched for fetched in batches[-1] if fetched.partition == partition)
        await lost(partition)

    source.fetch, source.lost = write_and_fetch, note_lost  # type: ignore[method-assign]
    stop = asyncio.Event()
    consuming = asyncio.create_task(consume(source, writer, "metrics", 1 << 20, stop, ConsumerState()))
    try:
        async with asyncio.timeout(60):
            while len(batches) < writes or await log.stored() < writes * 10 * len(RUNS):
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        writer.fetched_on.set()
        await consuming
    assert let_go, "nothing was in hand"
    assert not [fetched for fetched in let_go if any(fetched is given for given in writer.given)]
    assert writer.counters.fences_lost == 2, "the writer has lost the fence to itself"
    assert writer.holes == 0, "a batch was stored whose predecessor was not"


async def test_an_empty_log_is_waited_for_no_longer_than_asked(log: LogUnderTest) -> None:
    source, _ = await log.open()
    async with asyncio.timeout(10):
        for _ in range(5):
            assert await source.fetch(1 << 20, 0.05) == []
    assert source.lag() == 0
    await source.stop()
