"""How far a source was made into events: where its next reader resumes, once they are stored."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import segment as seg

_WORD = struct.Struct("<Q")
_NOTED = struct.Struct("<QQQ16xQ")  # all of them, as they stand in a header


@dataclass(slots=True)
class Positions:
    """Ends of the last events made of a source.

    Attributes:
        metrics: slot after the last one that events of the metrics cover.
        tags, status: end of the last event on those topics.
        latest_step: time of the latest status, told for the source by its reader too, in microseconds since the epoch.
    """

    metrics: int = 0
    tags: int = 0
    status: int = 0
    latest_step: int = 0

    AT: ClassVar = (*seg.ACKED_AT.values(), seg.LATEST_STEP_AT)
    """Where they stand in a segment's header."""

    @classmethod
    def read(cls, mappings: Iterable[Any]) -> Positions:
        """What the headers of a source's segments say: a new segment may say less than the one before it."""
        return cls(
            *map(max, zip(*(_NOTED.unpack_from(mapped, cls.AT[0]) for mapped in mappings), strict=True))
        )

    def write(self, mapped: Any) -> None:
        """Note them in a segment's header."""
        noted = (self.metrics, self.tags, self.status, self.latest_step)
        for at, position in zip(self.AT, noted, strict=True):
            _WORD.pack_into(mapped, at, position)
