"""The database's own clock: it moves on by what its consumers and compactors measure, whatever wall clocks are set to.

Ages are told by the SQL function `uptime()`: since when a claim shows no sign of life, a file is replaced, a run is silent.
"""

from __future__ import annotations

import time
from typing import Any

import asyncpg

LONGEST_STEP = 30
"""Seconds the clock moves on at once, at most: so much older than it is may something look."""

READ = "select uptime()"
MOVE = "update uptime set seconds = seconds + $2 where seconds = $1 returning seconds"


class Uptime:
    """Moves the clock on. Any number of processes may: whoever saw it stand still for some seconds moves it by these, and
    the others find it moved. So it is never faster than time.
    """

    def __init__(self) -> None:
        self._seen = -1
        self._since = 0.0

    async def tick(self, pool: asyncpg.Pool[Any]) -> None:
        """Move the clock on, if it has stood still since the last call. To be called now and then."""
        seconds = await pool.fetchval(READ)
        now = time.monotonic()
        if seconds == self._seen and now - self._since >= 1.0:
            step = min(int(now - self._since), LONGEST_STEP)
            seconds = await pool.fetchval(MOVE, seconds, step) or seconds + step
        if seconds != self._seen:
            self._seen, self._since = seconds, now
