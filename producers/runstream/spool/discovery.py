"""Finding the sources of a spool: their directories appear, with a first segment a moment later, or never."""

from __future__ import annotations

import logging
import os
import shutil
from concurrent.futures import Executor
from pathlib import Path

from runstream_schemas.errors import SpoolError

from . import segment as seg
from .collected import CollectedSource
from .reader import SourceReader
from .sources import Sources

logger = logging.getLogger("runstream.collector")

_LIST_AGAIN = 0.05
"""Seconds: an entry made so soon after the last one may leave the directory's time as it is."""


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
        self._unreadable: set[str] = set()
        # Directories without a segment yet, and the processes that may be making one; None: not looked for yet.
        self._unbegun: dict[str, list[str] | None] = {}

    def look(self, clock: float) -> None:
        """Add the sources that have appeared since the last look."""
        names = dict.fromkeys([*self._listed(clock), *self._unbegun])
        new = [name for name in names if name not in self._sources and name not in self._unreadable]
        found = [source for name in new if (source := self._open(name)) is not None]
        # Whoever logged first is seen first, for that is the order of a run's points: a run that was started again before
        # anybody had looked goes on behind what it had.
        for source in sorted(found, key=lambda one: one.reader.header.created):
            self._sources.add(source)

    def look_again(self) -> None:
        """Sources that are not known any more are to be found again."""
        self._mtime = -1

    def remove_unbegun(self) -> None:
        """Directories whose writer died before it made a segment. However long it takes, it lives until its lock is free."""
        for name, makers in list(self._unbegun.items()):
            if makers is None:
                makers = seg.process_tokens(self._spool)
            self._unbegun[name] = makers = [
                token for token in makers if seg.process_alive(self._spool, token)
            ]
            if not makers:
                if (source := self._open(name)) is not None:  # its last deed was the segment
                    self._sources.add(source)
                if name in self._unbegun:
                    del self._unbegun[name]
                    shutil.rmtree(self._spool / name, ignore_errors=True)

    def _listed(self, clock: float) -> list[str]:
        """Directories of sources, when some may have come since the last look."""
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
        return [name for name in os.listdir(self._spool) if len(name) == 32]

    def _open(self, name: str) -> CollectedSource | None:
        path = self._spool / name
        try:
            reader = SourceReader(path, self._tidier)
        except FileNotFoundError:  # the writer has made the directory and not yet the segment
            self._unbegun.setdefault(name, None)
            return None
        except (SpoolError, OSError) as error:
            logger.error("runstream: %s cannot be read and is left where it is: %s", path, error)
            self._unreadable.add(name)
            self._unbegun.pop(name, None)
            return None
        self._unbegun.pop(name, None)
        return CollectedSource.of(reader)
