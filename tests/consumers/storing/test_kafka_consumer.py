"""Consumers of a real Kafka, storing into a real Postgres: whatever happens to either, what is stored is what was logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from tests.consumers.logged import LoggingSource, assert_stored
from tests.consumers.storing.conftest import Consumers, runs, send, until_stored

from runstream_consumers.sources import kafka_source
from runstream_consumers.sources.kafka_source import KafkaSource
from runstream_consumers.storing.consumer import ConsumerState, run_consumer
from runstream_consumers.storing.writer import Writer
from runstream_schemas.kafka.topics import ensure_topics
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import StatusEvent, StatusOp

pytestmark = pytest.mark.kafka


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


async def test_tools_that_watch_the_lag_see_the_last_batch_too(
    settings: Settings, producer: AIOKafkaProducer, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets are committed for them once in a while: what was stored since the last time, when nothing follows."""
    monkeypatch.setattr(kafka_source, "HINT_INTERVAL", 1.0)
    logging_source = LoggingSource("run")
    writer = Writer(pool, settings)
    source = KafkaSource(settings, "metrics", writer.load_offsets)
    await source.start()
    try:
        async with asyncio.timeout(30):
            for number in range(2):
                logging_source.log("loss", 1.0)
                await send(producer, settings, [logging_source.event(number, number + 1)])
                while writer.counters.points < number + 1:
                    batch = await source.fetch(1 << 20, 0.1)
                    await writer.store(batch)
                    for fetched in batch:
                        await source.stored(fetched)
            assert source._consumer is not None
            (partition,) = [
                at for at in source._consumer.assignment() if await source._consumer.committed(at)
            ]
            while await source._consumer.committed(partition) != 2:
                assert await source.fetch(1 << 20, 0.1) == []
    finally:
        await source.stop()
