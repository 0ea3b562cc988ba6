"""The way of a point, step 6 of 10: a topic as a source of events.

Kafka deals out the partitions; who may store them is decided by the table `offsets` alone.

Kafka's group protocol cannot fence (a paused process still believes it has its partitions), so its committed offsets are
only a hint for lag tools. After every rebalance the offsets are read from Postgres, the partitions are set to them, and
records below them are dropped. The listener of rebalances runs inside the client's own task, where waiting for a lock or a
database would block heartbeats and `getmany` for good: it only counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from runstream_schemas.backoff import Backoff
from runstream_schemas.errors import EventError, RefusedEvent, ServiceError
from runstream_schemas.kafka.topics import Cluster, TopicNames, describe_topics, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.event_reading import decode_event

from .source import DeadLetter, Fetched, Horizon, LoadOffsets, Missing, Origin, Partition

log = logging.getLogger(__name__)

MAX_RECORDS = 2000
"""Records of a batch: of short runs, a hundred thousand fit into its bytes, and none into memory once they are decoded."""
PACE, LONGEST_PAUSE = 4 << 20, 0.2
"""After a batch the next one waits this many bytes a second, and so many seconds at most.

Under load a commit is then large: many small ones cost consumer and Postgres half as much CPU again. A quiet topic is read
at once.
"""
FETCH_WAIT_MS = {"metrics": 100}
QUIET_FETCH_WAIT_MS = 500
"""So long the broker holds a fetch to which it has nothing to answer; what arrives is answered at once.

A partition whose batch was being stored when the fetch began waits for its end, which must be soon where there is much to
store. Of tags and statuses a batch is small, and while nothing happens each fetch costs broker and consumer a millisecond.
"""
HINT_INTERVAL = 5.0
"""Seconds between two commits of the hint."""
IDENTITY_INTERVAL = 15.0
"""Seconds between two looks whether the topic is still the same one."""


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts rebalances, nothing else."""

    def __init__(self) -> None:
        self.count = 0

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Count."""
        self.count += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Count."""
        self.count += 1


class KafkaSource:
    """One topic, read as a member of the consumer group.

    Args:
        settings: the cluster, the topics' prefix, the group, the memory.
        family: which topic: `metrics`, `tags` or `status`.
        load_offsets: asks the table `offsets`.
        identity_interval: seconds between two looks whether the topic is still the same one.
    """

    def __init__(
        self,
        settings: Settings,
        family: str,
        load_offsets: LoadOffsets,
        *,
        identity_interval: float = IDENTITY_INTERVAL,
    ) -> None:
        self._settings = settings
        self._family = family
        self._topic: str = getattr(TopicNames.of(settings), family)
        self._group = f"{settings.consumer_group}.{family}"
        self._load = load_offsets
        self._identity_interval = identity_interval
        self._identity_due = 0.0
        self._cluster = Cluster("", {})
        self._rebalances = _Rebalances()
        self._outdated = False  # the client's metadata are of a topic that is gone
        self._followed = -1  # the rebalance whose partitions are set
        self._behind: set[TopicPartition] = set()  # partitions whose offset must be read again
        self._next: dict[TopicPartition, int] = {}
        self._stored: dict[TopicPartition, int] = {}  # what `offsets` will hold when the next batch is stored
        self._ends: dict[TopicPartition, int] = {}  # of the partitions when they were set
        self._missing: dict[TopicPartition, Missing] = {}
        self._hints: dict[TopicPartition, int] = {}
        self._hint_due = 0.0
        self._resume_at = 0.0
        self._hinting: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the group; waits for a broker, or a topic, that is away."""
        for pause in Backoff(0.2, 5.0):
            try:
                await self._identify()
                self._consumer = self._connect()
                await self._consumer.start()
                return
            except (KafkaError, ServiceError, OSError) as error:
                log.warning(
                    "%s cannot be read, trying again: %s: %s", self._topic, type(error).__name__, error
                )
            except BaseException:
                await self.stop()
                raise
            await self.stop()
            await asyncio.sleep(pause)

    def _connect(self) -> AIOKafkaConsumer:
        # A third of the memory may lie in the client, one third in the batch being stored, one in the next one.
        in_client = max(self._settings.consumer_memory // 3, 1 << 20)
        consumer = AIOKafkaConsumer(
            **kafka_client_options(self._settings),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # only what `offsets` says; a position that does not exist is an error, not a jump
            fetch_max_wait_ms=FETCH_WAIT_MS.get(self._family, QUIET_FETCH_WAIT_MS),
            fetch_max_bytes=in_client,
            max_partition_fetch_bytes=min(4 << 20, in_client),
            # While Postgres is away nothing is polled. Giving the partitions to another member would not help.
            max_poll_interval_ms=86_400_000,
            metadata_max_age_ms=30_000,
        )
        consumer.subscribe([self._topic], listener=self._rebalances)
        self._followed = -1
        return consumer

    async def stop(self) -> None:
        """Leave the group."""
        if self._hinting is not None:
            self._hinting.cancel()
            await asyncio.wait([self._hinting])
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            async with asyncio.timeout(10.0):
                hints, self._hints = self._hints, {}
                if hints:
                    await _commit(consumer, hints)
                await consumer.stop()
        except (KafkaError, TimeoutError):
            log.debug("%s: the consumer did not stop in order", self._topic, exc_info=True)
        except asyncio.CancelledError:
            # aiokafka lets its own cancellation out when the broker is away.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise

    # --- reading ----------------------------------------------------------------------------------------------------

    async def fetch(self, max_bytes: int, timeout: float) -> list[Fetched]:
        """The next events, at most one batch a partition; see `EventSource.fetch`."""
        assert self._consumer is not None, "start() first"
        self._tell_hints()  # of what was stored last, when nothing follows
        try:
            await self._look_for_new_topic()
            consumer = self._consumer
            if not await self._follow():
                await asyncio.sleep(min(timeout, 0.05))
                return []
            collected: dict[TopicPartition, list[ConsumerRecord]] = {}
            size, count = 0, 0
            wait = 0 if self._missing else int(timeout * 1000)
            await asyncio.sleep(max(0.0, self._resume_at - time.monotonic()))
            while size < max_bytes and count < MAX_RECORDS:
                records = await consumer.getmany(timeout_ms=wait, max_records=MAX_RECORDS - count)
                if self._followed != self._rebalances.count:
                    return []  # nothing is lost: the next call sets the partitions anew
                if not records:
                    break
                for partition, some in records.items():
                    collected.setdefault(partition, []).extend(some)
                    count += len(some)
                    # Twice: the bytes are kept beside the event, for the dead letters.
                    size += sum(2 * len(record.value or b"") for record in some)
                wait = 0
            self._resume_at = time.monotonic() + min(LONGEST_PAUSE, size / 2 / PACE)
            return self._batches(collected)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            log.info("%s: the log does not hold the position: %s", self._topic, error)
            self._identity_due = 0.0
            self._behind.update(self._consumer.assignment())
        except KafkaError as error:
            log.warning("%s cannot be read, trying again: %s: %s", self._topic, type(error).__name__, error)
            await asyncio.sleep(min(timeout, 0.5))
        return []

    def _batches(self, collected: dict[TopicPartition, list[ConsumerRecord]]) -> list[Fetched]:
        batches = []
        for partition in collected.keys() | self._missing.keys():
            if partition not in self._next or partition in self._behind:
                continue
            fetched = Fetched(self._name(partition), self._stored[partition], self._next[partition])
            fetched.missing = self._missing.pop(partition, None)
            for record in collected.get(partition, ()):
                if record.offset < fetched.next:
                    continue
                fetched.next = record.offset + 1
                value = record.value or b""
                fetched.size += len(value)
                try:
                    fetched.events.append(decode_event(value))
                    fetched.origins.append(Origin(record.offset, record.key, value))
                except EventError as error:
                    reason = f"{type(error).__name__}: {error}"
                    letter = DeadLetter(fetched.partition, record.offset, reason, record.key, value)
                    if isinstance(error, RefusedEvent):
                        letter.topic, letter.span = error.topic, error.span
                    fetched.dead.append(letter)
            if fetched.next != fetched.start or fetched.missing:
                self._next[partition] = self._stored[partition] = fetched.next
                batches.append(fetched)
        return batches

    async def stored(self, fetched: Fetched) -> None:
        """Tell Kafka, once in a while, for those who watch the lag."""
        self._hints[TopicPartition(fetched.partition.topic_name, fetched.partition.index)] = fetched.next
        self._tell_hints()

    def _tell_hints(self) -> None:
        now = time.monotonic()
        if (
            self._hints
            and now >= self._hint_due
            and self._consumer is not None
            and (self._hinting is None or self._hinting.done())
        ):
            self._hint_due = now + HINT_INTERVAL
            hints, self._hints = self._hints, {}
            self._hinting = asyncio.create_task(_commit(self._consumer, hints))

    async def lost(self, partition: Partition) -> None:
        """Read the partition's offset again before the next batch."""
        self._behind.add(TopicPartition(partition.topic_name, partition.index))

    def lag(self) -> int:
        """Records the broker has told of that were not fetched yet."""
        if self._consumer is None:
            return 0
        assigned = self._consumer.assignment()
        return sum(
            max(0, (self._consumer.highwater(partition) or self._ends[partition]) - next_)
            for partition, next_ in self._next.items()
            if partition in assigned
        )

    @property
    def horizon(self) -> Horizon | None:
        """See `EventSource.horizon`; an agent sends the end of a run when the broker has acknowledged all that it counts."""
        return self._ends_of_counted if self._family == "status" else None

    async def _ends_of_counted(self) -> dict[Partition, int]:
        assert self._consumer is not None, "start() first"
        names = TopicNames.of(self._settings)
        cluster = await describe_topics(self._settings, [names.metrics, names.tags], timeout=10.0)
        partitions = {
            TopicPartition(topic.name, number): Partition(cluster.id, str(topic.id), topic.name, number)
            for topic in cluster.topics.values()
            for number in range(topic.partitions)
        }
        try:
            async with asyncio.timeout(10.0):
                ends = await self._consumer.end_offsets(list(partitions))
        except (KafkaError, TimeoutError) as error:
            raise ServiceError(
                f"ends of topics cannot be read: {type(error).__name__}: {error}; see that the brokers answer"
            ) from error
        return {partitions[at]: end for at, end in ends.items()}

    # --- positions --------------------------------------------------------------------------------------------------

    def _name(self, partition: TopicPartition) -> Partition:
        topic = self._cluster.topics[self._topic]
        return Partition(self._cluster.id, str(topic.id), self._topic, partition.partition)

    async def _identify(self) -> None:
        cluster = await describe_topics(self._settings, [self._topic], timeout=10.0)
        if self._topic not in cluster.topics:
            raise ServiceError(
                f"topic {self._topic} does not exist; create it, or start a role with rights to create topics"
            )
        self._identity_due = time.monotonic() + self._identity_interval
        if cluster != self._cluster:
            if self._cluster.id and cluster.topics[self._topic].id != self._cluster.topics[self._topic].id:
                log.warning("topic %s was deleted and made again; it is read from its start", self._topic)
                self._outdated = True
            self._cluster = cluster
            self._followed = -1

    async def _look_for_new_topic(self) -> None:
        """A topic made anew has another id. aiokafka does not tell: it stays at the old position, or waits for metadata.

        What was fetched from the new topic before this notices is stored under the old id. It will be read once more under
        the new one, and change nothing.
        """
        if time.monotonic() >= self._identity_due:
            try:
                await self._identify()
            except ServiceError as error:
                self._identity_due = time.monotonic() + min(1.0, self._identity_interval)
                log.info("%s", error)
        if self._outdated:
            self._outdated = False
            await self.stop()
            await self.start()

    async def _follow(self) -> bool:
        """Set the partitions to the stored offsets, where a rebalance or a lost fence asks for it. False: not yet."""
        assert self._consumer is not None
        count = self._rebalances.count
        everything = count != self._followed
        unset = self._consumer.assignment() if everything else self._behind & self._consumer.assignment()
        if everything:
            self._next.clear()
            self._ends.clear()
            self._stored.clear()
            self._missing.clear()
        elif not unset:
            self._behind.clear()
            return True
        if unset:
            stored = await self._load([self._name(partition) for partition in unset])
            first = await self._consumer.beginning_offsets(list(unset))
            end = await self._consumer.end_offsets(list(unset))
            if count != self._rebalances.count:
                return False
            for partition in unset:
                self._set(partition, stored[self._name(partition)], first[partition], end[partition])
        self._followed = count
        self._behind.clear()
        return True

    def _set(self, partition: TopicPartition, stored: int | None, first: int, end: int) -> None:
        assert self._consumer is not None
        position = first if stored is None else stored
        self._missing.pop(partition, None)
        if (stored or 0) < first:
            self._missing[partition] = Missing(stored or 0, first, "retention")
            log.error(
                "%s: offsets [%d, %d) were deleted before they were read", partition, stored or 0, first
            )
            position = first
        elif position > end:
            # The log lost its end (an unclean election). What it lost is stored; what it will write has lower offsets.
            self._missing[partition] = Missing(end, position, "truncated")
            log.error("%s ends at %d, but was stored up to %d; going back", partition, end, position)
            position = end
        self._next[partition] = position
        self._ends[partition] = end
        self._stored[partition] = first if stored is None else stored
        self._consumer.seek(partition, position)


async def _commit(consumer: AIOKafkaConsumer, hints: dict[TopicPartition, int]) -> None:
    held = {partition: offset for partition, offset in hints.items() if partition in consumer.assignment()}
    try:
        if held:
            await consumer.commit(held)
    except (KafkaError, IllegalStateError) as error:
        log.debug("the hint could not be committed: %s", error)
