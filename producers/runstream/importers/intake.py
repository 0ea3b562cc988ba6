"""What every intake has in common: one run that is written to batch by batch, each value once.

A batch is written down, goes to the spool, and is written down as done together with the next one. See `positions`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from runstream_schemas.limits import MAX_NAME_BYTES
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings

from ..exceptions import ServiceException
from ..spool.live_runs import LiveRun
from ..spool.writing.room import spool_room
from .positions import Position, PositionFile

_ROOM_BYTES = 64 << 20  # more than a batch takes in the spool
_ROOM_SECONDS = 300.0


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


class Intake:
    """Writes one run from what another tool has recorded.

    Attributes:
        position: how far it is.
        done: what it has taken over.
    """

    def __init__(self, file: PositionFile, position: Position, live: LiveRun) -> None:
        self.position, self.done = position, Progress()
        self._file, self._live = file, live
        self._skip: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()  # of the batch that is pending

    def close(self, ending: str | None) -> None:
        """Write down that all is done, and give the run's writer back.

        Args:
            ending: `complete`, `fail` or `cancel`, or None: the run stays as it is.
        """
        if self.position.open and ending:
            when = max(self.position.latest_time, self.position.status_time + 1e-5)
            self._live.writer.status(ending, when=when)
            self.position.status_time, self.position.open = when, False
        self._live.writer.close()
        self._commit()

    def release(self) -> None:
        """Let another process read the directory."""
        self._file.release()

    # --- one batch ---

    def _expect(self, stored: Mapping[str, int]) -> None:
        """Pass over, in what is taken from now on, the points of the pending batch that the service has already.

        Args:
            stored: points of each series that the service has, by `class/name`.
        """
        counts = self.position.counts
        self._skip = Counter({key: max(0, n - counts.get(key, 0)) for key, n in stored.items()})

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

    def _leave_out(self, why: str, n: int) -> None:
        if n:
            self.done.left_out[why] += n
            self.position.left_out[why] = self.position.left_out.get(why, 0) + n

    def _wait_for_room(self) -> None:
        wait_for_room(self._live.settings)

    def _refuse_drops(self) -> None:
        refuse_drops(self._live)


def wait_for_room(settings: Settings) -> None:
    """A spool that is full would drop points: wait until they are stored.

    Raises:
        ServiceException: nobody takes them.
    """
    deadline = time.monotonic() + _ROOM_SECONDS
    while (room := spool_room(settings)) < min(_ROOM_BYTES, settings.spool_quota // 2):
        if time.monotonic() > deadline:
            raise ServiceException(
                f"the spool {settings.spool_path} has room for {room} bytes only, and nobody takes what lies there; "
                "see `runstream doctor`, then start the import again: it resumes where it stopped",
                503,
            )
        time.sleep(0.05)


def refuse_drops(live: LiveRun) -> None:
    """End an import whose points the spool does not take.

    Raises:
        ServiceException: it has dropped some.
    """
    if live.writer.dropped:
        raise ServiceException(
            f"the spool {live.settings.spool_path} cannot be written; make room, then start the import again: "
            "it resumes where it stopped",
            507,
        )


def refused(tag: str) -> str | None:
    """Why a tag or key cannot name a series."""
    if not tag:
        return "the tag is empty"
    if len(tag.encode()) > MAX_NAME_BYTES:
        return f"a tag is longer than {MAX_NAME_BYTES} bytes"
    return None
