"""The consumer role: loops of `fetch -> store`, with the next batch fetched while one is stored.

One loop a topic, so that a status never waits behind a backlog of metrics. A spool has them in one log, in the order of
writing, and gets one loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from runstream_schemas.database import connect, create_pool, migrate, wait_for_database
from runstream_schemas.errors import DatabaseError, ServiceError, SettingsError, SpoolError
from runstream_schemas.kafka.topics import ensure_topics
from runstream_schemas.metrics import counter, gauge
from runstream_schemas.settings import Settings

from ..sources.dead_letters import DeadLetters, DirectoryDeadLetters, TopicDeadLetters
from ..sources.source import EventSource, Fetched, LoadOffsets, Partition
from .rewinding import ColdPoints
from .transaction import FenceLost
from .writer import Writer, WriterCounts

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

FETCH_TIMEOUT = 0.25
"""Seconds a loop waits for events before it looks whether it should stop."""
STOP_TIMEOUT = 5.0
"""Seconds the batches under way may take when the consumer is asked to stop."""
LOOK_AFTER_INTERVAL = 30.0
"""Seconds between two looks for runs that fell silent."""


MakeCold = Callable[["asyncpg.Pool[Any]", Settings], ColdPoints]

COUNTED = {
    "commits": "Batches stored, each in one transaction",
    "events": "Events of which something was stored",
    "points": "Points stored",
    "duplicates": "Events that were stored already",
    "retries": "Attempts to store a batch, or to read offsets, that were made again",
    "fences_lost": "Batches thrown away because another consumer has the partition",
    "dead_letters": "Records that cannot be decoded or stored, kept as dead letters",
}
"""What /metrics shows of `WriterCounts`."""


@dataclass(slots=True, eq=False)
class ConsumerState:
    """What a consumer did and how far it is behind, by loop (`metrics`, `tags`, `status`, or `spool`).

    Attributes:
        lags: what is known to be in the source and was not fetched (see `EventSource.lag`); 0 of a loop that was dealt no
            partition yet.
        storing_since: since when the batch under way is being stored, in monotonic seconds; absent: none is.
    """

    counters: dict[str, WriterCounts] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    storing_since: dict[str, float] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        loops = dict(self.counters)
        for name, meaning in COUNTED.items():
            values = {(loop,): getattr(counters, name) for loop, counters in loops.items()}
            yield counter(f"consumer_{name}", meaning, values, "loop")
        lags = {(loop,): lag for loop, lag in dict(self.lags).items()}
        yield gauge("consumer_lag", "Offsets (of a spool: sources) known and not yet fetched", lags, "loop")
        began, now = dict(self.storing_since), time.monotonic()
        ages = {(loop,): now - began[loop] if loop in began else 0.0 for loop in loops}
        yield gauge(
            "consumer_batch_age_seconds", "How long the batch under way is being stored", ages, "loop"
        )


async def run_consumer(
    settings: Settings,
    stop: asyncio.Event,
    *,
    source: Literal["spool", "kafka"],
    state: ConsumerState | None = None,
    make_cold: MakeCold | None = None,
) -> None:
    """Store events until told to stop. Waits for a database or a broker that is away.

    Args:
        settings: the settings of the database, the broker or the spool, and the memory.
        stop: set it to end the consumer; the batches under way are finished.
        source: where events come from.
        state: filled with counters while it runs.
        make_cold: what brings points back from files for rewinds.

    Raises:
        DatabaseError: the database is not ours, or newer than this runstream.
        SettingsError: settings that cannot be.
    """
    state = ConsumerState() if state is None else state
    # The metrics have nearly all the bytes; the other two are small.
    shares = {"metrics": 0.8, "tags": 0.1, "status": 0.1} if source == "kafka" else {"spool": 1.0}
    for (
        name
    ) in shares:  # shown from the start: it may wait for a server, or for a partition, as long as it lives
        state.counters.setdefault(name, WriterCounts())
        state.lags.setdefault(name, 0)
    if not await _prepare(settings, stop, source):
        return
    pool = await create_pool(settings)
    cold = None if make_cold is None else make_cold(pool, settings)
    letters: DeadLetters = (
        TopicDeadLetters(settings)
        if source == "kafka"
        else DirectoryDeadLetters(settings.home_path / "dead-letters")
    )
    tasks = []
    try:
        for name, share in shares.items():
            max_bytes = max(int(settings.consumer_memory * share / 3), 1 << 16)
            tasks.append(
                asyncio.create_task(
                    _keep_consuming(settings, pool, letters, cold, name, max_bytes, stop, state)
                )
            )
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await letters.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await pool.close()
        finally:
            pool.terminate()


async def _keep_consuming(
    settings: Settings,
    pool: asyncpg.Pool[Any],
    letters: DeadLetters,
    cold: ColdPoints | None,
    name: str,
    max_bytes: int,
    stop: asyncio.Event,
    state: ConsumerState,
) -> None:
    """A loop, begun anew when it fails for a reason nobody thought of: what is stored tells where."""
    counters = state.counters[name]
    while not stop.is_set():
        writer = Writer(pool, settings, letters.publish, counters, cold)
        source = make_source(settings, name, writer.load_offsets)
        try:
            await consume(source, writer, name, max_bytes, stop, state)
        except (
            DatabaseError,
            SettingsError,
            SpoolError,
        ):  # of the installation; nothing an event holds is one of these
            raise
        except Exception:
            log.exception("consuming %s failed, beginning anew", name)
            await asyncio.sleep(1.0)


def make_source(settings: Settings, name: str, load: LoadOffsets) -> EventSource:
    """The source of a loop: a topic, or the spool."""
    # Each only where it is used: the Kafka client takes a sixth of the embedded service's start.
    if name != "spool":
        from ..sources.kafka_source import KafkaSource

        return KafkaSource(settings, name, load)
    from ..sources.spool_source import SpoolSource

    return SpoolSource(settings, load)


async def _prepare(settings: Settings, stop: asyncio.Event, source: str) -> bool:
    """Wait for the servers, bring the schema up to date, make the topics. False: told to stop meanwhile."""
    while not stop.is_set():
        try:
            await wait_for_database(settings, timeout=5.0)
            connection = await connect(settings)
        except DatabaseError as error:
            if "took no connection" not in str(error):
                raise
            log.warning("%s", error)
            continue
        except OSError:
            continue
        try:
            await migrate(connection)
        finally:
            await connection.close()
        break
    while source == "kafka" and not stop.is_set():
        try:
            await ensure_topics(settings, timeout=5.0)
            break
        except ServiceError as error:
            log.warning("%s", error)
            await asyncio.sleep(0.5)
    return not stop.is_set()


async def consume(
    source: EventSource, writer: Writer, name: str, max_bytes: int, stop: asyncio.Event, state: ConsumerState
) -> None:
    """Fetch and store until told to stop.

    Args:
        max_bytes: the most bytes of events in a batch. Two batches are held at once, beside what the source reads ahead.
    """
    looping = asyncio.create_task(_loop(source, writer, name, max_bytes, stop, state))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([looping, stopping], return_when=asyncio.FIRST_COMPLETED)
        # What is under way is finished, unless it waits for a database or a broker that is away.
        await asyncio.wait([looping], timeout=STOP_TIMEOUT)
    finally:
        stopping.cancel()
        looping.cancel()
        await asyncio.wait([looping, stopping])
        await source.stop()
    if not looping.cancelled():
        looping.result()


async def _loop(
    source: EventSource, writer: Writer, name: str, max_bytes: int, stop: asyncio.Event, state: ConsumerState
) -> None:
    await source.start()
    storing: asyncio.Task[list[Partition]] | None = None
    look_after_due = time.monotonic()
    try:
        while not stop.is_set():
            batch = await source.fetch(max_bytes, FETCH_TIMEOUT)
            state.lags[name] = source.lag()
            if storing is not None and (batch or storing.done()):
                lost, storing = await storing, None
                # What is in hand follows what was not stored. It must not meet the moved fence by chance, so it is let go
                # before the source hears of it: whatever the source hands out from then on follows what is stored.
                batch = [fetched for fetched in batch if fetched.partition not in lost]
                for partition in lost:
                    await source.lost(partition)
            if batch:
                state.storing_since[name] = time.monotonic()
                storing = asyncio.create_task(_store(source, writer, batch))
                storing.add_done_callback(lambda _: state.storing_since.pop(name, None))
            elif name in ("status", "spool") and time.monotonic() >= look_after_due:
                look_after_due = time.monotonic() + LOOK_AFTER_INTERVAL
                await writer.look_after_runs(source.horizon)
        if storing is not None:
            await storing
    finally:
        if storing is not None and not storing.done():
            storing.cancel()
            await asyncio.wait([storing])


async def _store(source: EventSource, writer: Writer, batch: Sequence[Fetched]) -> list[Partition]:
    """Store a batch, but for the partitions another writer has taken; returns these."""
    remaining, gone = list(batch), []
    while remaining:
        try:
            await writer.store(remaining)
            break
        except FenceLost as lost:
            log.info("%s", lost)
            gone += lost.partitions
            remaining = [fetched for fetched in remaining if fetched.partition not in gone]
    for fetched in remaining:
        await source.stored(fetched)
    return gone
