"""One source as its collector knows it, and what was handed out of it and is not stored yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from runstream_schemas.limits import TIME_MAX_US
from runstream_schemas.wire.events import Event, MetricsEvent, StatusEvent, StatusOp

from .. import segment as seg
from ..reading.encoder import agent_source
from ..reading.positions import Positions
from ..reading.reader import SourceReader


@dataclass(slots=True)
class Collected:
    """Events of one source that are stored together.

    Attributes:
        positions: to note once they and all before them are stored; None: nothing new is to be noted.
        size: bytes of the events, roughly.
    """

    source: CollectedSource
    events: list[Event]
    positions: Positions | None
    size: int


@dataclass(slots=True, eq=False)
class CollectedSource:
    """One source.

    Attributes:
        positions: until where events were made.
        has_points: points of it were handed out: whoever stores them knows its place among the run's sources.
        waiting: what was handed out and is not stored.
        dead: its process is gone.
        finished: it writes no more, and everything it wrote was handed out.
        dropped: how many dropped points were told of.
        reported: end of the last event reported for it (see `report`).
    """

    reader: SourceReader
    positions: Positions
    flushed: float = 0.0
    has_points: bool = False
    waiting: deque[Collected] = field(default_factory=deque)
    dead: bool = False
    finished: bool = False
    dropped: int = 0
    last_heartbeat: float = field(default_factory=time.monotonic)
    last_point_us: int = 0
    reported: int = 0
    _done: set[int] = field(default_factory=set)  # id() of those stored that are not first in line

    @classmethod
    def of(cls, reader: SourceReader) -> CollectedSource:
        """A source whose reader was just opened."""
        return cls(reader, replace(reader.stored, metrics=reader.position))

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self.reader.header.run_id

    @property
    def name(self) -> str:
        """Of its directory."""
        return self.reader.directory.name

    @property
    def closed(self) -> bool:
        """Whether its process closed it, or is gone: nothing new comes."""
        return self.dead or bool(self.reader.state & seg.CLOSED)

    @property
    def ended(self) -> bool:
        """Whether its run has ended, or its process left or died: nothing new comes, or little."""
        return self.dead or bool(self.reader.state & (seg.ENDED | seg.CLOSED))

    def hand_out(self, events: list[Event], positions: Positions | None = None) -> Collected:
        """Events to be stored together, behind all that was handed out before."""
        size = sum(len(e.payload) + 200 if isinstance(e, MetricsEvent) else 500 for e in events)
        item = Collected(self, events, positions, size)
        self.waiting.append(item)
        return item

    def note_stored(self, item: Collected) -> None:
        """The events of `item` are stored. Items may be told in any order; what is noted lies behind all that are."""
        self._done.add(id(item))
        last = None
        while self.waiting and id(self.waiting[0]) in self._done:
            first = self.waiting.popleft()
            self._done.discard(id(first))
            last = first.positions or last
        # What is taken away now needs no note: read again after a crash, it would change nothing.
        if last is not None and not (self.finished and not self.waiting):
            self.reader.note_stored(last)

    def report(self, steps: Sequence[tuple[str, Mapping[str, object]]], latest_step: int) -> Collected:
        """A status event of the reader's own, for the source. Its slots are milliseconds, so that they never repeat.

        Args:
            latest_step: time of the latest status known of the run, in microseconds since the epoch.
        """
        ops = []
        first = self.reported
        for kind, data in steps:
            seq = max(self.reported, self.reader.reported, time.time_ns() // 1_000_000)
            # A run's life is told by its times: a clock that was set back must not put an end before the beginning.
            latest_step = min(max(time.time_ns() // 1000, latest_step + 1), TIME_MAX_US)
            ops.append(StatusOp(seq, latest_step, kind, dict(data)))
            self.reported = seq + 1
        self.positions.latest_step = latest_step
        self.reader.note_reported(self.reported, latest_step)
        reporter = agent_source(self.reader.header.source)
        return self.hand_out([StatusEvent(self.run_id, reporter, first, self.reported - first, ops)])
