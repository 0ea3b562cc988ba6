"""Positions a read waits for, as the service takes them: `source.topic:position`, or `source.topic@run-id:position`."""

from __future__ import annotations

from collections.abc import Mapping

BYTES_A_REQUEST = 20_000
"""Of an address, spent on them."""


def by_request(waits: Mapping[str, int]) -> list[dict[str, int]]:
    """Them in parts of `BYTES_A_REQUEST`, each for a request of its own; at least one part, which may be empty."""
    parts: list[dict[str, int]] = [{}]
    room = BYTES_A_REQUEST
    for key, position in sorted(waits.items()):
        size = len(as_text({key: position})) + 1
        if size > room and parts[-1]:
            parts.append({})
            room = BYTES_A_REQUEST
        parts[-1][key] = position
        room -= size
    return parts


def as_text(waits: Mapping[str, int]) -> str:
    """Them as the value of a request's `wait`."""
    return ",".join(f"{key}:{position}" for key, position in waits.items())
