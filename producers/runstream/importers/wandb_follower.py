"""Takes over `.wandb` files for as long as they grow: looks at their sizes, which works on every filesystem."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from .event_directories import on_network, size_of
from .polling import poll
from .runs import RunReport
from .wandb import WandbImport, ending_of, report_of, take_over
from .wandb_intake import WandbIntake


def follow(
    importing: WandbImport, stop: threading.Event, on_open: Callable[[RunReport], None]
) -> list[RunReport]:
    """Take over what the files hold, and what is written to them, until `stop` is set.

    Args:
        importing: from where, and where to.
        stop: ends it.
        on_open: told of each run that is followed, or why it is not.

    Returns:
        What became of each run.
    """
    follower = _Follower(importing, on_open)
    with closing(follower):
        poll(stop, follower.look, partial(follower.take, stop))
    return follower.reports()


class _Follower:
    """The runs that are followed."""

    def __init__(self, importing: WandbImport, on_open: Callable[[RunReport], None]) -> None:
        self._importing, self._on_open = importing, on_open
        self._opened: dict[str, tuple[WandbIntake, str]] = {}
        self._sizes: dict[Path, int] = {}
        self._said: set[tuple[str, str]] = set()
        self._network = on_network(importing.directory)

    def look(self) -> None:
        """Find runs, and further files of those that are followed."""
        self._importing.send_media()
        runs, _ = self._importing.look()
        for run in runs:
            key = f"{run.info.entity}/{run.info.project}/{run.info.run_id}"
            if key in self._opened:
                self._opened[key][0].run.parts.update(run.parts)
                continue
            opened = self._importing.open(run)
            if isinstance(opened, RunReport):
                if (key, opened.notes[0]) not in self._said:
                    self._said.add((key, opened.notes[0]))
                    self._on_open(opened)
                continue
            self._opened[key] = opened
            self._on_open(report_of(*opened))

    def take(self, stop: threading.Event) -> None:
        """Take over what has grown; a run that has ended is ended."""
        for intake, _ in self._opened.values():
            grown = intake.waits()
            for path in intake.run.parts.values():
                size = size_of(path, self._network)
                grown = grown or self._sizes.get(path) != size
                self._sizes[path] = size
            if grown:
                take_over(intake, at_once=False)
            if intake.position.open and intake.ended:
                intake.keep_files()
                intake.close(intake.ended)
            if stop.is_set():
                return

    def close(self) -> None:
        """Keep the files of runs that have not ended, and give all of them back."""
        for intake, _ in self._opened.values():
            try:
                intake.keep_files()
                intake.close(ending_of(intake))
            finally:
                intake.release()

    def reports(self) -> list[RunReport]:
        """What became of the runs."""
        return [report_of(intake, outcome) for intake, outcome in self._opened.values()]
