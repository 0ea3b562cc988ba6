"""Takes over event files for as long as they grow: looks at their sizes, which works on every filesystem."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .event_directories import event_files, find, on_network, size_of
from .event_intake import EventIntake
from .polling import poll
from .runs import RunReport
from .tensorboard import TOGETHER, TensorBoardImport, report_of, take_over

_RETRY_SECONDS = 5.0
_QUIET_SECONDS = 600.0  # after which a run is ended; it is resumed when its files grow


def follow(
    importing: TensorBoardImport, stop: threading.Event, on_open: Callable[[RunReport], None]
) -> list[RunReport]:
    """Take over what the files hold, and what is written to them, until `stop` is set.

    Args:
        importing: from where, and where to.
        stop: ends it.
        on_open: told of each directory that is followed, or why it is not.

    Returns:
        What became of each directory.
    """
    follower = _Follower(importing, stop, on_open)
    with closing(follower):
        follower.run()
    return follower.reports()


class _Follower:
    """What is followed, and the loop."""

    def __init__(
        self, importing: TensorBoardImport, stop: threading.Event, on_open: Callable[[RunReport], None]
    ) -> None:
        self._importing, self._stop, self._on_open = importing, stop, on_open
        self._intakes: dict[Path, tuple[EventIntake, str]] = {}
        self._sizes: dict[Path, dict[str, int]] = {}
        self._grown: dict[Path, float] = {}
        self._network: dict[Path, bool] = {}
        self._refused: dict[Path, float] = {}
        self._said: set[tuple[Path, str]] = set()

    def run(self) -> None:
        """Follow until the end."""
        poll(self._stop, self._look, self._take_all)

    def close(self) -> None:
        """End the runs, and give the directories back."""
        for intake, _ in self._intakes.values():
            try:
                intake.close("complete")
            finally:
                intake.release()

    def reports(self) -> list[RunReport]:
        """What became of the directories."""
        return [report_of(intake, outcome) for intake, outcome in self._intakes.values()]

    def _look(self) -> None:
        self._importing.send_media()
        now = time.monotonic()
        new = []
        for directory in find(self._importing.logdir):
            path = directory.path
            if path not in self._intakes and now >= self._refused.get(path, 0.0):
                new.append(directory)
            elif path in self._intakes:
                self._names(path)
        for first in range(0, len(new), TOGETHER):
            for opened in self._importing.open_directories(new[first : first + TOGETHER]):
                if isinstance(opened, RunReport):
                    path = Path(opened.directory)
                    self._refused[path] = now + (
                        _RETRY_SECONDS if "no record" not in opened.notes[0] else 0.0
                    )
                    if (path, opened.notes[0]) not in self._said and "no record" not in opened.notes[0]:
                        self._said.add((path, opened.notes[0]))
                        self._on_open(opened)
                    continue
                intake, outcome = opened
                self._intakes[intake.path] = opened
                self._network[intake.path] = on_network(intake.path)
                self._names(intake.path)
                self._grown[intake.path] = now
                self._on_open(report_of(intake, outcome))

    def _names(self, path: Path) -> None:
        """Note the files of a directory; new ones count as empty so far."""
        known = self._sizes.setdefault(path, {})
        try:
            for name in event_files(path):
                known.setdefault(name, -1)
        except OSError:
            return

    def _take_all(self) -> None:
        for path, (intake, _) in self._intakes.items():
            self._take(path, intake)
            if self._stop.is_set():
                return

    def _take(self, path: Path, intake: EventIntake) -> None:
        sizes, network, now = self._sizes[path], self._network[path], time.monotonic()
        changed = False
        for name, size in sizes.items():
            sizes[name] = size_of(path / name, network)
            changed = changed or sizes[name] != size or intake.waits_for(name)
        if changed:
            self._grown[path] = now
            take_over(intake, at_once=False)
        elif intake.position.open and now - self._grown[path] > _QUIET_SECONDS:
            intake.close("complete")
