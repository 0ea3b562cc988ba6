"""Waiting for one's own writes, with and without notifications."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runstream_query.points import watermark
from runstream_query.points.watermark import Notifications, wait_stored
from runstream_schemas.errors import QueryError

SOURCE = b"s" * 16


async def move(database: Any, key: int, seq: int, *, notify: bool) -> None:
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("update sources set next = $2 where key = $1", key, seq)
        if notify:
            await connection.execute("select pg_notify('runstream', '{}')")


@pytest.fixture
async def key(database: Any) -> int:
    run = await database.add_run("r")
    stored: int = await database.source_key(run, SOURCE, next=3)
    return stored


async def test_what_is_stored_needs_no_wait(database: Any, key: int) -> None:
    assert await wait_stored(database.pool, {SOURCE.hex(): 3}, 0)
    assert await wait_stored(database.pool, {}, 0)
    assert not await wait_stored(database.pool, {SOURCE.hex(): 4}, 0)
    assert not await wait_stored(database.pool, {(b"?" * 16).hex(): 1}, 0)
    assert not await wait_stored(database.pool, {SOURCE.hex(): 1, f"{SOURCE.hex()}.tags": 1}, 0)


async def test_without_notifications_it_looks_again(database: Any, key: int) -> None:
    waiting = asyncio.create_task(wait_stored(database.pool, {SOURCE.hex(): 9}, 10))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await move(database, key, 9, notify=False)
    assert await asyncio.wait_for(waiting, 5)


class Counted(Notifications):
    """Counts who waits."""

    waiting = 0

    async def wait(self, timeout: float) -> str | None:
        self.waiting += 1
        return await super().wait(timeout)


async def test_a_notification_wakes_every_waiter(
    database: Any, key: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else does here: nobody looks by himself for an hour."""
    monkeypatch.setattr(watermark, "POLL_FIRST", 3600.0)
    monkeypatch.setattr(watermark, "POLL_NOTIFIED", 3600.0)
    notifications = Counted(database.settings)
    await notifications.start()
    try:
        for _ in range(500):
            if notifications.listening:
                break
            await asyncio.sleep(0.01)
        waiting = [
            asyncio.create_task(
                wait_stored(database.pool, {SOURCE.hex(): 9}, 3600, notifications=notifications)
            )
            for _ in range(20)  # more than there are connections
        ]
        while notifications.waiting < len(waiting):
            await asyncio.sleep(0.01)
        await move(database, key, 9, notify=True)
        assert all(await asyncio.gather(*waiting))
    finally:
        await notifications.stop()


async def test_a_lost_connection_is_made_again(database: Any, key: int) -> None:
    notifications = Notifications(database.settings)
    await notifications.start()
    try:
        for _ in range(500):
            if notifications.listening:
                break
            await asyncio.sleep(0.01)
        await database.pool.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and query like 'LISTEN%'"
        )
        waiting = asyncio.create_task(
            wait_stored(database.pool, {SOURCE.hex(): 9}, 20, notifications=notifications)
        )
        await move(database, key, 9, notify=False)
        assert await asyncio.wait_for(waiting, 10)
        for _ in range(500):
            if notifications.listening:
                break
            await asyncio.sleep(0.01)
        assert notifications.listening
    finally:
        await notifications.stop()


@pytest.mark.parametrize("source", ["", "xyz", "12"])
async def test_what_is_no_source(database: Any, source: str) -> None:
    with pytest.raises(QueryError, match="source"):
        await wait_stored(database.pool, {source: 1}, 0)
