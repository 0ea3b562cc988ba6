"""The way of a point, step 5 of 10: one process a node sends what lies in the spool to Kafka.

Without a broker the consumer reads the spool itself: on with step 7.

It frees a segment only after the broker acknowledged every event made of it. A broker that is away costs disk, nothing else:
at most `PENDING_EVENTS` events are in flight, the rest stays where the trainers put it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from runstream_schemas.errors import ServiceError
from runstream_schemas.kafka.topics import TopicNames, ensure_topics, kafka_client_options
from runstream_schemas.metrics import counter, gauge
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import METRICS, STATUS, TAGS, Event, StatusEvent, encode_event, topic_of

from .spool.collecting.collected import Collected
from .spool.collecting.collector import Collector, Seen

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger("runstream.agent")

PENDING_EVENTS = 64
BATCH_BYTES = 1 << 20
REQUEST_BYTES = 8 << 20
_COLLECT_BYTES = 1 << 20  # small: the loop that reads also runs the producer
_WARN_AGAIN = 30.0
_LOOK_AGAIN = 5.0


@dataclass(slots=True, eq=False)
class AgentState:
    """What an agent did since it started, and what lies before it.

    Attributes:
        in_flight: events that were sent and not acknowledged.
        acknowledged: events the broker has.
        producers: connections made; more than one: the broker was away, or has refused one.
        spool: what was last seen in it.
    """

    in_flight: int = 0
    acknowledged: int = 0
    producers: int = 0
    spool: Seen = field(default_factory=Seen)

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        yield gauge(
            "agent_live_sources", "Sources whose process runs, of runs that have not ended", self.spool.live
        )
        yield gauge(
            "agent_waiting_sources", "Sources with something the broker does not have", self.spool.backlog
        )
        yield gauge("agent_spool_bytes", "Bytes of the spool", self.spool.bytes)
        yield gauge("agent_events_in_flight", "Events sent and not acknowledged", self.in_flight)
        yield counter("agent_events_acknowledged", "Events the broker has", self.acknowledged)
        yield counter("agent_producers", "Connections made to the broker, after failures too", self.producers)


async def run_agent(
    settings: Settings,
    stop: asyncio.Event,
    *,
    once: bool = False,
    idle_timeout: float | None = None,
    state: AgentState | None = None,
) -> None:
    """Deliver the spool until `stop` is set.

    Args:
        once: end when everything is delivered (`runstream sync`).
        idle_timeout: end after so many seconds without a live run and with everything delivered, and when the spool was
            removed, whether the broker is there or not; None: never.
        state: counts on in this.

    Raises:
        SpoolError: another process reads this spool.
    """
    state = AgentState() if state is None else state
    collector = Collector(settings, lists_delivered=True)
    await collector.lock()
    watch = asyncio.create_task(_end_without_spool(collector, stop)) if idle_timeout is not None else None
    try:
        while not stop.is_set():
            sender = _Sender(settings, collector, state)
            try:
                if not await sender.start(stop):
                    return
                if await _deliver(sender, collector, stop, once, idle_timeout):
                    return
            except _Broken as error:
                # The sender task of an idempotent producer ends for good on a sequence gap or when fenced off.
                logger.warning(
                    "runstream: a new producer is needed, sending again what was not acknowledged: %s", error
                )
            finally:
                await sender.stop()
                collector.forget()
    finally:
        if watch is not None:
            watch.cancel()
        collector.unlock()


async def _end_without_spool(collector: Collector, stop: asyncio.Event) -> None:
    """An agent that a run started would wait for a broker for ever, for a home that somebody threw away."""
    while not collector.removed:
        await asyncio.sleep(_LOOK_AGAIN)
    logger.info("runstream: the spool %s was removed, the agent ends", collector.spool)
    stop.set()


async def _deliver(
    sender: _Sender, collector: Collector, stop: asyncio.Event, once: bool, idle_timeout: float | None
) -> bool:
    """Read and send; True when there is nothing more to do."""
    quiet_since = time.monotonic()
    ahead: asyncio.Task[list[Collected]] | None = None
    try:
        while not stop.is_set():
            items = await asyncio.shield(ahead) if ahead else collector.collect(_COLLECT_BYTES, now=once)
            ahead = None
            sender.check()
            sender.tell_stored()  # only now: the collector is not thread-safe
            sender.state.spool, sender.state.in_flight = collector.seen, sender.pending
            if items or sender.pending or collector.live:
                quiet_since = time.monotonic()
            elif once and not collector.busy:
                return True
            elif (
                idle_timeout is not None
                and time.monotonic() - quiet_since > idle_timeout
                and not collector.busy
            ):
                logger.info("runstream: no live run for %.0f s, the agent ends", idle_timeout)
                return True
            if sum(item.size for item in items) >= _COLLECT_BYTES // 2:
                # Under load the next events are made while these are sent; a quiet agent would only pay for the thread.
                ahead = asyncio.create_task(asyncio.to_thread(collector.collect, _COLLECT_BYTES, now=once))
            for item in items:
                await sender.send(item)
            if ahead:
                pass
            elif items:
                await asyncio.sleep(0)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), collector.pause)
        # A stop delivers what is there, within reason; what is not acknowledged is sent again by the next agent.
        items = await asyncio.shield(ahead) if ahead else []
        ahead = None
        for item in [*items, *collector.collect(_COLLECT_BYTES, now=True)]:
            await sender.send(item)
        await sender.drain(5.0)
        sender.tell_stored()
        return True
    finally:
        if ahead:  # nobody may touch the collector before it is done
            await asyncio.wait([ahead])


class _Broken(Exception):
    pass


class _Sender:
    """An idempotent producer with a bound on what is in flight."""

    def __init__(self, settings: Settings, collector: Collector, state: AgentState) -> None:
        self.settings = settings
        self.collector = collector
        self.state = state
        self.pending = 0
        self._slots = asyncio.Semaphore(PENDING_EVENTS)
        self._failure: BaseException | None = None
        # To the run, and whether they send its end.
        self._tasks: dict[asyncio.Task[None], tuple[str, bool]] = {}
        self._stored: deque[Collected] = deque()
        self._producer: AIOKafkaProducer | None = None
        names = TopicNames.of(settings)
        self._topics = {METRICS: names.metrics, TAGS: names.tags, STATUS: names.status}

    async def start(self, stop: asyncio.Event) -> bool:
        """Connect, however long it takes; False when `stop` was set first."""
        warned = -_WARN_AGAIN
        while not stop.is_set():
            producer: Any = None
            try:
                await ensure_topics(self.settings, timeout=3.0)
                producer = AIOKafkaProducer(
                    **kafka_client_options(self.settings),
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=BATCH_BYTES,
                    max_request_size=REQUEST_BYTES,
                    linger_ms=5,
                    compression_type=None,  # payloads are compressed; the client's own way is three times slower
                )
                await asyncio.wait_for(producer.start(), 30)
                self._producer = producer
                self.state.producers += 1
                return True
            except (ServiceError, KafkaError, OSError, TimeoutError) as error:
                if producer is not None:
                    await _close(producer)
                if time.monotonic() - warned >= _WARN_AGAIN:
                    warned = time.monotonic()
                    logger.warning(
                        "runstream: Kafka at %s is away (%s); points stay in %s until it is back",
                        self.settings.kafka,
                        error or type(error).__name__,
                        self.collector.spool,
                    )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1.0)
        return False

    async def send(self, item: Collected) -> None:
        """Send the events of `item`; returns as soon as there is room for the next.

        The end of a run is sent when all that it counts is acknowledged: whoever has read it knows that the rest was in the
        topics before it, and can tell what is late from what is lost.
        """
        run_id = item.source.run_id
        before = [task for task, (run, _) in self._tasks.items() if run == run_id]
        behind_end = any(self._tasks[task][1] for task in before)
        acknowledgements, ends = [], []
        for event in item.events:
            if isinstance(event, StatusEvent) and (behind_end or any("ends" in op.data for op in event.ops)):
                ends.append(event)
            else:
                acknowledgements.append(await self._hand_over(event))
        self.pending += len(ends)
        task = asyncio.create_task(self._confirm(item, acknowledgements, before, ends))
        self._tasks[task] = run_id, bool(ends)
        task.add_done_callback(self._tasks.pop)

    async def _hand_over(self, event: Event) -> asyncio.Future[Any]:
        await self._slots.acquire()
        self.check()
        assert self._producer is not None
        try:
            topic, key = self._topics[topic_of(event)], event.run_id.encode()
            acknowledgement: asyncio.Future[Any] = await self._producer.send(
                topic, encode_event(event), key=key
            )
        except (KafkaError, asyncio.CancelledError) as error:
            self._slots.release()
            raise _Broken(str(error) or type(error).__name__) from error
        self.pending += 1
        return acknowledgement

    async def _acknowledged(self, acknowledgement: asyncio.Future[Any]) -> None:
        try:
            await acknowledgement
            self.state.acknowledged += 1
        finally:
            self.pending -= 1
            self._slots.release()

    async def _confirm(
        self,
        item: Collected,
        acknowledgements: list[asyncio.Future[Any]],
        before: list[asyncio.Task[None]],
        ends: list[StatusEvent],
    ) -> None:
        try:
            for acknowledgement in acknowledgements:
                await self._acknowledged(acknowledgement)
            if ends and before:
                await asyncio.wait(before)
            for event in ends:
                acknowledgement = await self._hand_over(event)  # raises if anything before it has failed
                self.pending -= 1  # it was counted already
                await self._acknowledged(acknowledgement)
        except (KafkaError, asyncio.CancelledError, _Broken) as error:
            self._failure = self._failure or error
            return
        if self._failure is None:
            self._stored.append(item)

    def tell_stored(self) -> None:
        """Let the collector free what was acknowledged."""
        while self._stored:
            self.collector.stored(self._stored.popleft())

    def check(self) -> None:
        """Raise if an event could not be sent."""
        if self._failure is not None:
            raise _Broken(str(self._failure) or type(self._failure).__name__)

    async def drain(self, seconds: float) -> None:
        """Wait for what is in flight."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    async def stop(self) -> None:
        """Close the producer; what is not acknowledged is forgotten."""
        for task in list(self._tasks):
            task.cancel()
        if self._producer is not None:
            await _close(self._producer)
            self._producer = None


async def _close(producer: Any) -> None:
    # stop() flushes first, which takes for ever while the broker is away, and then raises CancelledError.
    with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError, Exception):
        await asyncio.wait_for(producer.stop(), 2.0)
