"""How many of a target's places are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .queue import Entry


def places_taken(queue: Mapping[str, Entry], begun: Iterable[str]) -> int:
    """Places the runs that have begun take.

    A run takes none while children of it are queued or running: it most likely waits for them, and a target whose places
    were all taken by such parents would stand still for ever.

    Args:
        queue: all entries by name.
        begun: names of those handed over to the target.
    """
    parents = {entry.parent for entry in queue.values() if entry.parent}
    return sum(1 for name in begun if name in queue and queue[name].run_id not in parents)
