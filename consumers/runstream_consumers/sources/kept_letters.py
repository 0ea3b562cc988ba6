"""Dead letters, read back: to list them, to look into one, and to know the event in it, if there is one.

A letter has an id that stays: the name of its file, or `topic:<partition>:<offset>` of the topic of dead letters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from runstream_schemas.errors import EventError, ServiceError
from runstream_schemas.kafka.topics import TopicNames, describe_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import Event

SUFFIX = ".msgpack"
PATIENCE = 30.0
"""Seconds a broker may take for the next letters."""
_TOPIC = "topic:"


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """One record that could not be used.

    Attributes:
        id: names it in commands.
        reason: why it could not be used.
        origin: where it came from: topic, partition and offset, or the spool of a source.
        run_id: the id of its run, as far as the record's key tells; "" if it does not.
        value: its bytes.
        size: bytes of the record; more than `value` has where it was cut.
    """

    id: str
    reason: str
    origin: str
    run_id: str
    value: bytes
    size: int

    def event(self) -> Event:
        """The event it is.

        Raises:
            EventError: it is none, was cut, or is one that cannot be stored. The message says what to do.
        """
        if self.size > len(self.value):
            raise EventError(
                f"{self.id}: {len(self.value)} of {self.size} bytes were kept; the whole is at {self.origin}, "
                "as long as that topic keeps it"
            )
        try:
            return decode_event(self.value)
        except EventError as error:
            raise EventError(
                f"{self.id}: it holds no event that can be sent ({error}); "
                "save its bytes and look at them: runstream dead-letters show ID --save FILE"
            ) from None


def letters_in(directory: Path) -> Iterator[KeptLetter]:
    """The letters of a home, the oldest first.

    Args:
        directory: `dead-letters` of the home; it need not be there.
    """
    paths = [(path.stat().st_mtime_ns, path) for path in directory.glob(f"*{SUFFIX}")]
    for _, path in sorted(paths):
        yield _read(path)


def _read(path: Path) -> KeptLetter:
    content = path.read_bytes()
    try:
        fields: dict[str, Any] = dict(msgpack.unpackb(content))
        value = bytes(fields["value"])
        key = fields.get("key")
        run_id = fields.get("run") or (bytes(key).decode("utf-8", "backslashreplace") if key else "")
        if fields.get("topic") == "spool" and "partition" not in fields:
            origin = f"a spool, up to slot {fields.get('end')}"
        else:
            origin = f"{fields['topic']}-{fields['partition']} at offset {fields['offset']}"
        return KeptLetter(path.stem, str(fields["reason"]), origin, str(run_id), value, len(value))
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        reason = f"the file is damaged ({type(error).__name__}: {error})"
        return KeptLetter(path.stem, reason, str(path), "", content, len(content))


async def letters_of_topic(settings: Settings) -> AsyncIterator[KeptLetter]:
    """The letters that the topic of dead letters holds when this is called, partition by partition.

    Raises:
        ServiceError: the broker is away, or does not answer for `PATIENCE` seconds.
    """
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.errors import KafkaError

    topic = TopicNames.of(settings).dead_letter
    there = (await describe_topics(settings, [topic])).topics.get(topic)
    consumer = AIOKafkaConsumer(
        **kafka_client_options(settings), enable_auto_commit=False, max_partition_fetch_bytes=16 << 20
    )
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, index) for index in range(there.partitions if there else 0)]
        first = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.assign([partition])
            consumer.seek(partition, first[partition])
            # A position, not the last record: what a transaction or a compaction left takes offsets, too.
            while await consumer.position(partition) < ends[partition]:
                polled = await consumer.getmany(partition, timeout_ms=int(PATIENCE * 1000))
                records = polled.get(partition, [])
                if not records and await consumer.position(partition) < ends[partition]:
                    raise ServiceError(
                        f"{topic}-{partition.partition}: no answer within {PATIENCE:g} s; is the broker "
                        f"{settings.kafka} overloaded? Try again"
                    )
                for record in records:
                    if record.offset < ends[partition]:
                        yield _of_record(record)
    except (KafkaError, OSError) as error:
        raise ServiceError(
            f"{topic} cannot be read from {settings.kafka}: {type(error).__name__}: {error}; see `runstream doctor`"
        ) from None
    finally:
        await consumer.stop()


def _of_record(record: Any) -> KeptLetter:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    value = record.value or b""
    cut = headers.get("cut", "").removesuffix(" bytes")
    return KeptLetter(
        id=f"{_TOPIC}{record.partition}:{record.offset}",
        reason=headers.get("reason", ""),
        origin=f"{headers.get('topic')}-{headers.get('partition')} at offset {headers.get('offset')}",
        run_id=(record.key or b"").decode("utf-8", "backslashreplace"),
        value=value,
        size=int(cut) if cut.isdigit() else len(value),
    )
