"""Consumers of a real Kafka, storing into a real Postgres: whatever happens to either, what is stored is what was logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import msgpack
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from tests.consumers.logged import LoggingSource, assert_stored

from runstream_consumers.sources import kafka_source
from runstream_consumers.sources.kafka_source import KafkaSource
from runstream_consumers.storing.consumer import ConsumerState, consume, run_consumer
from runstream_consumers.storing.writer import Writer
from runstream_schemas.kafka.topics import ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp, encode_event, topic_of

pytestmark = pytest.mark.kafka


def runs(n: int, points: int = 100) -> list[LoggingSource]:
    sources = [LoggingSource(f"run-{i}") for i in range(n)]
    for source in sources:
        for i in range(points):
            source.log("ab"[i % 2], float(i))
    return sources


@pytest.fixture
def settings(kafka: Any, postgres: str) -> Settings:
    made: Settings = kafka.settings(database=postgres)
    return made


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **kafka_client_options(settings), enable_idempotence=True, acks="all", linger_ms=5
    )
    await producer.start()
    yield producer
    await producer.stop()


async def send(producer: AIOKafkaProducer, settings: Settings, events: Sequence[Event]) -> None:
    waiting = []
    for event in events:
        topic = f"{settings.topic_prefix}.{topic_of(event)}"
        waiting.append(await producer.send(topic, encode_event(event), event.run_id.encode()))
    await asyncio.gather(*waiting)


class Consumers:
    """Consumers of the metrics topic, in this process, that a test starts, freezes and stops."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.sources: list[KafkaSource] = []
        self.writers: list[Writer] = []
        self._running: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    def start(self) -> int:
        writer = Writer(self.pool, self.settings)
        source = KafkaSource(self.settings, "metrics", writer.load_offsets, identity_interval=0.5)
        stop = asyncio.Event()
        task = asyncio.create_task(consume(source, writer, "metrics", 1 << 20, stop, ConsumerState()))
        self._running.append((stop, task))
        self.sources.append(source)
        self.writers.append(writer)
        return len(self._running) - 1

    async def stop(self, number: int) -> None:
        stop, task = self._running[number]
        stop.set()
        await task

    async def stop_all(self) -> None:
        for number in range(len(self._running)):
            await self.stop(number)


@pytest.fixture
async def consumers(settings: Settings, pool: asyncpg.Pool) -> AsyncIterator[Consumers]:
    consumers = Consumers(settings, pool)
    yield consumers
    async with asyncio.timeout(30):
        await consumers.stop_all()


async def until_stored(pool: asyncpg.Pool, points: int, timeout: float = 40.0) -> None:
    """Wait until so many points are stored."""
    stored = -1
    try:
        async with asyncio.timeout(timeout):
            while stored < points:
                with contextlib.suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                    stored = await pool.fetchval("select coalesce(sum(points), 0) from chunks")
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{stored} of {points} points stored in {timeout} s")


async def test_what_waits_is_known_before_anything_was_fetched(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer
) -> None:
    await ensure_topics(settings)
    [logged] = runs(1)
    await send(producer, settings, [logged.event(i, i + 20) for i in range(0, 100, 20)])
    source = KafkaSource(settings, "metrics", Writer(pool, settings).load_offsets)
    await source.start()
    try:
        async with asyncio.timeout(20):
            while not source._next:  # the partitions are set with the first look
                assert await source.fetch(0, 0.1) == []  # has no room for an event
        assert source.lag() == 5
    finally:
        await source.stop()


async def test_the_whole_role(settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer) -> None:
    sources = runs(8)
    now = time.time_ns() // 1000  # runs of long ago count as silent
    created = [
        StatusEvent(source.run_id, source.id, 0, 2, [
            StatusOp(0, now, "create", {"workspace": "w", "experiment": "e"}), StatusOp(1, now + 1, "start")
        ])
        for source in sources
    ]  # fmt: skip
    stop, state = asyncio.Event(), ConsumerState()
    task = asyncio.create_task(run_consumer(settings, stop, source="kafka", state=state))
    try:
        await send(
            producer,
            settings,
            [*created, *(source.event(i, i + 20) for i in range(0, 100, 20) for source in sources)],
        )
        await until_stored(pool, 800)
        async with asyncio.timeout(20):
            while await pool.fetchval("select count(*) from runs where status = 'Running'") < 8:
                await asyncio.sleep(0.05)
        await assert_stored(pool, sources)
        assert state.counters["metrics"].points == 800
    finally:
        stop.set()
        async with asyncio.timeout(15):
            await task


async def test_duplicates_reorder_and_other_borders(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    sources = runs(6)
    consumers.start()
    for source in sources:
        await send(
            producer,
            settings,
            [source.event(50, 80), source.event(0, 30), source.event(0, 30), source.event(20, 60)],
        )
        await send(producer, settings, [source.event(0, 100)])
    await until_stored(pool, 600)
    await assert_stored(pool, sources)


@pytest.mark.parametrize("members", [2, 3])
async def test_consumers_share_the_partitions(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers, members: int
) -> None:
    sources = runs(40, points=200)
    for _ in range(members):
        consumers.start()
    for i in range(0, 200, 10):
        await send(producer, settings, [source.event(i, i + 10) for source in sources])
        await asyncio.sleep(0.3)  # slow enough for all members to join meanwhile
    await until_stored(pool, 8000)
    await assert_stored(pool, sources)
    assert sum(1 for writer in consumers.writers if writer.counters.points) == members


async def test_members_come_and_go(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    sources = runs(20, points=300)
    consumers.start()

    async def change() -> None:
        second = consumers.start()
        await asyncio.sleep(1.5)
        consumers.start()
        await asyncio.sleep(1.0)
        await consumers.stop(second)

    changing = asyncio.create_task(change())
    for i in range(0, 300, 5):
        await send(producer, settings, [source.event(i, i + 5) for source in sources])
        await asyncio.sleep(0.05)
    await changing
    await until_stored(pool, 6000)
    await assert_stored(pool, sources)


async def test_a_zombie_is_fenced(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    """A consumer paused between fetching and storing; others take its partitions over; then it resumes."""
    sources = runs(20)
    zombie = consumers.start()
    resumed, paused = asyncio.Event(), asyncio.Event()
    store = consumers.writers[zombie].store

    async def pausing(batch: Any) -> None:
        paused.set()
        await resumed.wait()
        await store(batch)

    consumers.writers[zombie].store = pausing  # type: ignore[method-assign]
    await send(producer, settings, [source.event(0, 50) for source in sources])
    await paused.wait()
    # Another group: Kafka gives it every partition while the zombie still has them, as after an expired session.
    consumers.settings = replace(settings, consumer_group="others")
    consumers.start()
    await send(producer, settings, [source.event(50, 100) for source in sources])
    await until_stored(pool, 2000)
    resumed.set()
    async with asyncio.timeout(10):
        while not consumers.writers[zombie].counters.fences_lost:
            await asyncio.sleep(0.05)
    consumers.writers[zombie].store = store  # type: ignore[method-assign]
    await asyncio.sleep(0.5)
    await assert_stored(pool, sources)


_CONSUMER = """
import asyncio, json, sys
from runstream_consumers.storing.consumer import run_consumer
from runstream_schemas.settings import Settings
asyncio.run(run_consumer(Settings(**json.loads(sys.argv[1])), asyncio.Event(), source="kafka"))
"""


async def test_stopped_and_killed_processes(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer
) -> None:
    """SIGSTOP of one for longer than Kafka's session, kill -9 of the other, then SIGCONT of the first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    argument = json.dumps(
        {"kafka": settings.kafka, "topic_prefix": settings.topic_prefix, "database": settings.database}
    )
    command = (sys.executable, "-c", _CONSUMER, argument)
    processes = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(2)]
    try:
        sources = runs(20, points=240)
        for i in range(0, 240, 2):
            await send(producer, settings, [source.event(i, i + 2) for source in sources])
            if i == 40:
                await until_stored(pool, 400)
                processes[0].send_signal(signal.SIGSTOP)
            if i == 120:
                processes[1].kill()
                processes[0].send_signal(signal.SIGCONT)
            await asyncio.sleep(0.1 if 40 <= i < 120 else 0.01)
        await until_stored(pool, 4800, timeout=60)
        await assert_stored(pool, sources)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.mark.attack
async def test_a_poison_message_becomes_a_dead_letter(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer
) -> None:
    source = runs(1)[0]
    topic = f"{settings.topic_prefix}.metrics"
    whole = encode_event(source.event(0, 50))
    await producer.send_and_wait(topic, whole[:-7], source.run_id.encode())
    await producer.send_and_wait(topic, b"", None)
    await send(producer, settings, [source.event(0, 100)])
    stop = asyncio.Event()
    task = asyncio.create_task(run_consumer(settings, stop, source="kafka"))
    await until_stored(pool, 100)
    await assert_stored(pool, [source])
    reader = AIOKafkaConsumer(
        f"{settings.topic_prefix}.dead-letter", **kafka_client_options(settings), auto_offset_reset="earliest"
    )
    await reader.start()
    letters = []
    async with asyncio.timeout(20):
        while len(letters) < 2:
            letters += [r for some in (await reader.getmany(timeout_ms=200)).values() for r in some]
    await reader.stop()
    stop.set()
    await task
    letter = next(r for r in letters if r.value)
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (source.run_id.encode(), whole[:-7])
    assert headers["topic"] == topic.encode()
    assert headers["reason"].startswith(b"CorruptEvent")
    assert int(headers["offset"]) >= 0
    assert (await pool.fetchval("select sum(next) from offsets where topic_name = $1", topic)) == 3


def _status(run_id: str, seq: int, time_us: int, size: int, **unknown: Any) -> bytes:
    """The message of a status event that carries `size` bytes of text, and fields this version does not know."""
    packed = msgpack.packb(
        {"run": run_id, "src": b"s" * 16, "first": seq, "count": 1,
         "ops": [[seq, time_us, "warning", {"message": "x" * size}]], **unknown}
    )  # fmt: skip
    return bytes(msgpack.packb([1, "status", zlib.crc32(packed, zlib.crc32(b"status")), packed]))


@pytest.mark.attack
async def test_large_messages_that_cannot_be_stored_are_kept_as_they_were_and_end_no_consumer(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, caplog: pytest.LogCaptureFixture
) -> None:
    """6.7 MB with a time that cannot be used to end the consumer: what it was decoded to could not be encoded again."""
    topic = f"{settings.topic_prefix}.status"
    now = time.time_ns() // 1000
    largest = (8 << 20) - 1000 - 128
    wrong = [
        _status("run", 1, 2**62, 6_700_000),
        _status("run", 2, 2**62, 5_900_000, new="field"),
        _status("run", 3, 2**62, 10, new="field"),
        b"\x00" * largest,
    ]
    sender = AIOKafkaProducer(**kafka_client_options(settings), max_request_size=8 << 20)
    await sender.start()
    await sender.send_and_wait(topic, _status("run", 0, now, 10), b"run")
    for message in wrong:
        await sender.send_and_wait(topic, message, b"k" * 1000)
    await sender.send_and_wait(topic, _status("run", 4, now, 10), b"run")
    await sender.stop()
    stop = asyncio.Event()
    task = asyncio.create_task(run_consumer(settings, stop, source="kafka"))
    reader = AIOKafkaConsumer(
        f"{settings.topic_prefix}.dead-letter",
        **kafka_client_options(settings),
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 << 20,
    )
    await reader.start()
    letters: list[Any] = []
    async with asyncio.timeout(60):
        # A batch that is read twice is kept twice.
        while len({letter.value for letter in letters}) < 4:
            letters += [r for some in (await reader.getmany(timeout_ms=200)).values() for r in some]
        while await pool.fetchval("select count(*) from transitions where topic = 'status'") < 2:
            await asyncio.sleep(0.05)
    await reader.stop()
    assert not task.done()
    stop.set()
    await task
    by_size = {len(letter.value): letter for letter in letters}
    for message in wrong[:3]:
        letter = by_size[len(message)]
        assert letter.value == message
        headers = dict(letter.headers)
        assert headers["topic"] == topic.encode()
        assert {"topic-id", "partition", "offset", "reason"} <= headers.keys()
        assert "cut" not in headers
    cut = next(letter for letter in letters if "cut" in dict(letter.headers))
    assert dict(cut.headers)["cut"] == f"{largest} bytes".encode()
    assert cut.value == wrong[3][: len(cut.value)]
    assert len(cut.value) > 7 << 20
    # The run says so. What is too large to be looked at says no slots: they are a gap.
    warnings = [
        w["message"]
        for w in json.loads(await pool.fetchval("select warnings from runs where run_id = 'run'"))
    ]
    assert sum("could not be stored and lie in the dead letters" in message for message in warnings) >= 1
    assert any("years 1 to 9999" in message for message in warnings)


async def test_a_recreated_topic_is_read_from_its_start(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    sources = runs(8)
    consumers.start()
    for i in range(0, 50, 5):
        await send(producer, settings, [source.event(i, i + 5) for source in sources])
    await until_stored(pool, 400)
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    await admin.delete_topics([f"{settings.topic_prefix}.metrics"])
    await admin.close()
    await ensure_topics(settings)
    # Its offsets begin at 0 again, far below the stored ones.
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Exception):
                await send(producer, settings, [source.event(50, 100) for source in sources])
                break
            await asyncio.sleep(0.2)
    await until_stored(pool, 800)
    await assert_stored(pool, sources)
    assert await pool.fetchval("select count(distinct topic) from offsets") == 2


async def test_a_run_whose_end_counts_what_a_deleted_topic_held_settles_with_a_gap(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    logging_source = runs(1)[0]
    consumers.start()
    await send(producer, settings, [logging_source.event(0, 50)])
    await until_stored(pool, 50)
    await consumers.stop(0)
    await send(producer, settings, [logging_source.event(50, 100)])
    counted = {"ends": {logging_source.id.hex(): 100}}
    await send(
        producer,
        settings,
        [StatusEvent(logging_source.run_id, logging_source.id, 0, 1, [StatusOp(0, 1, "complete", counted)])],
    )
    writer = Writer(pool, settings)
    source = KafkaSource(settings, "status", writer.load_offsets)
    await source.start()
    async with asyncio.timeout(20):
        while not (batch := await source.fetch(1 << 20, 0.2)):
            pass
    await writer.store(batch)
    for _ in range(3):
        await writer.look_after_runs(source.horizon)
    assert await pool.fetchval("select count(*) from runs where settled_at is null") == 1, (
        "it is in the topic"
    )
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    await admin.delete_topics([f"{settings.topic_prefix}.metrics"])
    await admin.close()
    await ensure_topics(settings)
    async with asyncio.timeout(30):
        while not await pool.fetchval("select count(*) from runs where settled_at is not null"):
            await writer.look_after_runs(source.horizon)
    await source.stop()
    gaps = await pool.fetch("select reason, topic, first, next from gaps")
    assert [tuple(row) for row in gaps] == [("undelivered", "metrics", 50, 100)]


async def test_what_retention_deleted_is_recorded(
    settings: Settings, pool: asyncpg.Pool, producer: AIOKafkaProducer, consumers: Consumers
) -> None:
    source = runs(1)[0]
    consumers.start()
    await send(producer, settings, [source.event(0, 20)])
    await until_stored(pool, 20)
    await consumers.stop(0)
    await send(producer, settings, [source.event(20, 30), source.event(30, 40)])
    topic = f"{settings.topic_prefix}.metrics"
    index = await pool.fetchval("select partition from offsets where next > 0")
    admin = AIOKafkaAdminClient(**kafka_client_options(settings))
    await admin.start()
    await admin.delete_records({TopicPartition(topic, index): RecordsToDelete(3)})
    await admin.close()
    await send(producer, settings, [source.event(40, 100)])
    consumers.start()
    await until_stored(pool, 80)
    gaps = {row["reason"]: (row["first"], row["next"]) for row in await pool.fetch("select * from gaps")}
    assert gaps == {"retention": (1, 3), "sequence": (20, 40)}


async def test_postgres_restarts_in_the_middle(
    settings: Settings,
    pool: asyncpg.Pool,
    producer: AIOKafkaProducer,
    consumers: Consumers,
    postgres_server: Any,
) -> None:
    sources = runs(20, points=200)
    consumers.start()
    consumers.start()
    for i in range(0, 200, 4):
        await send(producer, settings, [source.event(i, i + 4) for source in sources])
        if i == 60:
            await until_stored(pool, 400)
            await asyncio.to_thread(postgres_server.stop)
        if i == 120:
            postgres_server.start()
        await asyncio.sleep(0.02)
    await until_stored(pool, 4000)
    await assert_stored(pool, sources)
    assert all(source.lag() == 0 for source in consumers.sources)
    assert sum(writer.counters.commits for writer in consumers.writers)


async def test_fetched_bytes_are_bounded(
    settings: Settings, producer: AIOKafkaProducer, pool: asyncpg.Pool
) -> None:
    sources = [LoggingSource(f"run-{i}") for i in range(16)]
    for logging_source in sources:
        for i in range(5000):
            logging_source.log("loss", float(hash((i, logging_source.run_id)) % 1000_003))
    for i in range(0, 5000, 500):
        await send(producer, settings, [source.event(i, i + 500) for source in sources])
    small = 300_000
    writer = Writer(pool, settings)
    source = KafkaSource(replace(settings, consumer_memory=3 * small), "metrics", writer.load_offsets)
    await source.start()
    try:
        total = 0
        async with asyncio.timeout(30):
            while total < 80_000:
                batch = await source.fetch(small, 0.2)
                assert sum(fetched.size for fetched in batch) <= 2 * max(small, 1 << 20)
                await writer.store(batch)
                total = writer.counters.points
    finally:
        await source.stop()
    await assert_stored(pool, sources[:2])


async def test_fetched_events_are_bounded(
    settings: Settings, producer: AIOKafkaProducer, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of short runs a batch's bytes would hold very many."""
    monkeypatch.setattr(kafka_source, "MAX_RECORDS", 7)
    sources = [LoggingSource(f"run-{i}") for i in range(60)]
    for logging_source in sources:
        logging_source.log("loss", 1.0)
    await send(producer, settings, [source.event(0, 1) for source in sources])
    writer = Writer(pool, settings)
    source = KafkaSource(settings, "metrics", writer.load_offsets)
    await source.start()
    try:
        async with asyncio.timeout(30):
            while writer.counters.points < 60:
                batch = await source.fetch(1 << 30, 0.2)
                assert sum(len(fetched.events) for fetched in batch) <= 7
                await writer.store(batch)
    finally:
        await source.stop()
    await assert_stored(pool, sources)
