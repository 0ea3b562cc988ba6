"""Takes over one directory of event files into one run, batch by batch, each value once.

The order of each step matters to a `kill -9`: a batch is written down, goes to the spool, and is written down as done
together with the next one. See `positions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import SeriesClass

from ..client.http import ServiceClient
from ..spool.live_runs import LiveRun
from ..spool.writing.writer import ARRAY_POINTS
from ..tensorboard.events import Event
from ..tensorboard.records import RecordFile
from ..tensorboard.scalars import Column, ScalarReader
from .event_directories import EventDirectory, event_files, size_of
from .event_values import ValueTaker
from .intake import Intake, refused
from .positions import Position, PositionFile
from .purges import Survey, survey

_VISIBLE_SECONDS = 5.0  # after which all of a write to a file of a network filesystem is seen


class EventIntake(Intake):
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
        super().__init__(file, position, live)
        self.directory = directory
        self._values = ValueTaker(live, client, self._reserve)
        self._reader = ScalarReader(position.plugins)
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
            self._expect(stored)
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
        """As of any intake; what the values say of the run's end goes before `ending`."""
        super().close(ending and (self._values.ending or ending))

    def waits_for(self, name: str) -> bool:
        """Whether a file could not be read further, and may be by now."""
        return name in self._stuck

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
        if (why := refused(tag)) is not None:
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

    # --- around it ---

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
