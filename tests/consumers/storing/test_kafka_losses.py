"""Topics that hold what cannot be stored, and topics that lost what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import zlib
from typing import Any

import asyncpg
import msgpack
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from tests.consumers.logged import assert_stored
from tests.consumers.storing.conftest import Consumers, runs, send, until_stored

from runstream_consumers.sources.kafka_source import KafkaSource
from runstream_consumers.storing.consumer import run_consumer
from runstream_consumers.storing.writer import Writer
from runstream_schemas.kafka.topics import ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import StatusEvent, StatusOp, encode_event

pytestmark = pytest.mark.kafka


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
