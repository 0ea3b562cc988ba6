"""Everything in one spool directory, turned into events: which sources there are, whose turn it is, who died.

The agent sends what comes out of here to Kafka; in the embedded mode the consumer takes it directly. Both say afterwards
what is stored, in the order it came, and only then is it removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import msgpack

from runstream_schemas.errors import SpoolError
from runstream_schemas.events import Event, MetricsEvent, StatusEvent, StatusOp, summarize
from runstream_schemas.limits import TIME_MAX_US
from runstream_schemas.ownership import make_private
from runstream_schemas.payload import encode_points
from runstream_schemas.points import build_points
from runstream_schemas.settings import Settings

from . import segment as seg
from .encoder import Encoded, Progress, agent_source, encode_slice
from .node import Written, note_delivered
from .reader import SourceReader

logger = logging.getLogger("runstream.collector")

ENDING_KINDS = frozenset({"complete", "fail", "cancel"})
_SLOW_LOOK = 1.0  # seconds between looks at processes, drops and finished sources
_LATEST_FLUSH = 1.5
_LOOK_SECONDS = 20e-6  # pause a source: keeps looking below 5 % of a core
_ENDED_AT_ONCE = 8
"""Ended sources that are read at the same time: enough for every partition to have work, few enough that run after run is
stored whole, settles and moves to Parquet while the rest of a backlog is still on its way."""
MOST_AT_ONCE = 1000
"""Items of a batch: of a backlog of a hundred thousand short runs, all would fit into its bytes, and none into memory."""
_MOST_SPARES = 1024
"""Directories of closed sources that are kept for new ones: 32 MiB."""
_SPARE_SECONDS = 300.0  # they are kept
_TOKEN_SECONDS = 60.0
"""A lock file nobody holds and no source names is left alone so long: older runstreams make theirs before they lock it."""
_LIST_AGAIN = (
    0.05  # seconds: an entry made so soon after the last one may leave the directory's time as it is
)
_SOURCES_A_SECOND = 1500  # batches a second when many runs log: their number sets the interval


@dataclass(slots=True)
class Collected:
    """Events of one source that are stored together, and the positions to note then."""

    source: CollectedSource
    events: list[Event]
    points: int
    size: int
    end: int
    tags: int
    status: int
    latest: int = 0
    latest_step: int = 0


@dataclass(slots=True, eq=False)
class CollectedSource:
    """One source as the collector knows it."""

    reader: SourceReader
    progress: Progress
    flushed: float = 0.0
    counted: bool = (
        False  # points of it were handed out: whoever stores them knows its place among the run's sources
    )
    waiting: deque[Collected] = field(default_factory=deque)  # handed out and not stored
    done: set[int] = field(default_factory=set)  # id() of the stored ones that are not first in line
    dead: bool = False
    finished: bool = False
    buried: bool = False
    dropped: int = 0
    last_heartbeat: float = 0.0
    spoken: int = 0  # end of the last event under `agent_source`
    last_time_us: int = 0

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self.reader.header.run_id

    @property
    def ended(self) -> bool:
        """Whether its run has ended, or its process left or died: nothing new comes, or little."""
        return self.dead or bool(self.reader.state & (seg.ENDED | seg.CLOSED))


class Collector:
    """Reads a spool directory. One at a time: the directory is locked by whoever runs it (see `home.spool_lock`).

    Args:
        settings: flush interval, batch size, heartbeat interval and the spool's directory are read.
        lists_delivered: write down which sources are gone, for readers: what is delivered is not yet stored.
    """

    def __init__(self, settings: Settings, *, lists_delivered: bool = False) -> None:
        self.settings = settings
        self._lists_delivered = lists_delivered
        self.spool = settings.spool_path
        self.sources: dict[str, CollectedSource] = {}
        self._by_run: dict[str, list[CollectedSource]] = {}
        self._beginning: dict[
            str, deque[CollectedSource]
        ] = {}  # by run, in order, those that may have handed out no points
        self.points = 0
        self._listed_mtime = -1
        self._list_again = 0.0
        self._unreadable: set[str] = set()
        # Directories without a segment yet, and the processes that may be making one; None: not looked for yet.
        self._unbegun: dict[str, list[str] | None] = {}
        self._spare_since: dict[str, float] = {}
        self._token_since: dict[str, float] = {}
        self._last_slow_look = 0.0
        self._started = time.monotonic()
        self._turn = 0
        self._draining: list[CollectedSource] = []
        self._lock: int | None = None
        self._spares = 0
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="spool-tidier")

    # --- one reader a spool ---

    async def lock(self, patience: float = 10.0) -> None:
        """Become the one reader of the spool; the system frees the lock when this process ends.

        Raises:
            SpoolError: another process has been reading it for longer than `patience` seconds.
        """
        make_private(self.spool)
        descriptor = os.open(self.spool / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                    os.close(descriptor)
                    raise SpoolError(
                        f"the spool {self.spool} is read by process {owner} already, which delivers what lies there"
                    ) from None
                await asyncio.sleep(0.05)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._lock = descriptor

    @property
    def removed(self) -> bool:
        """Whether the directory that was locked is there no longer: somebody deleted the spool with all it held."""
        if self._lock is None:
            return False
        try:
            there, held = os.stat(self.spool / "agent.lock"), os.fstat(self._lock)
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def unlock(self) -> None:
        """Let another process read the spool."""
        self.tidy()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def tidy(self) -> None:
        """Wait until the segments that were given back are gone."""
        self._tidier.submit(lambda: None).result()

    @property
    def id(self) -> str:
        """Id of the spool directory: a random one, made on first use and kept in it."""
        path = self.spool / "id"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            path.write_text(os.urandom(8).hex())
            return path.read_text().strip()

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
        return sum(
            1
            for s in self.sources.values()
            if s.waiting
            or (not s.finished and (s.dead or s.reader.state & seg.CLOSED or s.reader.has_more()))
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
        self._find_sources(clock)
        collected: list[Collected] = []
        if clock - self._last_slow_look >= _SLOW_LOOK or now:
            self._last_slow_look = clock
            collected += self._slow_look(clock)
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
            if not now and not ended and clock - source.flushed < interval and not self._full(source):
                continue
            if ended and source not in self._draining:
                if len(self._draining) >= _ENDED_AT_ONCE:
                    continue
                self._draining.append(source)
            for one in (*self._earlier(source), source):
                one.flushed = clock
                for item in self._collect_source(one):
                    collected.append(item)
                    size += item.size
            if ended and not source.reader.has_more():
                self._draining.remove(
                    source
                )  # a small run is read whole: it leaves its place to the next at once
            if size >= max_bytes or len(collected) >= MOST_AT_ONCE:
                self._turn = start + number + 1
                break
        return collected

    def stored(self, item: Collected) -> None:
        """The events of `item` are stored (or acknowledged by the broker). Items of a source may be told in any order."""
        source = item.source
        source.done.add(id(item))
        last = None
        while source.waiting and id(source.waiting[0]) in source.done:
            first = source.waiting.popleft()
            source.done.discard(id(first))
            if first.end >= 0:
                last = first
        if last is not None:
            source.reader.note_stored(last.end, last.tags, last.status, last.latest, last.latest_step)
        if source.buried and not source.waiting:
            self._remove(source)

    def forget(self) -> None:
        """Nothing that was handed out and not told stored will be: read it again."""
        self.sources.clear()
        self._by_run.clear()
        self._beginning.clear()
        self._draining.clear()
        self._listed_mtime = -1

    # --- sources ---

    def _find_sources(self, clock: float) -> None:
        names = [*self._listed(clock), *self._unbegun]
        new = [name for name in names if name not in self.sources and name not in self._unreadable]
        found = {name: source for name in new if (source := self._open(name)) is not None}
        # Whoever logged first is seen first, for that is the order of a run's points: a run that was started again before
        # anybody had looked goes on behind what it had.
        for name, source in sorted(found.items(), key=lambda one: one[1].reader.header.created):
            self._add(name, source)

    def _listed(self, clock: float) -> list[str]:
        """Directories of sources, when some may have come since the last look."""
        try:
            mtime = os.stat(self.spool).st_mtime_ns
        except FileNotFoundError:
            return []
        if mtime != self._listed_mtime:
            self._listed_mtime, self._list_again = mtime, clock + _LIST_AGAIN
        elif self._list_again and clock >= self._list_again:
            self._list_again = 0.0
        else:
            return []
        return [name for name in os.listdir(self.spool) if len(name) == 32]

    def _add(self, name: str, source: CollectedSource) -> None:
        self.sources[name] = source
        self._by_run.setdefault(source.run_id, []).append(source)
        self._beginning.setdefault(source.run_id, deque()).append(source)

    def _earlier(self, source: CollectedSource) -> list[CollectedSource]:
        """Sources of the run that logged before this one, wait, and have handed out no points, as this one has not."""
        line = self._beginning.get(source.run_id)
        if source.counted or line is None:
            return []
        while line and (line[0].counted or line[0].finished):
            line.popleft()
        before = takewhile(lambda other: other is not source, line)
        return [other for other in before if not other.counted and other.reader.has_more()]

    def _open(self, name: str) -> CollectedSource | None:
        path = self.spool / name
        try:
            reader = SourceReader(path, self._tidier)
        except FileNotFoundError:  # the writer has made the directory and not yet the segment
            self._unbegun.setdefault(name, None)
            return None
        except (SpoolError, OSError) as error:
            logger.error("runstream: %s cannot be read and is left where it is: %s", path, error)
            self._unreadable.add(name)
            reader = None
        self._unbegun.pop(name, None)
        if reader is None:
            return None
        return CollectedSource(reader, Progress.of(reader), last_heartbeat=time.monotonic())

    def _remove_unbegun(self) -> None:
        """Directories whose writer died before it made a segment. However long it takes, it lives until its lock is free."""
        for name, makers in list(self._unbegun.items()):
            if makers is None:
                makers = self._tokens()
            self._unbegun[name] = makers = [token for token in makers if seg.process_alive(self.spool, token)]
            if not makers:
                if (source := self._open(name)) is not None:  # its last deed was the segment
                    self._add(name, source)
                if name in self._unbegun:
                    del self._unbegun[name]
                    shutil.rmtree(self.spool / name, ignore_errors=True)

    def _tokens(self) -> list[str]:
        try:
            return os.listdir(self.spool / "procs")
        except FileNotFoundError:
            return []

    def _full(self, source: CollectedSource) -> bool:
        """Whether the source's current segment is written to its end: waiting longer makes no larger batch."""
        return source.reader.segment_full()

    def _collect_source(self, source: CollectedSource) -> Iterator[Collected]:
        """One slice of a source; before an ending status, everything the run has written elsewhere on this node."""
        part = source.reader.read(dead=source.dead)
        if part is None:
            return
        parts = encode_slice(source.reader, part, source.progress)
        for encoded in parts:
            yield from self._collect_encoded(source, encoded)

    def _collect_encoded(self, source: CollectedSource, encoded: Encoded) -> Iterator[Collected]:
        events: list[Event] = []
        points = encoded.points
        if encoded.metrics is not None:
            events.append(encoded.metrics)
            source.counted = True
            source.dropped = encoded.metrics.dropped
            times = encoded.metrics.summary.last_time
            if len(times):
                source.last_time_us = int(times.max())
        if encoded.tags_event is not None:
            events.append(encoded.tags_event)
        if encoded.status_event is not None:
            endings = [op for op in encoded.status_event.ops if op.kind in ENDING_KINDS]
            if endings:
                if events and len(self._of_run(source.run_id)) > 1:
                    # First what this source logged: the others may have begun later. Noted with the end, or read again.
                    yield self._hand_out(source, events, points, -1, 0, 0)
                    self.points += points
                    events, points = [], 0
                yield from self._collect_others(source)
                for op in endings:
                    op.data.update(self._ends(source.run_id))
            events.append(encoded.status_event)
        self.points += points
        if encoded.left_out is not None:
            yield self._bury(source, encoded)
        yield self._hand_out(source, events, points, encoded.end, encoded.tags, encoded.status)

    def _bury(self, source: CollectedSource, encoded: Encoded) -> Collected:
        """Keep a record that cannot be sent, and say so on its run."""
        assert encoded.left_out is not None
        slot, record, reason = encoded.left_out
        name = f"spool-{source.reader.header.source.hex()}-{slot}.msgpack"
        letter = {
            "reason": reason,
            "topic": "spool",
            "run": source.run_id,
            "end": encoded.end,
            "value": record,
        }
        path = self.settings.home_path / "dead-letters" / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(msgpack.packb(letter))
            kept = f"it is kept in {path}"
        except OSError as error:
            kept = f"it could not be kept ({error})"
        logger.error("runstream: run %s: a record cannot be sent: %s; %s", source.run_id, reason, kept)
        message = f"A record of {len(record):,} bytes cannot be sent and is left out: {reason:.300}; {kept}."
        return self._speak(source, [("warning", {"message": message})])

    def _collect_others(self, source: CollectedSource) -> Iterator[Collected]:
        """What the other sources of a run have, before its end is told."""
        for other in self._of_run(source.run_id):
            while (
                other is not source
                and other.reader.has_more()
                and (items := list(self._collect_source(other)))
            ):
                yield from items

    def _hand_out(
        self, source: CollectedSource, events: list[Event], points: int, end: int, tags: int, status: int
    ) -> Collected:
        size = sum(len(e.payload) + 200 if isinstance(e, MetricsEvent) else 500 for e in events)
        done = source.progress
        item = Collected(source, events, points, size, end, tags, status, done.latest, done.latest_step)
        source.waiting.append(item)
        return item

    def _of_run(self, run_id: str) -> list[CollectedSource]:
        return [source for source in self._by_run.get(run_id, ()) if not source.finished]

    def _ends(self, run_id: str) -> dict[str, object]:
        """Until where each source has to be stored before the run is settled; by topic: they overtake one another."""
        return _ends_of(self._by_run.get(run_id, ()))

    # --- what is looked at once a second ---

    def _slow_look(self, clock: float) -> list[Collected]:
        found: list[Collected] = []
        alive: dict[str, bool] = {}
        total = 0
        for source in list(self.sources.values()):
            total += source.reader.size
            if source.finished:
                continue
            header = source.reader.header
            if not source.dead:
                if header.token not in alive:
                    alive[header.token] = seg.process_alive(self.spool, header.token)
                source.dead = not alive[header.token]
                if source.dead:
                    source.reader.look_again()
            if len(found) >= MOST_AT_ONCE:
                self._last_slow_look = -_SLOW_LOOK  # the others are due at once, with the next batch
                continue
            if source.reader.dropped > source.dropped:
                found += self._tell_drops(source)
            if (source.dead or source.reader.state & seg.CLOSED) and not source.reader.has_more():
                found += self._finish(source)
            elif (
                header.owner  # another's would contradict the owner's death: of a submitted run, whoever submitted it
                and not source.dead
                and not source.reader.state & seg.ENDED
                and clock - source.last_heartbeat >= self.settings.heartbeat_interval
            ):
                source.last_heartbeat = clock
                found.append(self._speak(source, [("heartbeat", {})]))
        self._remove_unbegun()
        self._count_spares(clock)
        _write_usage(self.spool, total + self._spares * seg.SMALLEST)
        if len(alive) == 0 or int(clock) % 60 == 0:
            self._sweep_tokens(clock)
        return found

    def _finish(self, source: CollectedSource) -> Iterator[Collected]:
        """A source that will write no more: read what is left, say so if its process died, remove it when all is stored."""
        while items := list(self._collect_source(source)):
            yield from items
        header = source.reader.header
        state = source.reader.state
        if state & seg.ENDING_LOST:
            yield from self._collect_others(source)
            kind = "fail" if state & seg.FAILED else "cancel" if state & seg.CANCELED else "complete"
            data: dict[str, object] = dict(self._ends(source.run_id))
            if kind == "fail":
                message = "The run failed; what it said of the reason was lost: the spool was full."
                data["error"] = {"code": "Unknown", "message": message}
            yield self._speak(source, [(kind, data)])
        elif source.dead and header.owner and not state & seg.ENDED:
            logger.warning(
                "runstream: run %s: process %d is gone without ending the run", header.run_id, header.pid
            )
            yield from self._collect_others(source)
            last = datetime.fromtimestamp((source.last_time_us / 1e6) or header.created, UTC).isoformat(
                timespec="milliseconds"
            )
            host = socket.gethostname()
            message = (
                f"The process of this run (pid {header.pid} on {host}) ended without completing it: killed, crashed, or the "
                f"machine went down. Its last record is of {last}. Everything it logged is kept."
            )
            body = {
                "code": "ProcessDied", "message": message, "pid": header.pid, "host": host, "last_record": last,
                "exit": "unknown: only its parent can tell",
            }  # fmt: skip
            steps: list[tuple[str, dict[str, object]]] = [
                ("fail", {"error": body, **self._ends(source.run_id)})
            ]
            if self._goes_on(source):
                steps = [("warning", {"message": message}), ("source_done", _ends_of([source]))]
            yield self._speak(source, steps)
        elif not state & seg.ENDED and (source.progress.metrics or source.progress.tags):
            # It is gone from the spool when the run ends, so the run's ending cannot speak for it.
            yield self._speak(source, [("source_done", _ends_of([source]))])
        source.finished = True
        source.buried = True
        if not source.waiting:
            self._remove(source)

    def _goes_on(self, source: CollectedSource) -> bool:
        """Whether another process that has started the run lives: a sweep gone on with, a rank of several."""
        return any(
            other.reader.header.owner and not other.dead and not other.reader.state & (seg.ENDED | seg.CLOSED)
            for other in self._of_run(source.run_id)
            if other is not source
        )

    def _speak(self, source: CollectedSource, steps: list[tuple[str, dict[str, object]]]) -> Collected:
        """A status event of our own, not the source's. Its slots are milliseconds, so that they never repeat."""
        ops = []
        first = source.spoken
        for kind, data in steps:
            seq = max(source.spoken, source.reader.spoken, time.time_ns() // 1_000_000)
            # A run's life is told by its times: a clock that was set back must not put an end before the beginning.
            known = max(one.progress.latest_step for one in (source, *self._of_run(source.run_id)))
            when = min(max(time.time_ns() // 1000, known + 1), TIME_MAX_US)
            source.progress.latest_step = when
            ops.append(StatusOp(seq, when, kind, dict(data)))
            source.spoken = seq + 1
        source.reader.note_spoken(source.spoken, source.progress.latest_step)
        event = StatusEvent(
            source.run_id, agent_source(source.reader.header.source), first, source.spoken - first, ops
        )
        return self._hand_out(source, [event], 0, -1, 0, 0)

    def _tell_drops(self, source: CollectedSource) -> Iterator[Collected]:
        """Drops are told with the next points; when there are none for a second, with an event that carries only them."""
        reader = source.reader
        if reader.has_more():
            return
        empty = build_points([])
        source.dropped = reader.dropped
        event = MetricsEvent(
            source.run_id, reader.header.source, source.progress.metrics, 0, 0, [], summarize(empty), encode_points(empty),
            reader.dropped,
        )  # fmt: skip
        yield self._hand_out(source, [event], 0, -1, 0, 0)
        why = reader.drop_reason or "records were damaged"
        yield self._speak(
            source, [("warning", {"message": f"{reader.dropped} points could not be kept: {why}"})]
        )

    def _remove(self, source: CollectedSource) -> None:
        if self._lists_delivered:
            done = source.progress
            name = source.reader.directory.name
            note_delivered(self.spool, Written(name, source.run_id, done.metrics, done.tags, done.status))
        known = self.sources.get(source.reader.directory.name) is source  # else it was forgotten meanwhile
        if known:
            del self.sources[source.reader.directory.name]
            family = self._by_run[source.run_id]
            family.remove(source)
            if not family:
                del self._by_run[source.run_id]
                self._beginning.pop(source.run_id, None)
        if source.reader.remove(keep=known and self._spares < _MOST_SPARES):
            self._spares += 1

    def _count_spares(self, clock: float) -> None:
        """Count the directories that are kept, and delete those that nobody took for a while."""
        before, self._spare_since = self._spare_since, {}
        with suppress(FileNotFoundError), os.scandir(self.spool / seg.SPARE) as entries:
            for entry in entries:
                path = Path(entry.path)
                since = before.get(entry.name, clock)
                if not path.suffix and clock - since < _SPARE_SECONDS:
                    self._spare_since[entry.name] = since
                    continue
                with suppress(FileNotFoundError):  # a writer was quicker
                    if not path.suffix:
                        path = path.rename(path.with_suffix(seg.GONE))
                    self._tidier.submit(shutil.rmtree, path, ignore_errors=True)
        self._spares = len(self._spare_since)

    def _sweep_tokens(self, clock: float) -> None:
        used = {source.reader.header.token for source in self.sources.values()}
        before, self._token_since = self._token_since, {}
        for token in self._tokens():
            if token in used or seg.process_alive(self.spool, token):
                continue
            since = self._token_since[token] = before.get(token, clock)
            if clock - since >= _TOKEN_SECONDS:
                with suppress(FileNotFoundError):
                    os.unlink(self.spool / "procs" / token)


def _ends_of(sources: Sequence[CollectedSource]) -> dict[str, object]:
    return {
        "ends": {source.reader.header.source.hex(): source.progress.metrics for source in sources},
        "tag_ends": {
            source.reader.header.source.hex(): source.progress.tags
            for source in sources
            if source.progress.tags
        },
    }


def _write_usage(spool: Path, total: int) -> None:
    """Tell writers how full the spool is; they add what they reserve themselves."""
    temporary = spool / ".usage"
    try:
        temporary.write_text(str(total))
        os.replace(temporary, spool / "usage")
    except OSError:  # a full disk: the old figure stays
        return
