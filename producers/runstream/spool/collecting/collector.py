"""Everything in one spool directory, turned into events: whose turn it is, and what is told once a second.

The agent sends what comes out of here to Kafka; in the embedded mode the consumer takes it directly. Both say afterwards
what is stored, in the order it came, and only then is it removed.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runstream_schemas.priority import be_nice
from runstream_schemas.settings import Settings
from runstream_schemas.wire.payload import WIDE

from .. import segment as seg
from ..node import Written, note_delivered
from ..reading.slices import Slice
from .collected import Collected, CollectedSource
from .deaths import finish, note_death
from .discovery import Discovery
from .leftovers import Leftovers
from .source_events import SourceEvents
from .sources import Sources
from .spool_lock import SpoolLock, spool_id

_SLOW_LOOK = 1.0  # seconds between looks at processes, drops and finished sources
_LATEST_FLUSH = 1.5
_LOOK_SECONDS = 20e-6  # pause a source: keeps looking below 5 % of a core
_ENDED_AT_ONCE = 8
"""Ended sources that are read at the same time: enough for every partition to have work, few enough that run after run is
stored whole, settles and moves to Parquet while the rest of a backlog is still on its way."""
_WIDE_SLICES = 8
MOST_AT_ONCE = 1000
"""Items of a batch: of a backlog of a hundred thousand short runs, all would fit into its bytes, and none into memory."""
_SOURCES_A_SECOND = 1500  # batches a second when many runs log: their number sets the interval
_OVER = seg.CLOSED | seg.ENDED | seg.ENDING_LOST
_TOKENS_EVERY = 60  # seconds between two looks for lock files that nobody needs


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was when it was last looked at everything: see the properties of `Collector`; bytes of all of it."""

    live: int = 0
    backlog: int = 0
    bytes: int = 0


class Collector:
    """Reads a spool directory. One at a time: see `lock`.

    Args:
        settings: flush interval, batch size, heartbeat interval and the spool's directory are read.
        lists_delivered: write down which sources are gone, for readers: what is delivered is not yet stored.
    """

    def __init__(self, settings: Settings, *, lists_delivered: bool = False) -> None:
        self.settings = settings
        self.spool = settings.spool_path
        self.sources = Sources()
        self.seen = Seen()
        self._lists_delivered = lists_delivered
        self._lock = SpoolLock(self.spool)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="spool-tidier", initializer=be_nice)
        self._discovery = Discovery(self.spool, self.sources, self._tidier)
        self._events = SourceEvents(self.sources, settings.home_path / "dead-letters")
        self._leftovers = Leftovers(self.spool, self._tidier)
        self._last_slow_look = 0.0
        self._turn = 0
        self._draining: list[CollectedSource] = []

    # --- one reader a spool ---

    async def lock(self, patience: float = 10.0) -> None:
        """Become the one reader of the spool; the system frees the lock when this process ends.

        Raises:
            SpoolError: another process has been reading it for longer than `patience` seconds.
        """
        await self._lock.acquire(patience)

    def unlock(self) -> None:
        """Let another process read the spool."""
        try:
            self.tidy()
        finally:  # no thread can be had, say: kept, the lock would shut out this process' next reader too
            self._lock.release()

    @property
    def removed(self) -> bool:
        """Whether the directory that was locked is there no longer: somebody deleted the spool with all it held."""
        return self._lock.removed

    @property
    def id(self) -> str:
        """Id of the spool directory."""
        return spool_id(self.spool)

    def tidy(self) -> None:
        """Wait until the segments that were given back are gone, and a part of the directories at least."""
        self._tidier.submit(lambda: None).result()

    # --- for whoever sends or stores ---

    @property
    def interval(self) -> float:
        """Seconds between two batches of one source: longer when many sources log at the same time."""
        recently = time.monotonic() - 2 * _LATEST_FLUSH
        active = sum(1 for source in self.sources.values() if source.flushed > recently)
        return max(self.settings.flush_interval, min(_LATEST_FLUSH, active / _SOURCES_A_SECOND))

    @property
    def pause(self) -> float:
        """Seconds to wait before looking again when there was nothing to do; a look costs a little for every source."""
        if not self.sources:
            return 0.05
        return min(0.25, max(self.interval / 5, len(self.sources) * _LOOK_SECONDS))

    @property
    def live(self) -> int:
        """Sources whose process runs, of runs that have not ended."""
        return sum(
            1
            for s in self.sources.values()
            if not s.dead and not s.finished and not s.reader.state & seg.ENDED
        )

    @property
    def backlog(self) -> int:
        """Sources with something that is not stored, or that will write no more and are still to be taken away."""
        return len(self._discovery.waiting) + sum(
            1
            for s in self.sources.values()
            if s.waiting or (not s.finished and (s.closed or s.reader.has_more()))
        )

    @property
    def busy(self) -> bool:
        """Whether something is left that is not stored."""
        return self.backlog > 0

    def collect(self, max_bytes: int, *, now: bool = False) -> list[Collected]:
        """What is due, up to about `max_bytes` of encoded events and `MOST_AT_ONCE` items.

        Args:
            now: everything is due (a flush, a shutdown).
        """
        clock = time.monotonic()
        self._discovery.look(clock)
        collected: list[Collected] = []
        if clock - self._last_slow_look >= _SLOW_LOOK or now:
            self._last_slow_look = clock
            collected += self._slow_look(clock)
        short: list[tuple[CollectedSource, Slice]] = []
        interval = self.interval
        size = sum(item.size for item in collected)
        sources = list(self.sources.values())
        start = self._turn % len(sources) if sources else 0
        self._draining = [s for s in self._draining if not s.finished and s.reader.has_more()]
        for number in range(len(sources)):
            source = sources[(start + number) % len(sources)]
            if source.finished or not source.reader.has_more():
                continue
            ended = source.ended
            # Of a segment that is full, waiting longer makes no larger batch.
            if (
                not now
                and not ended
                and clock - source.flushed < interval
                and not source.reader.segment_full()
            ):
                continue
            if ended and self._is_short_run(source):
                source.flushed = clock
                if (part := source.reader.read()) is not None:
                    short.append((source, part))
                    size += part.held
                if size >= max_bytes or len(collected) + len(short) >= MOST_AT_ONCE:
                    self._turn = start + number + 1
                    break
                continue
            if ended and source not in self._draining:
                if len(self._draining) >= _ENDED_AT_ONCE:
                    continue
                self._draining.append(source)
            for due in (*self.sources.before(source), source):
                due.flushed = clock
                # What is stored of a wide run costs its series, however many points of each are stored together.
                for _ in range(_WIDE_SLICES if len(due.reader.names) >= WIDE else 1):
                    items = list(self._events.next(due))
                    collected += items
                    size += sum(item.size for item in items)
                    if size >= max_bytes or not due.reader.has_more():
                        break
            if ended and not source.reader.has_more():
                # A small run is read whole: it leaves its place to the next at once.
                self._draining.remove(source)
                # Of one that did not end its run, it is for the look at processes to say what became of it.
                if source.reader.state & _OVER == seg.CLOSED | seg.ENDED:
                    collected += self._look_at(source, clock)
            if size >= max_bytes or len(collected) >= MOST_AT_ONCE:
                self._turn = start + number + 1
                break
        collected += self._events.of_many(short)
        for source, _ in short:
            if not source.reader.has_more():
                collected += self._look_at(source, clock)
        return collected

    def _is_short_run(self, source: CollectedSource) -> bool:
        """Whether a source is all that was recorded of a run, from one process, and small."""
        return (
            source.reader.is_small
            and not source.dead
            and source.reader.state & _OVER == seg.CLOSED | seg.ENDED
            and not self.sources.others(source)
        )

    def stored(self, item: Collected) -> None:
        """The events of `item` are stored (or acknowledged by the broker). Items of a source may be told in any order."""
        item.source.note_stored(item)
        if item.source.finished and not item.source.waiting:
            self._remove(item.source)

    def forget(self) -> None:
        """Nothing that was handed out and not told stored will be: read it again."""
        self.sources.clear()
        self._draining.clear()
        self._discovery.look_again()

    # --- what is looked at once a second ---

    def _slow_look(self, clock: float) -> list[Collected]:
        collected: list[Collected] = []
        alive: dict[str, bool] = {}
        size = 0
        for source in list(self.sources.values()):
            size += source.reader.size
            if source.finished:
                continue
            if not source.dead:
                note_death(source, self.spool, alive)
            if len(collected) < MOST_AT_ONCE:
                collected += self._look_at(source, clock)
            else:
                self._last_slow_look = -_SLOW_LOOK  # the others are due at once, with the next batch
        self._discovery.remove_unbegun()
        self._leftovers.count_spares(clock)
        size += self._leftovers.spare_bytes + len(self._discovery.waiting) * seg.SMALLEST
        self._leftovers.write_usage(size)
        self.seen = Seen(self.live, self.backlog, size)
        if not alive or int(clock) % _TOKENS_EVERY == 0:
            used = {source.reader.header.token for source in self.sources.values()}
            used |= {waiting.token for waiting in self._discovery.waiting.values()}
            self._leftovers.sweep_tokens(clock, used)
        return collected

    def _look_at(self, source: CollectedSource, clock: float) -> list[Collected]:
        collected: list[Collected] = []
        if source.reader.dropped > source.dropped:
            collected += self._events.drops(source)
        if source.closed and not source.reader.has_more():
            collected += finish(source, self.sources, self._events)
            if not source.waiting:
                self._remove(source)
        elif (
            source.reader.header.owner  # another's would contradict the owner's death: of a submitted run, the submitter's
            and not source.dead
            and not source.reader.state & seg.ENDED
            and clock - source.last_heartbeat >= self.settings.heartbeat_interval
        ):
            source.last_heartbeat = clock
            collected.append(source.report([("heartbeat", {})], self.sources.latest_step(source)))
        return collected

    def _remove(self, source: CollectedSource) -> None:
        if self._lists_delivered:
            done = source.positions
            note_delivered(
                self.spool, Written(source.name, source.run_id, done.metrics, done.tags, done.status)
            )
        known = self.sources.remove(source)
        if source.reader.remove(keep=known and self._leftovers.wants_spare):
            self._leftovers.add_spare()
        else:
            self._leftovers.delete_gone()
