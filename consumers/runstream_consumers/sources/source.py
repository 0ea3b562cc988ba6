"""The port between a log of events and the writer: what a Kafka topic and a spool directory have in common.

A source hands out batches of decoded events with the span of offsets they came from. It never remembers by itself how far
it was read: that is a row of the table `offsets`, which the writer moves in the transaction that stores the events. So a
source asks for that row (`LoadOffsets`) whenever it is given a partition or loses one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runstream_schemas.wire.events import Event


@dataclass(frozen=True, slots=True)
class Partition:
    """Identity of a stretch of the log that is read in order; primary key of the table `offsets`.

    Attributes:
        cluster: Kafka's cluster id, or `spool:<id of the directory>`.
        topic_id: Kafka's id of the topic, not its name: a topic made anew starts at 0. For a spool: `spool`.
        topic_name: the name to show to people only.
        index: number of the partition; a spool has only 0.
    """

    cluster: str
    topic_id: str
    topic_name: str
    index: int

    def __str__(self) -> str:
        return f"{self.topic_name}-{self.index} (topic {self.topic_id}, cluster {self.cluster})"


@dataclass(slots=True)
class DeadLetter:
    """A record that cannot be decoded or stored, with its origin and its very bytes.

    Attributes:
        topic: metrics, tags or status, where that is known.
        span: run id, source, first slot and slots of the event, where it could tell; then its run gets a warning.
    """

    partition: Partition
    offset: int
    reason: str
    key: bytes | None
    value: bytes
    topic: str = ""
    span: tuple[str, bytes, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The record an event was decoded from."""

    offset: int
    key: bytes | None
    value: bytes


@dataclass(slots=True)
class Missing:
    """Offsets [first, next) that the log no longer has; `reason` as in the table `gaps`: `retention` or `truncated`."""

    first: int
    next: int
    reason: str


@dataclass(slots=True)
class Fetched:
    """A batch of one partition: everything in its offsets [start, next).

    Attributes:
        start: what the table `offsets` must hold for the batch to be stored (a new partition has no row: anything goes).
        next: what it holds afterwards.
        origins: where the events came from, one an event; empty where they have never been records.
        dead: records of the span that are not events; they are published before the span is committed.
        size: bytes of the events, for the memory bound.
        missing: a stretch inside the span that the log had already deleted.
        complete: what the ends of runs in it count was in the partition before it; what is not stored by then never comes.
    """

    partition: Partition
    start: int
    next: int
    events: list[Event] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    size: int = 0
    missing: Missing | None = None
    complete: bool = False


Horizon = Callable[[], Awaitable[dict[Partition, int]]]
"""How far the partitions go now that hold what the ends of runs count."""

LoadOffsets = Callable[[Sequence[Partition]], Awaitable[dict[Partition, int | None]]]
"""Asks the stored state how far partitions are stored; None: never seen."""


class EventSource(Protocol):
    """A log of events.

    Only one of `fetch` and `lost` runs at a time; the other methods may be called while it does.
    """

    async def start(self) -> None:
        """Connect. Waits for a log that is away, with a warning."""

    async def fetch(self, max_bytes: int, timeout: float) -> list[Fetched]:
        """The next events, at most one batch a partition.

        Args:
            max_bytes: the most bytes of events; one event larger than that still comes.
            timeout: seconds to wait when there is nothing; the result is empty then.
        """

    async def stored(self, fetched: Fetched) -> None:
        """The batch is committed: its place in the log may be freed. A hint, losing it costs nothing."""

    async def lost(self, partition: Partition) -> None:
        """Somebody else moved the partition's offset: forget what was read ahead and continue from the stored one.

        The consumer has let go of whatever it was handed of the partition before it says so (see `consumer.consume`).
        """

    def lag(self) -> int:
        """How many offsets of the log are known to be there and were not fetched yet."""

    @property
    def horizon(self) -> Horizon | None:
        """Says how far the partitions go which hold what the ends of runs count.

        None: the source has no ends of runs, or its batches are `complete`.
        """

    async def stop(self) -> None:
        """Disconnect. What was fetched and not stored will be fetched again by the next reader."""
