"""Takes over one directory of event files into one run, batch by batch, each value once.

The order of each step matters to a `kill -9`: a batch is written down, goes to the spool, and is written down as done
together with the next one. See `positions`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runstream_schemas.limits import MAX_NAME_BYTES, TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import SeriesClass

from ..client.http import ServiceClient
from ..exceptions import ServiceException
from ..spool.live_runs import LiveRun
from ..spool.room import spool_room
from ..spool.writer import ARRAY_POINTS
from ..tensorboard.events import Event
from ..tensorboard.records import RecordFile
from ..tensorboard.scalars import Column, ScalarReader
from .event_directories import EventDirectory, event_files, size_of
from .event_values import ValueTaker
from .positions import Position, PositionFile
from .purges import Survey, survey

_ROOM_BYTES = 64 << 20  # more than a batch takes in the spool
_ROOM_SECONDS = 300.0
_VISIBLE_SECONDS = 5.0  # after which all of a write to a file of a network filesystem is seen


@dataclass(slots=True)
class Progress:
    """What was taken over of a directory by this process.

    Attributes:
        points: values that went to the spool, by the plugin that shows them.
        left_out: reason to number of values.
        notes: what a reader of the report should know.
    """

    points: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


class EventIntake:
    """Takes over one directory.

    Attributes:
        directory: what it reads.
        position: how far it is.
        done: what it has taken over.
    """

    def __init__(
        self,
        directory: EventDirectory,
        file: PositionFile,
        position: Position,
        live: LiveRun,
        client: ServiceClient,
    ) -> None:
        self.directory, self.position, self.done = directory, position, Progress()
        self._file, self._live = file, live
        self._values = ValueTaker(live, client, self._reserve)
        self._reader = ScalarReader(position.plugins)
        self._skip: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()  # of the batch that is pending
        self._stuck: dict[str, tuple[int, float]] = {}  # file to where it cannot be read, and since when

    @property
    def path(self) -> Path:
        """The directory's path."""
        return self.directory.path

    def resume(self, stored: Mapping[str, int]) -> None:
        """Finish a batch that was begun and perhaps not finished.

        Args:
            stored: points of each series that the service has, by `class/name`.
        """
        if self.position.pending:
            name, start, end = self.position.pending
            counts = self.position.counts
            self._skip = Counter({key: max(0, n - counts.get(key, 0)) for key, n in stored.items()})
            file = RecordFile(self.path / name, start)
            while records := file.read(end):
                self._put(records)
            self._skip.clear()
            self._commit()

    def take(self, *, at_once: bool = True, on_bytes: Callable[[int], None] = lambda n: None) -> bool:
        """Take over what the files hold now and did not before.

        Args:
            at_once: pass over damage now; else only when it has been there for some seconds: not all that was written to a
                file may be visible yet.
            on_bytes: told how many bytes were taken.

        Returns:
            Whether there was anything.

        Raises:
            OSError: the directory or a file cannot be read.
            ServiceException: the spool has no room for long.
        """
        position = self.position
        names = event_files(self.path)
        past_damage = self._has_stayed if not at_once else lambda name, at: True
        surveyed = survey(self.path, position.read_to(), names, position.file_version, past_damage)
        if not surveyed.parts:
            self._note_stuck(names)
            return False
        self._open(surveyed.first_time or 0.0)
        self._note_late_restarts(surveyed)
        for place, part in enumerate(surveyed.parts):
            at = part.start
            for cut in surveyed.cuts(place):
                void_from = surveyed.void_from(place, cut)
                while at < cut:
                    behind = self._take_some(part.name, at, cut, void_from)
                    on_bytes(behind - at)
                    at = behind
        position.file_version = surveyed.file_version
        self._note_stuck(names)
        return True

    def close(self, ending: str | None) -> None:
        """Write down that all is done, and give the run's writer and the lock back.

        Args:
            ending: `complete`, or None: the run stays Running.
        """
        if self.position.open and ending:
            when = max(self.position.latest_time, self.position.status_time + 1e-5)
            self._live.writer.status(self._values.ending or ending, when=when)
            self.position.status_time, self.position.open = when, False
        self._live.writer.close()
        self._commit()

    def waits_for(self, name: str) -> bool:
        """Whether a file could not be read further, and may be by now."""
        return name in self._stuck

    def release(self) -> None:
        """Let another process read the directory."""
        self._file.release()

    # --- one batch ---

    def _take_some(self, name: str, start: int, end: int, void_from: dict[str, int]) -> int:
        """Take a batch that begins at `start` and ends before `end`; where it ended."""
        file = RecordFile(self.path / name, start)
        records = file.read(end)
        behind = file.position if records else end
        self._commit_to((name, start, behind), void_from)
        self._note_damage(file)
        self._wait_for_room()
        self._put(records)
        return behind

    def _commit_to(self, pending: tuple[str, int, int] | tuple[()], void_from: dict[str, int]) -> None:
        """Write down the last batch as done, and this one as begun."""
        position = self.position
        if position.pending:
            name, _, end = position.pending
            position.files[name] = end
        for key, n in self._counts.items():
            position.counts[key] = position.counts.get(key, 0) + n
        self._counts.clear()
        position.pending, position.void_from = pending, void_from
        self._file.write(position)

    def _commit(self) -> None:
        self._commit_to((), {})

    def _put(self, records: list[bytes]) -> None:
        columns, events, bad = self._reader.read(records)
        self._leave_out("records that are no events", bad)
        for (tag, _), column in columns.items():
            self._put_column(tag, column)
        for event in events:
            self._put_event(event)

    def _void(self, tag: str) -> int | None:
        """The first step of a tag that a restart has made void."""
        steps = self.position.void_from
        marks = [steps[key] for key in ("", tag) if key in steps]
        return min(marks) if marks else None

    def _put_column(self, tag: str, column: Column) -> None:
        steps, times, values = column.arrays()
        times = np.nan_to_num(times, nan=0.0, posinf=TIME_MAX_US / 1e6, neginf=TIME_MIN_US / 1e6)
        void = self._void(tag)
        if void is not None:
            kept = steps < void
            self._leave_out("scalars of steps that a restart has made void", len(steps) - int(kept.sum()))
            steps, times, values = steps[kept], times[kept], values[kept]
        if not len(steps):
            return
        self.position.latest_time = max(self.position.latest_time, float(times.max()))
        self.position.latest_step = max(self.position.latest_step, int(steps.max()))
        if (why := _refused(tag)) is not None:
            self._leave_out(f"scalars: {why}", len(steps))
            return
        first = self._reserve(SeriesClass.METRIC, tag, len(steps))
        for start in range(first, len(steps), ARRAY_POINTS):
            cut = slice(start, start + ARRAY_POINTS)
            self._live.writer.log_array(tag, values[cut], steps[cut], times[cut])
            self._refuse_drops()
        self.done.points["scalars"] += len(steps) - first

    def _put_event(self, event: Event) -> None:
        if event.has_summary:
            self.position.latest_time = max(self.position.latest_time, event.wall_time)
        if event.damage:
            self._leave_out(f"values that cannot be read ({event.damage})", 1)
        if event.graph:
            self._leave_out("graphs", 1)
        for value in event.values:
            void = self._void(value.tag)
            if void is not None and event.step >= void and not self._values.is_setting(value):
                self._leave_out("values of steps that a restart has made void", 1)
                continue
            taken = self._values.take(event, value, self.position.plugins.get(value.tag, value.plugin))
            self._refuse_drops()
            if taken.why:
                self._leave_out(taken.why, 1)
            else:
                self.done.points[taken.plugin] += taken.points
                self.position.latest_step = max(self.position.latest_step, event.step)

    def _reserve(self, cls: SeriesClass, name: str, n: int) -> int:
        """Count `n` points of a series, and tell how many of them are stored already."""
        key = f"{int(cls)}/{name}"
        self._counts[key] += n
        skipped = min(self._skip[key], n)
        self._skip[key] -= skipped
        return skipped

    # --- around it ---

    def _open(self, first_time: float) -> None:
        """Start the run again, if it had ended."""
        if not self.position.open:
            when = max(first_time, self.position.status_time + 1e-5)
            self._live.writer.status("start", when=when)
            self.position.status_time, self.position.open = when, True

    def _has_stayed(self, name: str, at: int) -> bool:
        where, since = self._stuck.get(name, (-1, 0.0))
        return where == at and time.monotonic() - since > _VISIBLE_SECONDS

    def _note_stuck(self, names: list[str]) -> None:
        """Note which files hold bytes that cannot be read, and since when."""
        positions = self.position.read_to()
        for name in names:
            at = positions.get(name, 0)
            if size_of(self.path / name, False) <= at:
                self._stuck.pop(name, None)
            elif self._stuck.get(name, (-1, 0.0))[0] != at:
                self._stuck[name] = (at, time.monotonic())

    def _note_late_restarts(self, surveyed: Survey) -> None:
        for purge in surveyed.purges:
            if self.position.latest_step >= purge.step:
                self.done.notes.append(
                    f"a restart at step {purge.step} made void what had been taken over before; both are kept"
                )
                return

    def _note_damage(self, file: RecordFile) -> None:
        for damage in file.damage:
            self.done.notes.append(
                f"{file.path.name}: {damage.size} bytes from byte {damage.start} on are passed over: {damage.reason}"
            )

    def _leave_out(self, why: str, n: int) -> None:
        if n:
            self.done.left_out[why] += n
            self.position.left_out[why] = self.position.left_out.get(why, 0) + n

    def _wait_for_room(self) -> None:
        """A spool that is full would drop points: wait until they are stored."""
        settings = self._live.settings
        deadline = time.monotonic() + _ROOM_SECONDS
        while (room := spool_room(settings)) < min(_ROOM_BYTES, settings.spool_quota // 2):
            if time.monotonic() > deadline:
                raise ServiceException(
                    f"the spool {settings.spool_path} has room for {room} bytes only, and nobody takes what lies there; "
                    "see `runstream doctor`, then start the import again: it resumes where it stopped",
                    503,
                )
            time.sleep(0.05)

    def _refuse_drops(self) -> None:
        if self._live.writer.dropped:
            raise ServiceException(
                f"the spool {self._live.settings.spool_path} cannot be written; make room, then start the import again: "
                "it resumes where it stopped",
                507,
            )


def _refused(tag: str) -> str | None:
    """Why a tag cannot name a series."""
    if not tag:
        return "the tag is empty"
    if len(tag.encode()) > MAX_NAME_BYTES:
        return f"a tag is longer than {MAX_NAME_BYTES} bytes"
    return None
