"""What is left in a spool when its sources are gone: spare directories, lock files of processes, and how full it is."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from concurrent.futures import Executor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from .. import process_lock
from .. import segment as seg

_MOST_SPARES = 1024
"""Directories of closed sources that are kept for new ones: 32 MiB."""
_SPARE_SECONDS = 300.0  # they are kept
_COUNT_AGAIN = 0.1
"""Seconds until those that are kept are counted again when there are enough: writers take them, and say nothing."""
_DELETED_AT_ONCE = 256
"""Directories of a turn of the tidier, which has segments to give back too."""
_TOKEN_SECONDS = 60.0
"""A lock file nobody holds and no source names is left alone so long: older runstreams make theirs before they lock it."""


class Leftovers:
    """Looked at once a second.

    Args:
        tidier: deletes what is not kept.
    """

    def __init__(self, spool: Path, tidier: Executor) -> None:
        self._spool = spool
        self._tidier = tidier
        self._spares = 0
        self._counted = 0.0
        self._spare_since: dict[str, float] = {}
        self._token_since: dict[str, float] = {}
        self._deleting = (
            False  # a turn of it is in line: never more than one, however many there are to delete
        )
        self._some_left = False

    @property
    def wants_spare(self) -> bool:
        """Whether the directory of a closed source is kept for a new one."""
        if self._spares >= _MOST_SPARES and time.monotonic() - self._counted >= _COUNT_AGAIN:
            self._counted = time.monotonic()
            with suppress(FileNotFoundError):
                self._spares = sum(not n.endswith(seg.GONE) for n in os.listdir(self._spool / seg.SPARE))
        return self._spares < _MOST_SPARES

    def add_spare(self) -> None:
        """One was kept."""
        self._spares += 1

    def count_spares(self, clock: float) -> None:
        """Count the directories that are kept, and delete those that nobody took for a while."""
        before, self._spare_since = self._spare_since, {}
        gone = False
        with suppress(FileNotFoundError), os.scandir(self._spool / seg.SPARE) as entries:
            for entry in entries:
                since = before.get(entry.name, clock)
                if entry.name.endswith(seg.GONE):
                    gone = True
                elif clock - since < _SPARE_SECONDS:
                    self._spare_since[entry.name] = since
                else:
                    with suppress(FileNotFoundError):  # a writer was quicker
                        os.rename(entry.path, entry.path + seg.GONE)
                        gone = True
        self._spares = len(self._spare_since)
        if gone:
            self.delete_gone()

    def delete_gone(self) -> None:
        """Have the directories that are not kept deleted: they are told by their names, and nothing else remembers them."""
        self._some_left = True
        if not self._deleting:
            self._deleting = True
            self._tidier.submit(self._delete_some)

    def _delete_some(self) -> None:
        some: list[str] = []
        self._some_left, deleted = False, 0
        try:
            with suppress(FileNotFoundError), os.scandir(self._spool / seg.SPARE) as entries:
                gone = (entry.path for entry in entries if entry.name.endswith(seg.GONE))
                some = list(islice(gone, _DELETED_AT_ONCE))
            deleted = sum(seg.delete_source(path) for path in some)
        finally:
            self._deleting = False
        if deleted and (self._some_left or len(some) == _DELETED_AT_ONCE):
            with suppress(RuntimeError):  # the program ends: the next one deletes them
                self.delete_gone()

    @property
    def spare_bytes(self) -> int:
        """Of the directories that are kept."""
        return self._spares * seg.SMALLEST

    def write_usage(self, size: int) -> None:
        """Tell writers how full the spool is, in bytes; they add what they reserve themselves."""
        temporary = self._spool / ".usage"
        try:
            temporary.write_text(str(size))
            os.replace(temporary, self._spool / "usage")
        except OSError:  # a full disk: the old figure stays
            return

    def sweep_tokens(self, clock: float, used: Collection[str]) -> None:
        """Delete the lock files of processes that are gone.

        Args:
            used: tokens that sources name.
        """
        before, self._token_since = self._token_since, {}
        for token in process_lock.process_tokens(self._spool):
            if token in used or process_lock.process_alive(self._spool, token):
                continue
            since = self._token_since[token] = before.get(token, clock)
            if clock - since >= _TOKEN_SECONDS:
                with suppress(FileNotFoundError):
                    os.unlink(self._spool / "procs" / token)
