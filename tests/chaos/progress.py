"""How far a trainer has got, in a file that is mapped: exact to one call, also when the trainer is killed."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_COUNTS = struct.Struct("QQQQ16s")
FINISHING, FINISHED = 1, 2


@dataclass(frozen=True, slots=True)
class Progress:
    """What a trainer noted.

    Attributes:
        begun, returned: calls. One more may have begun than has returned.
        finishing: it was about to complete its run, which may take a while: a full disk is waited for.
        finished: it completed its run, and has ended.
        had_room: its records had room in the spool once, so that the run leaves a trace even if it is killed.
        program: one of PROGRAMS.
    """

    begun: int
    returned: int
    finishing: bool
    finished: bool
    had_room: bool
    program: str


class Notes:
    """Where a trainer notes it; made once the run has begun."""

    def __init__(self, path: Path, program: str) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(_COUNTS.pack(0, 0, 0, 0, program.encode()))
        descriptor = os.open(new, os.O_RDWR)
        # Words are stored in one piece; struct with a byte order of its own writes byte by byte.
        self._words = memoryview(mmap.mmap(descriptor, _COUNTS.size)).cast("Q")
        os.close(descriptor)
        new.rename(path)

    def note(self, which: int, count: int) -> None:
        """Set `begun` (0), `returned` (1), FINISHING or FINISHED (2), or `had_room` (3)."""
        self._words[which] = count


def read_progress(path: Path) -> Progress:
    """What a trainer noted last. `returned` is read first: both may grow meanwhile."""
    with path.open("rb") as file:
        _, returned, ending, had_room, _ = _COUNTS.unpack(file.read(_COUNTS.size))
        file.seek(0)
        begun, _, _, _, program = _COUNTS.unpack(file.read(_COUNTS.size))
    name = program.rstrip(b"\0").decode()
    return Progress(begun, returned, ending >= FINISHING, ending == FINISHED, bool(had_room), name)
