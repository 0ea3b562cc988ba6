"""What is done to the topics: records delivered again, late and in another order, and a topic made anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runstream_schemas.kafka.topics import TopicNames, ensure_topics, kafka_client_options
from runstream_schemas.settings import Settings

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

PATIENCE = 6.0
"""Seconds an attempt may take: the broker may be down, or slow."""


def deliver_again(settings: Settings, chance: random.Random) -> int:
    """Send up to 300 records of one partition once more, in another order.

    Returns:
        How many were sent.
    """
    sent = 0

    async def whole() -> None:
        nonlocal sent
        consumer = AIOKafkaConsumer(**kafka_client_options(settings), max_partition_fetch_bytes=8 << 20)
        producer = AIOKafkaProducer(**kafka_client_options(settings), max_request_size=8 << 20)
        try:
            await consumer.start()
            await producer.start()
            topic = chance.choice(TopicNames.of(settings).events)
            partition = TopicPartition(topic, chance.randrange(settings.topic_partitions))
            consumer.assign([partition])
            first = (await consumer.beginning_offsets([partition]))[partition]
            last = (await consumer.end_offsets([partition]))[partition]
            if last == first:
                return
            consumer.seek(partition, chance.randint(first, last - 1))
            records = (await consumer.getmany(partition, timeout_ms=1000, max_records=300)).get(partition, [])
            chance.shuffle(records)
            for record in records:
                await producer.send_and_wait(
                    topic, record.value, record.key, partition.partition, headers=list(record.headers)
                )
                sent += 1
        finally:
            await consumer.stop()
            await producer.stop()

    _try(whole)
    return sent


def delete_topic(settings: Settings, chance: random.Random) -> str:
    """Delete the topic of metrics, tags or status with all it holds.

    Returns:
        The topic's name, empty if the broker did not answer.
    """
    topic = chance.choice(TopicNames.of(settings).events)
    done = ""

    async def whole() -> None:
        nonlocal done
        admin = AIOKafkaAdminClient(**kafka_client_options(settings))
        try:
            await admin.start()
            await admin.delete_topics([topic])
            done = topic
        finally:
            await admin.close()

    _try(whole)
    return done


def make_missing_topics(settings: Settings) -> None:
    """Make a deleted topic again; with no answer of the broker, nothing."""
    _try(lambda: ensure_topics(settings, timeout=PATIENCE))


def _try(attempt: Callable[[], Awaitable[object]]) -> None:
    async def bounded() -> None:
        # The broker may be down, stopped, or behind a cut connection: then nothing is done this time.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(attempt(), PATIENCE)

    asyncio.run(bounded())
