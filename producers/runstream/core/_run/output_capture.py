"""Copy of a `with` block's stdout and stderr in `./logs/user_log.txt`, as the original writes it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

_log = logging.getLogger("runstream")
_lock = threading.RLock()


class _Tee:
    """A text stream that also writes to a log; everything else is the stream's own.

    Attributes:
        under: the stream that was there before.
    """

    def __init__(self, stream: Any, log: TextIO) -> None:
        self._log: TextIO = log
        self.under = stream
        self._stream = stream
        if isinstance(stream, _Tee) and stream._log.name == log.name:
            # In a block within a block both logs are one file, which is to have each line once.
            self._stream = stream._stream

    @property
    def ended(self) -> bool:
        """Whether its block has ended."""
        return self._log.closed

    def write(self, text: str) -> int:
        """Write to both; a full disk only costs the copy."""
        with contextlib.suppress(
            Exception
        ):  # also of a write that interrupts another, in a handler of a signal
            self._log.write(text)
        written: int = self._stream.write(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts to both."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush both."""
        with contextlib.suppress(Exception):
            self._log.flush()
        self._stream.flush()

    # What a class must have itself: `with sys.stderr:`, `next(sys.stdout)`.

    def __enter__(self) -> _Tee:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stream.__exit__(*error)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __next__(self) -> str:
        line: str = next(self._stream)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _not_ended(stream: Any) -> Any:
    """The uppermost stream whose block is open: those of threads end in any order."""
    while isinstance(stream, _Tee) and stream.ended:
        stream = stream.under
    return stream


class OutputCapture:
    """Tees stdout and stderr from `start` to `stop`, appending to `<folder>/user_log.txt`.

    Attributes:
        file: where to.
        begin: bytes the file held before.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "user_log.txt"
        self.begin = 0
        self._log: TextIO | None = None
        self._replaced: list[tuple[str, _Tee]] = []

    def start(self) -> None:
        """Begin. A folder that cannot be written leaves the output uncopied."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._log = self.file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
            self.begin = self.file.stat().st_size
        except OSError as error:
            _log.warning("%s: output is not copied there (%s)", self.file, error)
            return
        with _lock:
            for name in ("stdout", "stderr"):
                stream: Any = getattr(sys, name)
                if stream is not None:
                    if isinstance(stream, _Tee):
                        stream.under = _not_ended(stream.under)
                    tee = _Tee(stream, self._log)
                    setattr(sys, name, tee)
                    self._replaced.append((name, tee))

    def write(self, text: str) -> None:
        """Add text that was not printed, such as a traceback."""
        if self._log is not None:
            with contextlib.suppress(Exception):
                self._log.write(text)

    def stop(self) -> None:
        """End; a stream somebody else replaced meanwhile stays as it is."""
        if self._log is not None:
            with contextlib.suppress(Exception):
                self._log.close()
            self._log = None
        with _lock:
            for name, tee in self._replaced:
                if getattr(sys, name) is tee:
                    setattr(sys, name, _not_ended(tee))
            self._replaced.clear()


def _forget_lock() -> None:
    """In a forked child: a thread that had it is not there to give it back."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)
