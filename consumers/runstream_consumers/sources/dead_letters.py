"""Where records go that cannot be decoded or stored: a topic, or a directory in the embedded mode.

Publishing comes before the commit of the offset that covers the record, so a letter may be there twice, never not at all. It
waits for a broker that is away: an offset must not advance past a record that is neither stored nor kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgpack

from runstream_schemas.backoff import Backoff
from runstream_schemas.kafka.topics import MAX_MESSAGE_BYTES, TopicNames, kafka_client_options
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings

from .source import DeadLetter

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

log = logging.getLogger(__name__)

MAX_REASON = 1000
"""Characters of a reason that are kept."""
MAX_KEY = 1024
"""Bytes of a key that are kept."""
_ROOM = MAX_MESSAGE_BYTES - (64 << 10)  # for a value: headers and the message itself take some


class DeadLetters(Protocol):
    """Keeps what could not be used."""

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Keep `letters` durably; returns when they are."""

    async def stop(self) -> None:
        """Disconnect."""


class TopicDeadLetters:
    """The topic `<prefix>.dead-letter`: key and value as they were, reason and origin in the headers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = TopicNames.of(settings).dead_letter
        self._producer: AIOKafkaProducer | None = None
        self._turn = asyncio.Lock()

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Send `letters` and wait until the broker has them; tries again for as long as it is away."""
        from aiokafka.errors import KafkaError

        for letter in letters:
            for pause in Backoff(0.2, 5.0):
                try:
                    async with self._turn:
                        await self._send(letter)
                    break
                except (KafkaError, TimeoutError, OSError) as error:
                    log.warning(
                        "dead letters cannot be published, trying again: %s: %s", type(error).__name__, error
                    )
                    async with self._turn:
                        await self.stop()
                    await asyncio.sleep(pause)

    async def _send(self, letter: DeadLetter, room: int = _ROOM) -> None:
        from aiokafka import AIOKafkaProducer
        from aiokafka.errors import MessageSizeTooLargeError

        if self._producer is None:
            producer = AIOKafkaProducer(
                **kafka_client_options(self._settings),
                enable_idempotence=True,
                acks="all",
                max_request_size=MAX_MESSAGE_BYTES,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        headers = [
            ("reason", _reason(letter).encode()),
            ("topic", letter.partition.topic_name.encode()),
            ("topic-id", letter.partition.topic_id.encode()),
            ("partition", str(letter.partition.index).encode()),
            ("offset", str(letter.offset).encode()),
        ]
        key = letter.key and letter.key[:MAX_KEY]
        try:
            await self._producer.send_and_wait(
                self._topic, letter.value[:room], key, headers=[*headers, *_cut(letter, room)]
            )
        except MessageSizeTooLargeError:  # the topic takes less than ours do
            if not room:
                log.error(
                    "%s takes no dead letter, not even an empty one; one is lost: %s", self._topic, headers
                )
                return
            await self.stop()  # a refused message leaves a gap in what an idempotent producer has numbered
            await self._send(letter, room // 2 if room > MAX_REASON else 0)

    async def stop(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            from aiokafka.errors import KafkaError

            try:
                async with asyncio.timeout(5.0):
                    await producer.stop()
            except (KafkaError, TimeoutError):
                log.debug("the producer of dead letters did not stop in order", exc_info=True)


class DirectoryDeadLetters:
    """One file a letter, msgpack, named by its origin: keeping it twice overwrites."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Write `letters`."""
        make_private(self._directory)
        for n, letter in enumerate(letters):
            origin = f"{letter.partition.cluster}-{letter.partition.topic_name}-{letter.partition.index}-{letter.offset}-{n}"
            path = self._directory / (re.sub(r"[^\w.-]", "_", origin)[:200] + ".msgpack")
            content = msgpack.packb(
                {
                    "reason": _reason(letter),
                    "topic": letter.partition.topic_name,
                    "partition": letter.partition.index,
                    "offset": letter.offset,
                    "key": letter.key,
                    "value": letter.value,
                }
            )
            draft = path.with_suffix(".tmp")
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)

    async def stop(self) -> None:
        """Nothing to do."""


def _reason(letter: DeadLetter) -> str:
    return letter.reason[:MAX_REASON].encode("utf-8", "backslashreplace").decode()


def _cut(letter: DeadLetter, room: int) -> list[tuple[str, bytes]]:
    """The header that says what is not there. The whole stays where the origin says, as long as that topic keeps it."""
    key = len(letter.key or b"")
    said = [("cut", f"{len(letter.value)} bytes".encode())] if len(letter.value) > room else []
    return [*said, ("key-cut", f"{key} bytes".encode())] if key > MAX_KEY else said
