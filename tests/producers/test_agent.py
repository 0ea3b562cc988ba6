"""The agent: whatever happens to the broker or to the agent, what was logged arrives, and readers see it once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from runstream import agent as agent_module
from runstream.agent import run_agent
from runstream.spool.writing import writer as spool
from runstream_schemas.errors import SpoolError
from runstream_schemas.kafka.topics import TopicNames, kafka_client_options
from runstream_schemas.settings import Settings
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import Event, MetricsEvent, StatusEvent, cut_event
from runstream_service.servers.kafka import KafkaServer, _free_ports

from .reading import logged, steps_of_life, tags_of

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(tmp_path: Path, kafka: Any) -> Settings:
    """A spool of the test's own, whose events go to the session's broker."""
    own = {"spool": str(tmp_path / "spool"), "home": str(tmp_path / "home")}
    return cast(Settings, kafka.settings(**own, heartbeat_interval=3600.0))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, to be started and killed."""
    [port] = _free_ports("127.0.0.1", 1)
    server = KafkaServer(tmp_path / "kafka", port=port)
    yield server
    server.stop()


@pytest.fixture
def to_broker(tmp_path: Path, broker: KafkaServer) -> Settings:
    """Settings that lead to it."""
    return Settings.load(
        {},
        spool=str(tmp_path / "spool"),
        home=str(tmp_path / "home"),
        kafka=f"{broker.host}:{broker._port}",
        topic_partitions=4,
        heartbeat_interval=3600.0,
    )


@contextlib.asynccontextmanager
async def running(settings: Settings, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
    """An agent in this process; asked to stop at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_agent(settings, stop, **options))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def arrived(settings: Settings, until: Any, seconds: float = 60.0) -> list[Event]:
    """Events on the topics, without those sent twice, as soon as `until` is content with them."""
    consumer = AIOKafkaConsumer(
        *TopicNames.of(settings).events,
        **kafka_client_options(settings),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    deadline = time.monotonic() + seconds
    while True:
        try:
            await consumer.start()
            break
        except Exception:
            assert time.monotonic() < deadline, "the broker did not come back"
            await asyncio.sleep(0.5)
    events: list[Event] = []
    seen: dict[tuple[type, bytes], int] = {}
    try:
        while time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    event = decode_event(record.value)
                    assert record.key == event.run_id.encode()
                    end = seen.get((type(event), event.source), 0)
                    assert event.first <= end, "a gap: events of a source arrive in order"
                    if event.first + event.count <= end:
                        continue
                    seen[type(event), event.source] = event.first + event.count
                    if isinstance(event, MetricsEvent):  # what is sent again may be cut in another place
                        events += cut_event(event, [(end, event.first + event.count)])
                    else:
                        events.append(event)
            if until(events):
                return events
    finally:
        await consumer.stop()
    raise AssertionError(f"only {len(events)} events arrived: {logged(events).keys()}")


def has(name: str, n: int) -> Any:
    return lambda events: len(logged(events).get(("run", name, ""), [])) >= n


def spooled(settings: Settings) -> list[Path]:
    return [entry for entry in settings.spool_path.iterdir() if len(entry.name) == 32]


async def test_the_end_of_a_run_is_sent_when_what_it_counts_is_acknowledged(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: dict[bytes, list[asyncio.Future[Any]]] = {}
    early: list[bytes] = []
    send = AIOKafkaProducer.send

    async def watched(self: AIOKafkaProducer, topic: str, value: bytes, key: bytes) -> asyncio.Future[Any]:
        event = decode_event(value)
        if isinstance(event, StatusEvent):
            if any("ends" in op.data for op in event.ops) and not all(
                sending.done() for sending in waiting[key]
            ):
                early.append(key)
            return await send(self, topic, value, key=key)
        future = await send(self, topic, value, key=key)
        waiting.setdefault(key, []).append(future)
        return future

    monkeypatch.setattr(AIOKafkaProducer, "send", watched)
    runs = [f"run-{number}" for number in range(20)]
    for run_id in runs:
        writer = spool.RunWriter(settings, run_id, owner=True)
        other = spool.RunWriter(settings, run_id)
        writer.status("create")
        for i in range(50):
            writer.log("x", i)
            other.log("y", i)
        other.close()
        writer.tag("k", "v")
        writer.status("complete")
        writer.status("start")
        writer.status("fail")
        writer.close()

    def all_ended(events: list[Event]) -> bool:
        return len([kind for _, kind, _ in steps_of_life(events) if kind == "fail"]) == len(runs)

    async with running(settings, once=True):
        events = await arrived(settings, all_ended)
    assert early == []
    for run_id in runs:
        kinds = [kind for run, kind, _ in steps_of_life(events) if run == run_id]
        assert [kind for kind in kinds if kind != "source_done"] == ["create", "complete", "start", "fail"]


async def test_metrics_tags_and_statuses_arrive_keyed_by_run(settings: Settings) -> None:
    writer = spool.RunWriter(settings, "run", owner=True)
    writer.status("create", {"experiment": "e"})
    writer.tag("k", "v")
    for i in range(100):
        writer.log("x", i)
    async with running(settings):
        events = await arrived(settings, lambda e: has("x", 100)(e) and tags_of(e) and steps_of_life(e))
        assert logged(events)["run", "x", ""] == list(range(100))
        assert tags_of(events) == [("set", "k", "v")]
        assert [kind for _, kind, _ in steps_of_life(events)] == ["create"]
        writer.log("x", -1)
        began = time.monotonic()
        await arrived(settings, has("x", 101))
        assert time.monotonic() - began < 10


async def test_a_broker_that_is_away_at_the_start_is_waited_for(
    to_broker: Settings, broker: KafkaServer, caplog: pytest.LogCaptureFixture
) -> None:
    writer = spool.RunWriter(to_broker, "run")
    for i in range(3000):
        writer.log("x", i)
    async with running(to_broker):
        async with asyncio.timeout(30):
            while "is away" not in caplog.text:
                await asyncio.sleep(0.1)
        assert to_broker.kafka in caplog.text
        writer.log("x", 3000)
        await asyncio.to_thread(broker.start)
        events = await arrived(to_broker, has("x", 3001))
    assert logged(events)["run", "x", ""] == list(range(3001))


async def test_a_broker_killed_in_the_middle_costs_nothing_but_disk(
    to_broker: Settings, broker: KafkaServer
) -> None:
    broker.start()
    writer = spool.RunWriter(to_broker, "run")
    n = 0
    async with running(to_broker):
        for outage in (0.0, 4.0):
            for _ in range(200):
                for _ in range(200):
                    writer.log("x", n)
                    n += 1
                await asyncio.sleep(0.002)
            await asyncio.to_thread(broker.kill)
            for _ in range(20):
                for _ in range(500):
                    writer.log("x", n)
                    n += 1
                await asyncio.sleep(outage / 20)
            await asyncio.to_thread(broker.start)
        events = await arrived(to_broker, has("x", n), 90)
        assert logged(events)["run", "x", ""] == list(range(n))
        writer.status("complete")
        writer.close()
        async with asyncio.timeout(60):
            while spooled(to_broker):
                await asyncio.sleep(0.1)
    assert writer.dropped == 0


async def test_an_agent_killed_at_random_moments_loses_and_skips_nothing(settings: Settings) -> None:
    writer = spool.RunWriter(settings, "run")
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    n = 0
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runstream", "agent", env=environment
        )
        deadline = time.monotonic() + random.uniform(1.5, 3.5)
        while time.monotonic() < deadline:
            for _ in range(500):
                writer.log("x", n)
                n += 1
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with running(settings):
        points: dict[tuple[bytes, int], int] = {}

        # The killed agents' batches have other borders: keep each slot once, as the consumer does.
        consumer = AIOKafkaConsumer(
            TopicNames.of(settings).metrics, **kafka_client_options(settings), auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                while len(points) < n:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        for record in records:
                            event = decode_event(record.value)
                            assert isinstance(event, MetricsEvent)
                            values = logged([event]).get(("run", "x", ""), [])
                            for value in values:
                                points.setdefault((event.source, value), value)
        finally:
            await consumer.stop()
        assert sorted(points.values()) == list(range(n))


async def test_one_agent_a_spool(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from runstream.spool.collecting.collector import Collector

    first = Collector(settings)
    await first.lock()
    second = Collector(settings)
    with pytest.raises(SpoolError, match="already"):
        await second.lock(patience=0.1)
    first.unlock()
    await second.lock(patience=0.1)
    second.unlock()


async def test_an_agent_ends_when_nothing_is_left_to_do(settings: Settings) -> None:
    writer = spool.RunWriter(settings, "run")
    writer.log("x", 1)
    async with running(settings, idle_timeout=0.5) as task:
        await asyncio.sleep(3)
        assert not task.done(), "a run is alive"
        writer.status("complete")
        writer.close()
        await asyncio.wait_for(asyncio.shield(task), 20)
    assert not spooled(settings)


async def test_an_agent_ends_when_its_spool_was_removed_though_the_broker_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream.agent._LOOK_AGAIN", 0.05)
    settings = Settings.load({}, home=str(tmp_path / "home"), kafka="127.0.0.1:1")
    stop = asyncio.Event()
    task = asyncio.create_task(run_agent(settings, stop, idle_timeout=3600.0))
    while not (settings.spool_path / "agent.lock").exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert not task.done()
    shutil.rmtree(tmp_path / "home")
    await asyncio.wait_for(task, 30)


async def test_sync_delivers_what_lies_there_and_ends(settings: Settings) -> None:
    writer = spool.RunWriter(settings, "run")
    for i in range(100_000):
        writer.log("x", i)
    writer.status("complete")
    writer.close()
    await asyncio.wait_for(run_agent(settings, asyncio.Event(), once=True), 60)
    events = await arrived(settings, has("x", 100_000))
    assert logged(events)["run", "x", ""] == list(range(100_000))
    assert not spooled(settings)


async def test_a_producer_that_broke_for_good_is_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = spool.RunWriter(settings, "run")
    send = agent_module._Sender.send
    sent = 0

    async def failing(self: Any, item: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise agent_module._Broken("fenced off")
        await send(self, item)

    monkeypatch.setattr(agent_module._Sender, "send", failing)
    async with running(settings):
        for i in range(50):
            for j in range(100):
                writer.log("x", 100 * i + j)
            await asyncio.sleep(0.02)
        events = await arrived(settings, has("x", 5000))
    assert logged(events)["run", "x", ""] == list(range(5000))
    assert "a new producer is needed" in caplog.text
