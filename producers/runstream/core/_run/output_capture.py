"""Copy of a `with` block's stdout and stderr in `./logs/user_log.txt`, as the original writes it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any, TextIO

_lock = threading.Lock()


class _Tee:
    """A text stream that also writes to a log; everything else is the stream's own.

    Attributes:
        under: the stream that was there before.
    """

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._log: TextIO = log
        self.under: TextIO = stream
        self._stream: TextIO = stream
        if isinstance(stream, _Tee) and stream._log.name == log.name:
            # In a block within a block both logs are one file, which is to have each line once.
            self._stream = stream._stream

    @property
    def ended(self) -> bool:
        """Whether its block has ended."""
        return self._log.closed

    def write(self, text: str) -> int:
        """Write to both; a full disk only costs the copy."""
        try:
            self._log.write(text)
        except (OSError, ValueError):
            pass
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush both."""
        try:
            self._log.flush()
        except (OSError, ValueError):
            pass
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _not_ended(stream: TextIO) -> TextIO:
    """The uppermost stream whose block goes on: those of threads end in any order."""
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
            self._log = self.file.open("a", encoding="utf-8", buffering=1)
            self.begin = self.file.stat().st_size
        except OSError as error:
            print(f"runstream: {self.file}: output is not copied there ({error})", file=sys.stderr)
            return
        with _lock:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if stream is not None:
                    if isinstance(stream, _Tee):
                        stream.under = _not_ended(stream.under)
                    tee = _Tee(stream, self._log)
                    setattr(sys, name, tee)
                    self._replaced.append((name, tee))

    def write(self, text: str) -> None:
        """Add text that was not printed, such as a traceback."""
        if self._log is not None:
            try:
                self._log.write(text)
            except OSError:
                pass

    def stop(self) -> None:
        """End; a stream somebody else replaced meanwhile stays as it is."""
        if self._log is not None:
            try:
                self._log.close()
            except OSError:
                pass
            self._log = None
        with _lock:
            for name, tee in self._replaced:
                if getattr(sys, name) is tee:
                    setattr(sys, name, _not_ended(tee))
            self._replaced.clear()
