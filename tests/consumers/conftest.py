"""A pool on the test's own database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from runstream_schemas.database import create_pool
from runstream_schemas.settings import Settings


@pytest.fixture
async def pool(postgres: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(Settings(database=postgres))
    yield pool
    pool.terminate()
