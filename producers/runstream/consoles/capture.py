"""The console of runs this process starts: what is printed through Python's streams while they are live.

`write` of the streams that are there is wrapped on the objects themselves, so `sys.stdout` stays what it is, be it the
interpreter's, a notebook's or a test's. The text goes to a file of the home at once, by the printing thread: no thread of
ours, no pipe, nothing to wait for. The node's service sends it, also when this process was killed.

Threads: whoever finds the lock taken leaves its text to who has it, so nothing is waited for in a signal handler either.
Forks: a child continues in the same file.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runstream_schemas.locks import take
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings

from .folding import Bounded

logger = logging.getLogger("runstream")

FOLDER = "consoles"
"""Of the home: of each console `<name>.log`, whose process holds its lock, and `<name>.json`, which says whose it is."""
_HELD_BYTES, _HELD_SECONDS = 4096, 1.0
"""Of a line without an end that are held back at most."""

_MOST_PARTS = 256

_live: dict[str, _Console] = {}  # by run, in the order in which they were started
_of_thread: dict[int, list[_Console]] = {}
_queue: deque[tuple[_Console, bytes | None]] = deque()  # None: it is closed
_lock = threading.Lock()
_tapped: list[tuple[Any, Callable[..., Any], bool]] = []  # stream, our write, whether it had one of its own
_threads: dict[int, _Thread] = {}
_watching = False


class _Thread:
    """What one thread prints.

    Attributes:
        inside: it is in a `write` of ours.
        parts: the beginning of a line that has no end yet.
    """

    __slots__ = ("inside", "parts")

    def __init__(self) -> None:
        self.inside = False
        self.parts: list[str] = []


class _Console:
    """What one run has printed.

    Attributes:
        parent: the run that started it, which gets its text too.
        paused: somebody else keeps what is printed now.
    """

    def __init__(self, settings: Settings, run_id: str, parent: str | None) -> None:
        self.run_id, self.parent, self.paused = run_id, parent, False
        self.thread = threading.get_ident()
        self._folder = settings.home_path / FOLDER
        self._text = Bounded(settings.console_limit)
        self._held = b""
        self._written_at = time.monotonic()
        self._descriptor: int | None = None
        self._broken = False

    def write(self, data: bytes) -> None:
        now = time.monotonic()
        self._held += self._text.feed(data, now)
        if b"\n" in data or len(self._held) > _HELD_BYTES or now - self._written_at > _HELD_SECONDS:
            self._written_at = now
            self._store()

    def close(self) -> None:
        self._held += self._text.flush()
        self._store()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._broken = True

    def after_fork(self) -> None:
        """The parent writes what it held back."""
        self._held = b""

    def _store(self) -> None:
        held, self._held = self._held, b""
        if not held or self._broken:
            return
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            while held:
                held = held[os.write(self._descriptor, held) :]
        except OSError as error:  # a full disk costs the console alone
            self._broken = True
            logger.warning("run %s: its console is not kept any further (%s)", self.run_id, error)

    def _open(self) -> int:
        make_private(self._folder)
        name = f"{time.time_ns():020d}-{os.getpid()}"
        document = json.dumps({"run": self.run_id}).encode()
        path = self._folder / f"{name}.log"
        descriptor = take(path, 1.0)
        if descriptor is None:
            raise BlockingIOError(f"{path} is held by another process")
        (self._folder / f".{name}.json").write_bytes(document)
        os.replace(self._folder / f".{name}.json", self._folder / f"{name}.json")
        return descriptor


def start(settings: Settings, run_id: str, parent: str | None = None) -> None:
    """Keep what is printed from now on, in this thread or in those that start no run of their own.

    Args:
        parent: the run above it; while that is live, it has the text of its children too.
    """
    if not settings.console or run_id in _live:
        return
    _feed_rest()
    _watch()
    console = _live[run_id] = _Console(settings, run_id, parent)
    _of_thread.setdefault(console.thread, []).append(console)
    _tap()


def stop(run_id: str) -> None:
    """What is printed from now on is no more the run's."""
    if run_id not in _live:
        return
    _feed_rest()
    console = _live.pop(run_id, None)
    if console is None:  # another thread was here
        return
    if (of_thread := _of_thread.get(console.thread)) and console in of_thread:
        of_thread.remove(console)
        if not of_thread:
            _of_thread.pop(console.thread, None)
    _queue.append((console, None))
    _drain()
    if not _live:
        _untap()


def pause(run_id: str, paused: bool) -> None:
    """Leave what is printed to somebody else, or take it again."""
    if (console := _live.get(run_id)) is not None:
        _feed_rest()
        console.paused = paused


def _chosen(ident: int) -> list[_Console]:
    """Whose the text is that a thread prints: of the run it started last, or the process did; and of those above."""
    of_thread = _of_thread.get(ident)
    console = of_thread[-1] if of_thread else next(reversed(_live.values()), None) if _live else None
    chosen: list[_Console] = []
    while console is not None and console not in chosen:
        chosen.append(console)
        console = _live.get(console.parent) if console.parent else None
    return [console for console in chosen if not console.paused]


def _feed(ident: int, parts: list[str]) -> None:
    n = len(parts)  # another thread may add to them meanwhile
    text = "".join(parts[:n])
    del parts[:n]
    data = text.encode("utf-8", "backslashreplace")
    for console in _chosen(ident):
        _queue.append((console, data))
    _drain()


def _feed_rest() -> None:
    """What threads have printed without an end of the line."""
    for ident, thread in list(_threads.items()):
        if thread.parts:
            _feed(ident, thread.parts)


def _drain() -> None:
    # Whoever has the lock looks once more after it gave it back: no text is left behind.
    while _queue and _lock.acquire(blocking=False):
        try:
            while _queue:
                console, data = _queue.popleft()
                if data is None:
                    console.close()
                else:
                    console.write(data)
        finally:
            _lock.release()


def _tap() -> None:
    """Wrap what the streams are now."""
    _tapped[:] = [entry for entry in _tapped if not getattr(entry[0], "closed", False)]
    for stream in (sys.stdout, sys.stderr):
        if stream is None or any(tapped is stream for tapped, *_ in _tapped):
            continue
        try:
            own = "write" in vars(stream)
            write = _wrapped(stream.write)
            stream.write = write  # type: ignore[method-assign]
        except (AttributeError, TypeError):
            logger.debug("what is printed to %r is not kept: it cannot be wrapped", stream)
            continue
        _tapped.append((stream, write, own))


def _wrapped(under: Callable[..., Any]) -> Callable[..., Any]:
    get_ident, threads, live = threading.get_ident, _threads, _live

    def write(text: Any, *args: Any, **kwargs: Any) -> Any:
        if not live:
            return under(text, *args, **kwargs)
        ident = get_ident()
        thread = threads.get(ident) or threads.setdefault(ident, _Thread())
        if thread.inside:  # a stream that stands upon another, which is wrapped too
            return under(text, *args, **kwargs)
        thread.inside = True
        try:
            if isinstance(text, str):
                parts = thread.parts
                parts.append(text)
                if "\n" in text or "\r" in text or len(parts) > _MOST_PARTS:
                    _feed(ident, parts)
        except Exception as error:  # what is printed is printed, whatever becomes of its copy
            logger.debug("what was printed is not kept: %s", error)
        try:
            return under(text, *args, **kwargs)
        finally:
            thread.inside = False

    write.under = under  # type: ignore[attr-defined]
    return write


def _untap() -> None:
    """Give the streams their own `write` back, unless somebody wrapped ours meanwhile."""
    for stream, write, own in _tapped:
        if vars(stream).get("write") is write:
            if own:
                stream.write = write.under
            else:
                del stream.write
    _tapped.clear()


def _watch() -> None:
    global _watching
    if not _watching:
        _watching = True
        atexit.register(_end)
        os.register_at_fork(after_in_child=_after_fork)


def _end() -> None:
    for run_id in list(_live):
        stop(run_id)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _queue.clear()
    _threads.clear()
    for console in _live.values():
        console.after_fork()


def folder_of(settings: Settings) -> Path:
    """Where a home's consoles lie."""
    return settings.home_path / FOLDER
