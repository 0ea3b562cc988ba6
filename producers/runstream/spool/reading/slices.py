"""What a reader takes out of a spool at once: consecutive slots of one source, copied or still in the mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .. import segment as seg


@dataclass(slots=True)
class Frame:
    """A record of several slots: `at` is its first slot within the slice, `time` in seconds since the epoch."""

    at: int
    kind: int
    time: float
    body: bytes


@dataclass(slots=True)
class Slice:
    """Consecutive slots of one source.

    Attributes:
        slots: shape (n, 4), int64: the slots' words; those of frames and skipped slots are not `points`.
        is_point: shape (n,), or None when every slot is a point.
        behind_gap: a segment before it is missing: its first slot is not the one after the last slice.
        unknown: points and frames of series whose definition was lost with a damaged segment; counted when they are encoded.
    """

    first: int
    end: int
    slots: NDArray[np.int64]
    is_point: NDArray[np.bool_] | None
    frames: list[Frame]
    behind_gap: bool = False
    unknown: int = 0

    @property
    def held(self) -> int:
        """Bytes of its records, roughly as many as of the events they become."""
        points = self.end - self.first if self.is_point is None else int(np.count_nonzero(self.is_point))
        return points * seg.SLOT + sum(500 + len(frame.body) for frame in self.frames)

    def halves(self) -> tuple[Slice, Slice] | None:
        """It in two, between two records; None when it is one slot, or one record."""
        n = self.end - self.first
        cut = n // 2
        for frame in self.frames:
            end = frame.at + 1 - (-len(frame.body) // seg.SLOT)
            if frame.at < cut < end:
                cut = frame.at or end
                break
        return None if not 0 < cut < n else (self._between(0, cut), self._between(cut, n))

    def pieces(self, starts: Sequence[int]) -> list[Slice]:
        """It in pieces.

        Args:
            starts: the slots of it, rising, at which records begin and pieces beside the first one do.
        """
        pieces = [self._between(start, end) for start, end in pairwise([0, *starts, self.end - self.first])]
        pieces[0].behind_gap = self.behind_gap
        return pieces

    def _between(self, start: int, end: int) -> Slice:
        frames = [
            Frame(frame.at - start, frame.kind, frame.time, frame.body)
            for frame in self.frames
            if start <= frame.at < end
        ]
        is_point = None if self.is_point is None else self.is_point[start:end]
        return Slice(self.first + start, self.first + end, self.slots[start:end], is_point, frames)
