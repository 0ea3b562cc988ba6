"""Sending an event again that had become a dead letter, after what refused it was mended.

Nothing can come twice: the slots of its source tell what of it is stored already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from runstream_schemas.errors import ServiceError
from runstream_schemas.kafka.topics import MAX_MESSAGE_BYTES, TopicNames, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, encode_event, topic_of

from ..sources.source import DeadLetter, Fetched, Partition
from .rewinding import ColdPoints
from .transaction import FenceLost
from .writer import Writer

_AGAIN = Partition("dead-letters", "dead-letters", "dead-letters", 0)
_TURNS = 10  # of several who send again at the same time


async def store_again(
    pool: asyncpg.Pool[Any], settings: Settings, event: Event, cold: ColdPoints | None = None
) -> str:
    """Store one event.

    Args:
        cold: brings points back from files, if the event rewinds its run.

    Returns:
        Why it is refused again; "" when it is stored, or was.

    Raises:
        DatabaseError: the database is away.
    """
    refused: list[DeadLetter] = []

    async def reject(letters: Sequence[DeadLetter]) -> None:
        refused.extend(letters)

    writer = Writer(pool, settings, reject, cold=cold)
    for _ in range(_TURNS):
        start = (await writer.load_offsets([_AGAIN]))[_AGAIN] or 0
        try:
            await writer.store([Fetched(_AGAIN, start, start + 1, [event])])
        except FenceLost:
            continue
        return refused[0].reason if refused else ""
    raise ServiceError("others send dead letters again at the same time; try again when they are done")


async def publish_again(settings: Settings, events: Sequence[Event]) -> None:
    """Put events into their topics, from where consumers store them.

    Raises:
        ServiceError: the broker is away, or does not take one. Those before it are there.
    """
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    names = TopicNames.of(settings)
    producer = AIOKafkaProducer(
        **kafka_client_options(settings),
        enable_idempotence=True,
        acks="all",
        max_request_size=MAX_MESSAGE_BYTES,
    )
    try:
        await producer.start()
        for event in events:
            topic: str = getattr(names, topic_of(event))
            await producer.send_and_wait(topic, encode_event(event), key=event.run_id.encode())
    except (KafkaError, OSError) as error:
        raise ServiceError(
            f"{settings.kafka} does not take it: {type(error).__name__}: {error}; see `runstream doctor`"
        ) from None
    finally:
        await producer.stop()
