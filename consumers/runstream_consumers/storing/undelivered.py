"""What the end of a run counts and no log can deliver any more: recorded as a gap, and waited for no longer.

The end of a run is sent when the broker has acknowledged everything that it counts. So once it is stored, all that was
counted lies below the present ends of the topics, or in a topic that was deleted. When the partitions are stored up to
there, what is missing still was deleted before anybody read it.
"""

from __future__ import annotations

import logging
from typing import Any

import asyncpg

from runstream_schemas.errors import ServiceError

from ..sources.source import Horizon, LoadOffsets, Partition
from . import queries

log = logging.getLogger(__name__)

RUNS_AT_ONCE = 10_000


class Undelivered:
    """Runs that have ended and wait for something, and up to where the partitions have to be stored before it is given up.

    Args:
        load_offsets: how far partitions are stored.
    """

    def __init__(self, pool: asyncpg.Pool[Any], load_offsets: LoadOffsets) -> None:
        self._pool = pool
        self._load = load_offsets
        self._runs: list[int] = []
        self._until: dict[Partition, int] = {}

    async def look(self, horizon: Horizon) -> None:
        """Begin to watch the runs that wait now, or give up what those that are watched still wait for if it cannot come."""
        try:
            if not self._runs:
                # First the runs, then the ends of the topics: what a stored end counts was acknowledged before it.
                waiting = await self._pool.fetch(queries.WAITING, RUNS_AT_ONCE)
                if waiting:
                    self._until = await horizon()
                    self._runs = [row["key"] for row in waiting]
            elif await self._passed(await horizon()):
                runs, self._runs = self._runs, []
                await give_up(self._pool, runs)
        except ServiceError as error:
            log.info("whether something can still come is not known now: %s", error)

    async def _passed(self, now: dict[Partition, int]) -> bool:
        stored = await self._load(list(self._until))
        names = {partition.topic_name for partition in now}
        return all(
            # A topic that was made again has another id: what the old one held is gone.
            partition.topic_name in names
            # A log that lost its end does not get as far again by itself.
            and (partition not in now or (stored[partition] or 0) >= min(end, now[partition]))
            for partition, end in self._until.items()
        )


async def give_up(connection: asyncpg.Pool[Any] | asyncpg.Connection[Any], runs: list[int]) -> None:
    """Record what the ends of these runs count and is not stored, and let them settle without it."""
    for row in await connection.fetch(queries.GIVE_UP, runs):
        log.warning(
            "run %s: %d slots of its %s were counted at its end and never came",
            row["run_id"],
            row["slots"],
            row["topic"],
        )
