"""A server that ends while requests are under way tells them so, in its own words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from runstream_query.http.app import run_server

SLOW = [("POST", "/api/v1/sql", {"query": "select count(*) from metrics"}), ("GET", "/api/v1/runs", None)]


@pytest.mark.parametrize(("method", "path", "body"), SLOW)
async def test_what_takes_longer_than_it_waits_is_told_to_ask_again(
    database: Any, method: str, path: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """uvicorn cancels what is under way after three seconds, and would answer 500."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = asyncio.create_task(run_server(database.settings, stop, on_ready=ready.set_result))
    async with (
        database.pool.acquire() as connection,
        httpx.AsyncClient(base_url=await ready, timeout=30) as client,
    ):
        async with connection.transaction():
            await connection.execute("lock table runs, chunks in access exclusive mode")
            asked = asyncio.create_task(client.request(method, path, json=body))
            waiting = "select count(*) from pg_locks where not granted"
            while not await connection.fetchval(waiting):
                assert not asked.done(), asked.result().text
                await asyncio.sleep(0.01)
            stop.set()
            answer = await asked
        await asyncio.wait_for(server, 20)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "this server is ending" in answer.json()["detail"]
    assert "again" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"
    assert "Exception in ASGI application" not in caplog.text
