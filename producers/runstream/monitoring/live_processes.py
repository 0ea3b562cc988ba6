"""The runs that are live on this node and the processes they are at work in, as the spool tells.

Only looks, as `spool.node` does. A source's header names its run and the lock file of its process; who holds that lock is
the process, whatever container it is in.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runstream_schemas.errors import SpoolError

from ..spool import process_lock
from ..spool import segment as seg

MOST_NEW = 1000
"""Sources that are looked into for the first time in one look: of a backlog the others wait: few of them live."""


@dataclass(frozen=True, slots=True)
class _Live:
    """A source whose process had not closed it when it was last looked at."""

    run_id: str
    owner: bool
    token: str
    created: float
    has_points: bool


class LiveProcesses:
    """Looks at a spool again and again.

    Args:
        spool: its directory.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._live: dict[str, _Live] = {}
        self._over: set[str] = set()

    def look(self, age: float = 0.0, leave_out: frozenset[str] = frozenset()) -> dict[str, set[int]]:
        """The processes of each live run.

        Those that own the run; where none does, e.g. beside a rank of several machines that is on another one, those that
        have logged points to it. A run whose process is not visible from here has none.

        Args:
            age: only runs that began so many seconds ago, or earlier.
            leave_out: sources that are no run's own.
        """
        names = self._names()
        self._over &= names
        new = [name for name in names - self._over - leave_out if name not in self._live]
        before = time.time() - age
        live: dict[str, _Live] = {}
        for name in [*(name for name in self._live if name in names), *new[:MOST_NEW]]:
            source = self._read(name)
            if source is not None:
                known = self._live.get(name, source)  # a later segment was made later
                live[name] = replace(source, created=min(known.created, source.created))
        self._live = live
        holders: dict[str, int | None] = {}
        runs: dict[str, dict[bool, set[int]]] = {}
        for name, source in live.items():
            if source.token not in holders:
                holders[source.token] = process_lock.holder(self._spool, source.token)
            pid = holders[source.token]
            if pid is None:
                self._over.add(name)
            elif source.created <= before and (source.owner or source.has_points):
                runs.setdefault(source.run_id, {}).setdefault(source.owner, set()).add(pid)
        return {run_id: {*pids.get(True, pids.get(False, set()))} - {0} for run_id, pids in runs.items()}

    def _names(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._spool) if len(name) == 32}
        except FileNotFoundError:
            return set()

    def _read(self, name: str) -> _Live | None:
        """What the newest segment says; None: nothing yet, or its process writes no more."""
        directory = self._spool / name
        with suppress(OSError, SpoolError):
            segments = [entry for entry in os.listdir(directory) if entry.endswith(".seg")]
            if not segments:
                return None
            path = str(directory / max(segments))
            with open(path, "rb") as file:
                data = file.read(seg.HEADER_BYTES)
            header = seg.read_header(data, path)
            if seg.WORD.unpack_from(data, seg.STATE_AT)[0] & (seg.CLOSED | seg.ENDED):
                self._over.add(name)
                return None
            has_points = bool(seg.WORD.unpack_from(data, seg.ACKED_AT["metrics"])[0])
            return _Live(header.run_id, header.owner, header.token, header.created, has_points)
        return None
