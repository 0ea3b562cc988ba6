"""Live changes as server-sent events: which runs have new metrics, tags or statuses. Pushed, never polled.

Every commit of the consumer notifies Postgres' channel; `Notifications` numbers what it hears and keeps the latest. A stream
holds no queue of its own, only the number it has got to, so a slow browser costs nothing and misses nothing: it gets the
merged changes since that number, or `reset` (fetch everything anew) when they are no longer held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...points.watermark import Notifications
from ..access import grant_of
from ..endpoint import Reach, endpoint
from ..responses import problem
from ..tokens import BELIEVED, Role

if TYPE_CHECKING:
    from ..context import Server

HEARTBEAT = BELIEVED
"""Seconds between signs of life on a quiet stream, and between two looks whether the token is still good."""
FIRST_PAUSE, PAUSE_PER_STREAM, LONGEST_PAUSE = 0.03, 0.001, 0.25
"""Seconds in which changes are put together into one event: more of them the more streams there are."""

MOST_STREAMS = 5000
"""Open streams of one server."""

_open_streams: set[int] = set()

ChangedRuns = dict[str, list[str] | None]
"""Run ids by topic (`metrics`, `tags`, `status`); None: any run may have changed."""


_OF_WORKSPACE: Final = """
select r.run_id from runs r join experiments e on e.id = r.experiment_id
where r.run_id = any($1::text[]) and e.workspace = $2
"""


def open_pages() -> int:
    """How many pages in this process listen to `/api/v1/events`."""
    return len(_open_streams)


def merge_changes(payloads: Iterable[str], only: Collection[str] = ()) -> ChangedRuns:
    """What several notifications say together.

    Args:
        payloads: JSON of `{"topic": ..., "runs": [...] or null}` each.
        only: run ids somebody cares about; empty: all.
    """
    merged: dict[str, dict[str, None] | None] = {}
    for payload in payloads:
        notice = json.loads(payload)
        topic, runs = notice.get("topic"), notice.get("runs")
        if topic is None:
            continue
        if runs is None:
            merged[topic] = None
            continue
        held = merged.setdefault(topic, {})
        if held is not None:
            held.update((run, None) for run in runs if not only or run in only)
    return {
        topic: None if runs is None else list(runs) for topic, runs in merged.items() if runs is None or runs
    }


async def changes_of(pool: asyncpg.Pool[Any], workspace: str, changes: ChangedRuns) -> ChangedRuns:
    """Only the changes of a workspace's runs. "Any run may have changed" stays: it names none."""
    named = {run for runs in changes.values() for run in runs or ()}
    rows = await pool.fetch(_OF_WORKSPACE, list(named), workspace) if named else []
    here = {row["run_id"] for row in rows}
    kept = {
        topic: None if runs is None else [run for run in runs if run in here]
        for topic, runs in changes.items()
    }
    return {topic: runs for topic, runs in kept.items() if runs is None or runs}


class EventsQuery(msgspec.Struct, kw_only=True):
    run: list[str] = []
    after: str = ""


@endpoint(
    "GET /api/v1/events",
    Role.READ,
    Reach.HANDLER,
    "Changes as server-sent events",
    answer="text/event-stream",
)
async def events(request: Request, asked: EventsQuery) -> Response:
    """`{"metrics": [run ids], "status": null, ...}` for each change, see `ChangedRuns`.

    The id of an event is sent back by the browser as `Last-Event-ID` when it reconnects (or by hand as `?after=`).
    """
    server: Server = request.app.state
    notifications = server.notifications
    if notifications is None:
        return problem(
            503, "Service Unavailable", "this server cannot listen to the database (PgBouncer); poll instead"
        )
    if len(_open_streams) >= MOST_STREAMS:
        return problem(503, "Service Unavailable", f"{MOST_STREAMS} streams are open already; poll instead")
    only = frozenset(asked.run)
    after = request.headers.get("last-event-id") or asked.after
    grant = grant_of(request)
    workspace, good = grant.workspace, partial(server.tokens.still, grant)
    narrow = None if workspace is None else partial(changes_of, server.pool, workspace)
    mark = object()

    async def stream() -> AsyncIterator[bytes]:
        _open_streams.add(id(mark))
        server.counters.open_streams += 1
        try:
            async for event in _follow(notifications, after, only, narrow, good):
                yield event
        finally:
            _open_streams.discard(id(mark))
            server.counters.open_streams -= 1

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


async def _follow(
    notifications: Notifications,
    after: str,
    only: Collection[str],
    narrow: Callable[[ChangedRuns], Awaitable[ChangedRuns]] | None,
    good: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    epoch, _, number = after.partition("-")
    resumed = epoch == notifications.epoch and number.isdecimal()
    seen = min(int(number), notifications.count) if resumed else notifications.count
    # Browsers wait this long before they come again; the page adds a back-off of its own.
    yield b"retry: 1000\n: listening\n\n"
    if not resumed:
        yield _event(notifications, seen, "reset" if after else "hello", {})
    while not notifications.stopped and await good():
        if notifications.count == seen and await notifications.wait(HEARTBEAT) is None:
            yield b": still here\n\n"
            continue
        await asyncio.sleep(min(FIRST_PAUSE + PAUSE_PER_STREAM * len(_open_streams), LONGEST_PAUSE))
        missed = notifications.since(seen)
        seen = notifications.count
        if missed is None:
            yield _event(notifications, seen, "reset", {})
            continue
        changes = merge_changes(missed, only)
        if changes and narrow is not None:
            changes = await narrow(changes)
        if changes:
            yield _event(notifications, seen, "change", changes)


def _event(notifications: Notifications, number: int, name: str, data: Any) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {notifications.epoch}-{number}\nevent: {name}\ndata: {text}\n\n".encode()


ENDPOINTS = (events,)
