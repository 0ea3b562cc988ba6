"""Writes event files that TensorBoard reads, without a thread: a record goes to the buffer, and that to the file when it is
full, old enough, or flushed."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from pathlib import Path

from . import encoding
from .records import frame

_BUFFER_BYTES = 64 << 10
_number = itertools.count()


class EventFileWriter:
    """One event file, which is made at once.

    Args:
        directory: where it lies; made if need be.
        max_queue: records that wait at most.
        flush_secs: seconds a record waits at most, as far as others follow it.
        suffix: the suffix of its name.

    Attributes:
        path: the file.
    """

    def __init__(
        self, directory: Path, max_queue: int = 10, flush_secs: float = 120.0, suffix: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number):04d}{suffix}"
        self.path = directory / name
        self._max_queue, self._flush_seconds = max_queue, flush_secs
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._flushed = time.monotonic()
        self._descriptor: int | None = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        self.add(encoding.event(now, 0, encoding.version_field()))
        self.flush()

    def add(self, record: bytes) -> None:
        """Add a record."""
        with self._lock:
            self._waiting.append(frame(record))
            self._bytes += len(record)
            if (
                len(self._waiting) >= self._max_queue
                or self._bytes > _BUFFER_BYTES
                or time.monotonic() - self._flushed > self._flush_seconds
            ):
                self._write()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write what waits, and end the file. A record that comes later opens it again."""
        with self._lock:
            self._write()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _write(self) -> None:
        if self._waiting:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            content = b"".join(self._waiting)
            written = 0
            try:
                while written < len(content):
                    written += os.write(self._descriptor, memoryview(content)[written:])
            finally:  # what found no room waits on
                self._waiting = [content[written:]] if written < len(content) else []
                self._bytes = len(content) - written
        self._flushed = time.monotonic()
