"""The hold of a backup: while it is renewed, nothing is deleted that the rows of its snapshot name.

It is a row, which counts by the database's own clock (the function `backup_held`): that of a dead backup ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

RENEW_EVERY = 15.0

FORGET_DEAD = "delete from backup_holds where renewed_up <= uptime() - 180"
HOLD = "insert into backup_holds (id) values ($1)"
RENEW = "update backup_holds set renewed_up = uptime() where id = $1 and renewed_up > uptime() - 180"
RELEASE = "delete from backup_holds where id = $1"


@asynccontextmanager
async def holding(pool: asyncpg.Pool[Any]) -> AsyncIterator[None]:
    """Hold what is stored, in the block."""
    hold = uuid.uuid4()
    await pool.execute(FORGET_DEAD)
    await pool.execute(HOLD, hold)
    renewing = asyncio.create_task(_renew(pool, hold))
    try:
        yield
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await pool.execute(RELEASE, hold)


async def _renew(pool: asyncpg.Pool[Any], hold: uuid.UUID) -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY)
        # A database that is away deletes nothing, and its clock stands still.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await pool.execute(RENEW, hold)
