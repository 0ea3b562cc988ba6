"""The whole role at a real broker: what sends, and consumers that come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from tests.consumers.logged import LoggingSource

from runstream_consumers.sources.kafka_source import KafkaSource
from runstream_consumers.storing.consumer import ConsumerState, consume
from runstream_consumers.storing.writer import Writer
from runstream_schemas.kafka.topics import kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, encode_event, topic_of


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
