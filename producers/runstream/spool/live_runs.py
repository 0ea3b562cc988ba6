"""The runs this process writes to: one spool writer for each, what of it is not yet known to be stored, and its end.

All `Run` objects of one run share a writer, so their points keep one order. A run started here and never ended by the
script is ended when the process ends: Completed, or Failed when an exception or a `sys.exit` other than 0 escaped. A
process that cannot do even that (killed, crashed) leaves it to the agent.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from runstream_schemas.settings import Settings

from . import program_end
from .fitting import cut
from .writing.writer import RunWriter

_log = logging.getLogger("runstream")
_lock = threading.RLock()
_live: WeakValueDictionary[tuple[Settings, str], LiveRun] = WeakValueDictionary()
_open: dict[tuple[Settings, str], LiveRun] = {}  # started here and not ended: kept alive without a Run object
# Positions of writers that are gone, until the service has stored them; the oldest first.
_left: dict[Settings, dict[str, int]] = {}
MOST_LEFT = 6000
"""Of them, a home: a sweep may make a million runs before anybody reads. What was written before all these lies before them
in the spool, and in the topics, too."""
_stored: dict[str, int] = {}
_watching = False


class LiveRun:
    """A run being written by this process.

    Attributes:
        settings: where its spool is.
        run_id: its id.
        writer: its spool writer.
    """

    __slots__ = ("__weakref__", "run_id", "settings", "writer")

    def __init__(self, settings: Settings, run_id: str, writer: RunWriter) -> None:
        self.settings, self.run_id, self.writer = settings, run_id, writer

    def start(self, create: Mapping[str, Any] | None = None) -> None:
        """Write the run's start, and its creation before it if given."""
        with _lock:
            _open[self.settings, self.run_id] = self
        if create is not None:
            self.writer.status("create", create)
        self.writer.status("start")

    def end(self, kind: str) -> None:
        """Write an ending status (see `status.ENDINGS`) and give the writer's segment back; logging may continue."""
        self.writer.status(kind)
        with _lock:  # not before: of an end that a Ctrl-C kept from being written, the exit is left to tell
            _open.pop((self.settings, self.run_id), None)
        self.writer.close()

    def positions(self) -> dict[str, int]:
        """How far the writer is, by `source.topic@run-id`: what a deleted run had is not waited for."""
        from urllib.parse import quote

        run = quote(self.run_id, safe="")
        return {f"{key}@{run}": position for key, position in self.writer.positions().items()}

    def unconfirmed(self) -> dict[str, int]:
        """Positions of the writer that the service has not yet said to be stored."""
        return {key: position for key, position in self.positions().items() if position > _stored.get(key, 0)}

    def __del__(self) -> None:
        if (
            sys.is_finalizing()
        ):  # see `_close_writers`; modules are being taken apart, and the writer's among them
            return
        self.writer.close()
        positions = self.positions()
        if left := {key: end for key, end in positions.items() if end > _stored.get(key, 0)}:
            _leave(self.settings, left)
        for key in positions:
            _stored.pop(key, None)
        self.writer.began = partial(_adopt, self.settings, self.writer)


def open_live(settings: Settings, run_id: str, *, owner: bool = False) -> LiveRun:
    """The process's writer of a run, opened on first use.

    Args:
        settings: where the spool is.
        run_id: the run.
        owner: this process starts the run now, and so is the one whose death fails it.
    """
    key = (settings, run_id)
    with _lock:
        if owner:
            _watch_exit()
        live = _live.get(key)
        if live is None:
            live = _live[key] = LiveRun(settings, run_id, RunWriter(settings, run_id, owner=owner))
        elif owner and key not in _open:
            # Whether a process owns a run is fixed when a writer begins: starting a run again takes a new one.
            live.writer.close()
            _leave(settings, live.unconfirmed())
            live.writer = RunWriter(settings, run_id, owner=True)
        return live


def _adopt(settings: Settings, writer: RunWriter) -> None:
    """Somebody kept only the writer, or its `log`, and records again: that too is waited for, and closed at exit."""
    live = LiveRun(settings, writer.run_id, writer)
    writer.began = None
    _adopted.append(live)
    _live.setdefault((settings, writer.run_id), live)


_adopted: list[LiveRun] = []


def _leave(settings: Settings, positions: Mapping[str, int]) -> None:
    left = _left.setdefault(settings, {})
    left.update(positions)
    if len(left) > MOST_LEFT:
        for key in list(left)[: len(left) // 2]:
            left.pop(key, None)


def find_live(settings: Settings, run_id: str) -> LiveRun | None:
    """The process's writer of a run, if there is one."""
    return _live.get((settings, run_id))


def unconfirmed(settings: Settings) -> dict[str, int]:
    """Positions of all this process's writers that the service has not yet said to be stored."""
    with _lock:
        positions = dict(_left.get(settings, {}))
        chosen = [live for live in {*_live.values(), *_adopted} if live.settings == settings]
    for live in chosen:
        positions.update(live.unconfirmed())
    return positions


def confirm(settings: Settings, positions: Mapping[str, int]) -> None:
    """Note that the service has stored everything below these positions."""
    left = _left.get(settings, {})
    for key, position in positions.items():
        if left.get(key) == position:
            left.pop(key)
        else:
            _stored[key] = position


def give_up(settings: Settings, positions: Mapping[str, int]) -> None:
    """Wait for these no longer, unless their writers still write: the run may have been deleted meanwhile."""
    left = _left.get(settings, {})
    for key in positions:
        left.pop(key, None)


def failure_of(error: BaseException) -> dict[str, Any]:
    """The error body of a run that ended by an exception, whatever its own `__str__` does."""
    try:
        text = str(error)
    except BaseException as problem:  # a `sys.exit` in there, too: what the program failed with is `error`
        text = f"(its text cannot be shown: {type(problem).__name__})"
    message = "".join(("User program failed with ", type(error).__name__, ": ", text))
    return {"code": "UserError", "message": cut(message)}


def _watch_exit() -> None:
    global _watching
    if _watching:
        return
    _watching = True
    atexit.register(_end_open_runs)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_disown)
    program_end.watch()


def _disown() -> None:
    """A forked child may log to its parent's runs, but must not end them."""
    global _lock
    _lock = threading.RLock()
    _kept_for_their_writers.extend(_open.values())
    _open.clear()


_kept_for_their_writers: list[LiveRun] = []


def _close_writers() -> None:
    """Close what is open at the very end. What is recorded after it, the reader finds once the process is gone."""
    for live in {*_live.values(), *_adopted}:
        with suppress(Exception):
            live.writer.close()


atexit.register(_close_writers)  # here and not later: it is called behind whatever records at exit


def _end_open_runs() -> None:
    error = program_end.escaped()
    for live in list(_open.values()):
        try:  # each for itself: one that cannot be ended leaves the others none the worse
            if error is not None:
                live.writer.status("error", {"error": failure_of(error)})
            live.end("complete" if error is None else "fail")
        except Exception as problem:
            _log.warning(
                "run %s could not be ended as this process ends (%s: %s); the service ends it as Failed",
                live.run_id,
                type(problem).__name__,
                problem,
            )
    program_end.keep_the_signal()
