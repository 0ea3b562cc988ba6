"""Finding the sources of a spool: their directories appear, with a first segment a moment later, or never.

An open source costs memory, and a mapping, of which the system allows 65,530 a process. So of a backlog of a hundred
thousand short runs only the oldest are open: sources that were closed, and hold one segment, wait until others are gone. A
run's end says where each of its sources is; so those of one run are opened together.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from runstream_schemas.errors import SpoolError

from .. import process_lock
from ..reading.read_segment import closed_segment
from ..reading.reader import SourceReader
from .collected import CollectedSource
from .sources import Sources

logger = logging.getLogger("runstream.collector")

_LIST_AGAIN = 0.05
"""Seconds: an entry made so soon after the last one may leave the directory's time as it is."""


MOST_OPEN = 2000
"""Sources from which those that write no more wait."""

_LIST_SHARE = 10
"""Times as long as the last listing took until the next: of many directories it takes a while."""

_AGAIN = 1.0
"""Seconds until a source is tried again that there was no room for."""

_NO_ROOM = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A source that writes no more and is not open yet."""

    name: str
    run_id: str
    token: str
    created: float


class Discovery:
    """Opens sources that have appeared in a spool.

    Args:
        sources: takes them.
        tidier: see `SourceReader`.
    """

    def __init__(self, spool: Path, sources: Sources, tidier: Executor) -> None:
        self._spool = spool
        self._sources = sources
        self._tidier = tidier
        self._mtime = -1
        self._list_again = 0.0
        self._not_before = 0.0
        self._unreadable: set[str] = set()
        self.waiting: dict[str, Waiting] = {}
        self._waiting_of_run: dict[str, list[str]] = {}
        # Directories without a segment yet, and the processes that may be making one; None: not looked for yet.
        self._unbegun: dict[str, list[str] | None] = {}

    def look(self, clock: float) -> None:
        """Add the sources that have appeared since the last look."""
        names = dict.fromkeys([*self._listed(clock), *self._unbegun])
        # A backlog of a hundred thousand is looked through each time: three look-ups a name, and nothing else.
        sources, waiting, unreadable = self._sources, self.waiting, self._unreadable
        new = [
            name for name in names if name not in waiting and name not in sources and name not in unreadable
        ]
        if len(self._sources) + len(new) > MOST_OPEN:
            new = self._put_in_line(new)
        room = MOST_OPEN - len(self._sources) - len(new)
        new += islice(self.waiting, max(room, 0))
        self._open_all(new)

    def _open_all(self, names: Iterable[str]) -> None:
        """Open sources, and those that wait of the same runs."""
        sources: list[CollectedSource] = []
        names = list(names)
        while names:
            opened = []
            for name in names:
                self._leave_line(name)
                if (source := self._open(name)) is not None:
                    opened.append(source)
            sources += opened
            names = [name for source in opened for name in self._waiting_of_run.get(source.run_id, ())]
        # Whoever logged first is seen first, for that is the order of a run's points: a run that was started again before
        # anybody had looked follows what it had.
        for source in sorted(sources, key=lambda source: source.reader.header.created):
            self._sources.add(source)

    def _put_in_line(self, names: Iterable[str]) -> list[str]:
        """Let the sources wait that write no more, the oldest first; returns those that have to be opened."""
        others: list[str] = []
        closed: list[Waiting] = []
        for name in names:
            try:
                header = closed_segment(self._spool / name)
            except (SpoolError, OSError):  # said when it is opened
                header = None
            if header is None or self._sources.of_run(header.run_id):
                others.append(name)
            else:
                closed.append(Waiting(name, header.run_id, header.token, header.created))
        for waiting in sorted(closed, key=lambda waiting: waiting.created):
            self.waiting[waiting.name] = waiting
            self._waiting_of_run.setdefault(waiting.run_id, []).append(waiting.name)
        return others

    def _leave_line(self, name: str) -> None:
        if (waiting := self.waiting.pop(name, None)) is not None:
            family = self._waiting_of_run[waiting.run_id]
            family.remove(name)
            if not family:
                del self._waiting_of_run[waiting.run_id]

    def look_again(self) -> None:
        """Sources that are not known any more are to be found again."""
        self._mtime, self._not_before = -1, 0.0
        self.waiting.clear()
        self._waiting_of_run.clear()

    def remove_unbegun(self) -> None:
        """Directories whose writer died before it made a segment. However long it takes, it lives until its lock is free."""
        for name, makers in list(self._unbegun.items()):
            if makers is None:
                makers = process_lock.process_tokens(self._spool)
            self._unbegun[name] = makers = [
                token for token in makers if process_lock.process_alive(self._spool, token)
            ]
            if not makers:
                if (source := self._open(name)) is not None:  # its last deed was the segment
                    self._sources.add(source)
                if name in self._unbegun:
                    del self._unbegun[name]
                    shutil.rmtree(self._spool / name, ignore_errors=True)

    def _listed(self, clock: float) -> list[str]:
        """Directories of sources, when some may have come since the last look."""
        if clock < self._not_before:
            return []
        try:
            mtime = os.stat(self._spool).st_mtime_ns
        except FileNotFoundError:
            return []
        if mtime != self._mtime:
            self._mtime, self._list_again = mtime, clock + _LIST_AGAIN
        elif self._list_again and clock >= self._list_again:
            self._list_again = 0.0
        else:
            return []
        began = time.monotonic()
        names = [name for name in os.listdir(self._spool) if len(name) == 32]
        self._not_before = clock + _LIST_SHARE * (time.monotonic() - began)
        return names

    def _open(self, name: str) -> CollectedSource | None:
        path = self._spool / name
        try:
            reader = SourceReader(path, self._tidier)
        except FileNotFoundError:  # the writer has made the directory and not yet the segment
            self._unbegun.setdefault(name, None)
            return None
        except (SpoolError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                logger.warning("runstream: %s is read later, there is no room for it now: %s", path, error)
                self._mtime, self._not_before = -1, time.monotonic() + _AGAIN
                return None
            logger.error("runstream: %s cannot be read and is left where it is: %s", path, error)
            self._unreadable.add(name)
            self._unbegun.pop(name, None)
            return None
        self._unbegun.pop(name, None)
        return CollectedSource.of(reader)
