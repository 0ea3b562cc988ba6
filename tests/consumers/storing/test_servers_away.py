"""A consumer whose database or broker is not there when it starts waits for it, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from runstream.agent import run_agent
from runstream.spool.writing import writer as spool
from runstream_consumers.storing.consumer import ConsumerState, run_consumer
from runstream_schemas.settings import Settings
from runstream_service.servers.kafka import KafkaServer, _free_ports
from runstream_service.servers.postgres import PostgresServer

POINTS = 5000
STORED = "select coalesce(sum(count), 0)::bigint from summaries"


@contextlib.asynccontextmanager
async def consuming(
    settings: Settings, source: Literal["spool", "kafka"]
) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_consumer(settings, stop, source=source))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 40)


async def wait_stored(dsn: str) -> None:
    deadline = time.monotonic() + 60
    stored = 0
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(dsn)
            try:
                stored = await connection.fetchval(STORED)
            finally:
                await connection.close()
            if stored >= POINTS:
                break
        await asyncio.sleep(0.2)
    assert stored == POINTS


def log_points(settings: Settings) -> None:
    writer = spool.RunWriter(settings, "run")
    for i in range(POINTS):
        writer.log("x", i)


async def test_postgres_is_away_at_the_start(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    server = PostgresServer(tmp_path_factory.mktemp("p") / "pg")
    settings = Settings(home=str(tmp_path), database=server.dsn)
    log_points(settings)
    try:
        async with consuming(settings, "spool") as task:
            await asyncio.sleep(2)
            assert not task.done(), "it waits"
            await asyncio.to_thread(server.start)
            await wait_stored(server.dsn)
    finally:
        server.stop()


@pytest.mark.kafka
async def test_the_broker_is_away_at_the_start(postgres: str, tmp_path: Path) -> None:
    [port] = _free_ports("127.0.0.1", 1)
    broker = KafkaServer(tmp_path / "kafka", port=port)
    settings = Settings(home=str(tmp_path), database=postgres, kafka=f"127.0.0.1:{port}", topic_partitions=4)
    log_points(settings)
    stop = asyncio.Event()
    agent = asyncio.create_task(run_agent(settings, stop))
    try:
        async with consuming(settings, "kafka") as task:
            await asyncio.sleep(4)
            assert not task.done(), "it waits"
            assert not agent.done(), "it waits, too"
            await asyncio.to_thread(broker.start)
            await wait_stored(postgres)
        stop.set()
        await asyncio.wait_for(agent, 30)
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("source", "loops"), [("spool", {"spool"}), ("kafka", {"metrics", "tags", "status"})]
)
async def test_a_consumer_that_waits_shows_every_figure_of_every_loop(
    source: Literal["spool", "kafka"], loops: set[str], tmp_path: Path
) -> None:
    nobody = Settings(home=str(tmp_path), database="postgresql://127.0.0.1:1/nobody", kafka="127.0.0.1:1")
    stop, state = asyncio.Event(), ConsumerState()
    waiting = asyncio.create_task(run_consumer(nobody, stop, source=source, state=state))
    await asyncio.sleep(0)
    shown = {metric.name: metric.samples for metric in state.collect()}
    stop.set()
    await asyncio.wait_for(waiting, 20)
    assert "runstream_consumer_lag" in shown
    for name, samples in shown.items():
        assert {sample.labels["loop"] for sample in samples} == loops, name
        assert all(sample.value == 0 for sample in samples), name
