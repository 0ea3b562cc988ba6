"""What the writer keeps in memory of what it stored."""

from __future__ import annotations

import asyncpg
from tests.consumers.logged import T0, LoggingSource

from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.plan import Planner
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp


async def test_of_runs_that_ended_nothing_is_kept(pool: asyncpg.Pool) -> None:
    planner = Planner(pool)

    async def stored(*events: Event) -> None:
        plan = await planner.plan([Fetched(Partition("cluster", "topic", "spool", 0), 0, 1, list(events))])
        plan.set_runs({event.run_id: 1 for event in events})
        planner.remember(plan)

    def status(source: LoggingSource, seq: int, kind: str) -> StatusEvent:
        return StatusEvent(source.run_id, source.id, seq, 1, [StatusOp(seq, T0 + seq, kind)])

    goes_on = LoggingSource("goes on")
    goes_on.log("loss", 1.0)
    await stored(status(goes_on, 0, "create"), goes_on.event(0, 1))
    kept = planner.held
    for number in range(20):
        ends = LoggingSource(f"run {number}")
        ends.log("loss", 1.0)
        await stored(status(ends, 0, "create"))
        await stored(status(ends, 1, "start"), ends.event(0, 1), status(ends, 2, "complete"))
    assert kept == planner.held == (2, 1)  # its two topics, and the run
