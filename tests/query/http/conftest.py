"""A server whose owner asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.query.http.owner import HERE, OWNER

from runstream_consumers.storing.direct import DirectRecorder
from runstream_query.http.app import create_app
from runstream_query.http.context import Server


@pytest.fixture
async def server(database: Any) -> Server:
    await database.pool.execute(
        "insert into experiments (workspace, name) values ('default', 'e'), ('other', 'e')"
    )
    await database.pool.execute(
        "insert into runs (run_id, experiment_id, status, created_at) "
        "select workspace || '-run', id, 'Completed', now() from experiments"
    )
    return Server(database.pool, database.store, database.settings, recorder=DirectRecorder(database.pool))


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(server, token=OWNER, local_only=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield client
