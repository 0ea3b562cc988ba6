"""Passes on what a command prints, byte for byte while it does, and copies it to a log."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import selectors
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_LOOK_SECONDS = 0.05
_LEFT_SECONDS = (
    1.0  # for what was printed before the command ended, while something it left running still prints
)
_READ = 1 << 16
_WRITE = 4096  # a pipe that is ready takes so many bytes at once


class Console:
    """Stdout and stderr of a command. Where ours is a terminal, the command has one too; else a pipe.

    Args:
        log: where the copy goes, both streams in the order they came.

    Attributes:
        stdout, stderr: descriptors for the command's process.
    """

    def __init__(self, log: Path) -> None:
        self._log: int | None = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._targets: dict[int, int] = {}  # descriptor we read to ours
        self._terminal: int | None = None
        self.stdout = self._stream(1)
        # On one terminal the order of both is kept.
        self.stderr = self.stdout if os.isatty(1) and os.isatty(2) else self._stream(2)

    def _stream(self, ours: int) -> int:
        if os.isatty(ours):
            reading, theirs = os.openpty()
            attributes = termios.tcgetattr(theirs)
            attributes[1] &= ~termios.OPOST  # the real terminal does that
            termios.tcsetattr(theirs, termios.TCSANOW, attributes)
            self._terminal = theirs
            self.resize(ours)
        else:
            reading, theirs = os.pipe()
        self._targets[reading] = ours
        return theirs

    def resize(self, ours: int = 1) -> None:
        """Give the command's terminal the size of ours."""
        if self._terminal is None:
            return
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(ours, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def pass_on(self, process: subprocess.Popen[bytes], look: Callable[[], None]) -> None:
        """Until the command has ended and what it printed is passed on. What it leaves running cannot print any more.

        Args:
            process: the command's.
            look: called again and again meanwhile, twenty times a second at least.
        """
        for theirs in {self.stdout, self.stderr} - {self._terminal}:
            os.close(theirs)
        ended_at: float | None = None
        with selectors.DefaultSelector() as selector, _end_of(process) as end:
            for reading in self._targets:
                selector.register(reading, selectors.EVENT_READ)
            if end is not None:
                selector.register(end, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select(_LOOK_SECONDS if ended_at is None else 0)]
                for reading in ready:
                    if reading != end and not self._pass(reading, look):
                        selector.unregister(reading)
                        os.close(reading)
                        del self._targets[reading]
                look()
                if process.poll() is None:
                    continue
                if ended_at is None:
                    ended_at = time.monotonic()
                    if end is not None:
                        selector.unregister(end)
                elif not ready or time.monotonic() - ended_at > _LEFT_SECONDS:
                    return

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (*self._targets, self._log, self._terminal):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _pass(self, reading: int, look: Callable[[], None]) -> bool:
        try:
            data = os.read(reading, _READ)
        except OSError:  # of a terminal nobody holds any more
            data = b""
        if not data:
            return False
        if self._log is not None:
            try:
                _write_all(self._log, data)
            except OSError:  # a full disk only costs the copy
                os.close(self._log)
                self._log = None
        ours = self._targets[reading]
        try:
            while data:
                if select.select((), (ours,), (), _LOOK_SECONDS)[1]:
                    data = data[os.write(ours, data[:_WRITE]) :]
                look()
        except OSError:
            return False  # nobody reads: the command's next write fails, as it would have without us
        return True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _end_of(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends, where there are such."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
