"""Reads that see the caller's own writes: they wait until those are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.watermark import wait_stored
from .filters import MAX_WAIT, Wait
from .parameters import integer

if TYPE_CHECKING:
    from .context import Server

STALE = {"X-Runstream-Stale": "1"}
"""Headers of an answer that may lack the caller's newest writes."""


async def wait_for_writes(server: Server, asked: Wait) -> dict[str, str]:
    """Wait for the writes the caller names; headers that tell whether it was in vain."""
    positions: dict[str, int] = {}
    for text in asked.wait:
        for part in filter(None, text.split(",")):
            source, _, seq = part.rpartition(":")
            positions[source] = integer(seq, "wait", 0) or 0
    if not positions:
        return {}
    timeout = min(asked.timeout, MAX_WAIT)
    if await wait_stored(server.pool, positions, timeout, notifications=server.notifications):
        return {}
    server.counters.stale_waits += 1
    return dict(STALE)
