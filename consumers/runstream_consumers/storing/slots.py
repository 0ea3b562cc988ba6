"""Which slots of a source are stored: what makes a resend harmless, a reordering lossless and a gap visible."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_RANGE = re.compile(r"\[(\d+),(\d+)\)")


@dataclass(slots=True)
class Slots:
    """A set of slots, kept as everything below `next` and the sorted, disjoint ranges `ahead` above a gap."""

    next: int = 0
    ahead: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def parse(cls, next_: int, multirange: str) -> Slots:
        """From the columns `next` and `ahead` of the table `sources` (Postgres' text of an int8multirange)."""
        return cls(next_, [(int(a), int(b)) for a, b in _RANGE.findall(multirange)])

    def copy(self) -> Slots:
        """An independent copy."""
        return Slots(self.next, list(self.ahead))

    @property
    def multirange(self) -> str:
        """`ahead` as Postgres' text of an int8multirange."""
        return "{" + ",".join(f"[{a},{b})" for a, b in self.ahead) + "}"

    @property
    def end(self) -> int:
        """The slot after the highest stored one."""
        return self.ahead[-1][1] if self.ahead else self.next

    @property
    def holes(self) -> list[tuple[int, int]]:
        """The ranges missing below `end`."""
        holes, at = [], self.next
        for start, end in self.ahead:
            holes.append((at, start))
            at = end
        return holes

    def missing(self, first: int, end: int) -> list[tuple[int, int]]:
        """The ranges of [first, end) that are not stored."""
        missing, at = [], first
        for a, b in [(0, self.next), *self.ahead]:
            if b <= at:
                continue
            if a >= end:
                break
            if a > at:
                missing.append((at, a))
            at = b
        return [*missing, (at, end)] if at < end else missing

    def add(self, first: int, end: int) -> None:
        """Mark [first, end) as stored."""
        if end <= first:
            return
        if first <= self.next and not self.ahead:  # nearly always
            self.next = max(self.next, end)
            return
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self.ahead, (first, end)]):
            if a <= self.next:
                self.next = max(self.next, b)
            elif merged and a <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], b))
            else:
                merged.append((a, b))
        self.ahead = [(a, b) for a, b in merged if b > self.next]
