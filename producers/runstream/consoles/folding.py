"""Folds what a terminal overwrites: of a progress bar's thousand states one every few seconds is kept, and the last.

The result is again a text for a terminal, with the same colours, which shows the same. Lines that nothing overwrites pass
as they are.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import IO

INTERVAL = 2.0
"""Seconds between two states of what is overwritten."""

_CONTROL = re.compile(rb"(\r|\n|\x1b\[[0-9;?]*[A-Za-z])")
_OVERWRITES = re.compile(rb"\r(?!\n)|\x1b\[[0-9;]*[ABEFGJK]")
_MOVING_SECONDS = 10.0
"""Since the cursor was last moved up; in this time the end of a line is not taken for its last state."""


class Folding:
    """A text as it comes, in pieces that may end anywhere.

    Args:
        interval: seconds.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._row = self._bottom = self._shown_row = 0
        self._fresh = self._shown_fresh = True  # at the beginning of a row
        self._colours = b""  # of what comes next at the beginning of a row
        # What is written to each row since it was last shown, and whether that begins at its beginning.
        self._changed: dict[int, tuple[bool, bytes]] = {}
        self._shown_at = -1e9
        self._moved_at = -1e9

    def feed(self, data: bytes, now: float) -> bytes:
        """What of it is to be kept by now.

        Args:
            now: seconds, of a clock that does not go back.
        """
        plain = (
            not self._changed
            and self._shown_row == self._row == self._bottom
            and self._fresh <= self._shown_fresh
            and not self._colours
            and not _OVERWRITES.search(data)
        )
        if plain:
            self._row += data.count(b"\n")
            self._bottom = self._shown_row = self._row
            if data:
                self._fresh = self._shown_fresh = data.endswith(b"\n")
            return data
        overwritten = self._take_state(data) or self._write(data, now)
        ends_line = self._fresh and self._row == self._bottom and data.endswith(b"\n")
        still = now - self._moved_at > _MOVING_SECONDS
        if not overwritten or now - self._shown_at >= self._interval or (ends_line and still):
            if overwritten:
                self._shown_at = now
            return self._show()
        return b""

    def flush(self) -> bytes:
        """What is held back."""
        return self._show()

    def _take_state(self, data: bytes) -> bool:
        """The usual state of a bar, alone in its row, at little cost; False: it is something else."""
        if data[:1] != b"\r" or self._colours or len(self._changed) > 1 or _CONTROL.search(data, 1):
            return False
        if self._changed and self._row not in self._changed:
            return False
        self._fresh = True
        if len(data) > 1:
            self._add(data[1:], replaces=True)
            self._fresh = False
        return True

    def _write(self, data: bytes, now: float) -> bool:
        """Note what changes; whether anything of it, or of what is held, overwrites something."""
        for token in _CONTROL.split(data):
            if token in (b"\n", b"\r"):
                self._add_colours()
            if token == b"\n":
                self._row += 1
                self._bottom = max(self._bottom, self._row)
                self._fresh = True
            elif token == b"\r":
                self._fresh = True
            elif token.startswith(b"\x1b["):
                self._move(token, now)
            elif token:
                colours, self._colours = self._colours, b""
                self._add(colours + token, replaces=self._fresh)
                self._fresh = False
        return (
            any(replaces for replaces, _ in self._changed.values()) or now - self._moved_at < _MOVING_SECONDS
        )

    def _add(self, text: bytes, *, replaces: bool) -> None:
        before = self._changed.get(self._row)
        if replaces or before is None:
            self._changed[self._row] = (replaces and (before is not None or not self._is_new()), text)
        else:
            self._changed[self._row] = (before[0], before[1] + text)

    def _is_new(self) -> bool:
        return self._row > self._shown_row or (self._row == self._shown_row and self._shown_fresh)

    def _move(self, sequence: bytes, now: float) -> None:
        kind, digits = sequence[-1:], re.sub(rb"\D.*", b"", sequence[2:-1])
        count = int(digits[:6]) if digits else 0
        if kind in b"AF":
            self._row = max(0, self._row - max(count, 1))
            self._moved_at = now
            self._fresh |= kind == b"F"
        elif kind in b"BE":
            self._row = min(self._bottom, self._row + max(count, 1))
            self._fresh |= kind == b"E"
        elif kind == b"G":
            self._fresh |= count <= 1
        elif kind == b"K":
            if count == 2 or (count == 0 and self._fresh):
                self._changed[self._row] = (True, b"\x1b[K")
        elif kind == b"J":
            for row in range(
                self._row if self._fresh else self._row + 1, min(self._bottom, self._row + 200) + 1
            ):
                self._changed[row] = (True, b"\x1b[K")
        elif self._fresh:  # a colour, or what moves nothing
            self._colours += sequence
        else:
            self._add(sequence, replaces=False)

    def _add_colours(self) -> None:
        if self._colours:
            self._add(self._colours, replaces=False)
            self._colours = b""

    def _show(self) -> bytes:
        self._add_colours()
        shown: list[bytes] = []
        for row in sorted(self._changed):
            replaces, text = self._changed[row]
            shown.append(self._go_to(row))
            if replaces and not self._shown_fresh:
                shown.append(b"\r")
            shown.append(text)
            self._shown_fresh = False
        self._changed.clear()
        shown.append(self._go_to(self._row))
        return b"".join(shown)

    def _go_to(self, row: int) -> bytes:
        down, self._shown_row = row - self._shown_row, row
        if down > 0:
            self._shown_fresh = True
            return b"\n" * down
        return b"\x1b[%dA" % -down if down else b""


class Bounded:
    """A folded text of at most so many bytes; where it is cut stands a notice.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int, folding: Folding | None = None) -> None:
        self._folding = folding or Folding()
        self._left = limit
        self._limit = limit

    @property
    def full(self) -> bool:
        """Whether nothing more is kept."""
        return self._left < 0

    def feed(self, data: bytes, now: float) -> bytes:
        """See `Folding.feed`."""
        return b"" if self.full else self._cut(self._folding.feed(data, now))

    def flush(self) -> bytes:
        """See `Folding.flush`."""
        return b"" if self.full else self._cut(self._folding.flush())

    def _cut(self, text: bytes) -> bytes:
        if len(text) <= self._left:
            self._left -= len(text)
            return text
        kept = text[: self._left]
        self._left = -1
        return (
            kept
            + (
                f"\n[runstream: {self._limit:,} bytes of the console are kept, what follows is not; "
                "RUNSTREAM_CONSOLE_LIMIT sets how many]\n"
            ).encode()
        )


def folded(path: Path, limit: int, begin: int = 0) -> IO[bytes]:
    """A file's text, folded and bounded, in a file without a name.

    Args:
        begin: bytes of it that are passed over.
    """
    text = Bounded(limit)
    copy: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    with path.open("rb") as stream:
        stream.seek(begin)
        while (piece := stream.read(1 << 20)) and not text.full:
            copy.write(text.feed(piece, 0.0))
    copy.write(text.flush())
    copy.seek(0)
    return copy
