"""Finding the events that the database or a decoder refuses, among others that are stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runstream_schemas.errors import lacks_memory
from runstream_schemas.wire.events import Event, encode_event, topic_of

from ..sources.source import DeadLetter, Fetched

WhyNot = Callable[[Sequence[Event]], Awaitable[str | None]]
"""Tries to store events together: why they cannot be, or None."""


async def find_refused(events: Sequence[Event], why_not: WhyNot) -> list[tuple[Event, str]]:
    """The events without which the others can be stored, each with the reason."""
    reason = await why_not(events) if events else None
    if reason is None:
        return []
    if len(events) == 1:
        return [(events[0], reason)]
    half = len(events) // 2
    bad = await find_refused(events[:half], why_not) + await find_refused(events[half:], why_not)
    if bad:
        return bad
    # Each half for itself is good, and together they are not: the first event that those before it do not bear.
    good, end = half, len(events)
    while end - good > 1:
        middle = (good + end) // 2
        why = await why_not(events[:middle])
        good, end, reason = (middle, end, reason) if why is None else (good, middle, why)
    rest = [*events[: end - 1], *events[end:]]
    return [(events[end - 1], reason), *await find_refused(rest, why_not)]


def dead_letter(fetched: Fetched, event: Event, reason: str) -> DeadLetter:
    """The very record of a refused event; of an event that never was one, what it would have been."""
    span = (event.run_id, event.source, event.first, event.count)
    for known, origin in zip(fetched.events, fetched.origins, strict=False):
        if known is event:
            offset, key, value = origin.offset, origin.key, origin.value
            break
    else:
        offset, key = fetched.start, event.run_id.encode("utf-8", "backslashreplace")
        try:
            value = encode_event(event)
        except Exception as error:
            if lacks_memory(error):
                raise
            value, reason = b"", f"{reason} (and it cannot be written: {type(error).__name__})"
    return DeadLetter(fetched.partition, offset, reason, key, value, topic_of(event), span)
