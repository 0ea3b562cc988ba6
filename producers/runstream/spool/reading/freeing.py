"""Giving back what was read and is stored: segments, for their writer to use again, and whole sources."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Executor
from pathlib import Path

from .. import segment as seg
from .read_segment import ReadSegment
from .series_names import save_names

SPARE_SEGMENTS = 2
"""Read segments kept for the writer to use again."""


class Freeing:
    """Frees the files of one source.

    Args:
        directory: the directory of the source.
        tidier: does what the disk may take its time for; None: done at once.
    """

    def __init__(self, directory: Path, tidier: Executor | None) -> None:
        self._directory, self._tidier = directory, tidier
        self._waiting: deque[tuple[Path, list[bytes], bool]] = deque()

    def free_segment(self, segment: ReadSegment, reuse: bool) -> None:
        """Free a segment that nobody reads any more.

        Args:
            reuse: leave it to the writer, which is still at work.
        """
        if self._tidier is None:
            self._give_back(segment, reuse)
        else:
            self._tidier.submit(self._give_back, segment, reuse)

    def _give_back(self, segment: ReadSegment, reuse: bool) -> None:
        """Free the file, and those that a full disk kept from it.

        The memory goes with the last reference to `segment`, which costs as much.
        """
        self._waiting.append((segment.path, list(segment.definitions), reuse))
        for _ in range(len(self._waiting)):
            path, definitions, reuse = self._waiting.popleft()
            try:
                save_names(self._directory, definitions)
                spare = (
                    sum(1 for name in os.listdir(self._directory) if name.endswith(".free")) if reuse else 0
                )
                if reuse and spare < SPARE_SEGMENTS:
                    os.rename(path, path.with_suffix(".free"))
                else:
                    os.unlink(path)
            except FileNotFoundError:  # the whole source was removed meanwhile
                pass
            except OSError:  # no room for the names: others may be freed first
                self._waiting.append((path, definitions, reuse))

    def remove_source(self, *, keep: bool) -> bool:
        """Take the directory out of the spool; whether it is kept for another source, as `keep` asks for. Else
        `Leftovers.delete_gone` deletes it."""
        try:
            return seg.give_back_source(self._directory.parent, self._directory, keep=keep)
        except OSError:  # somebody else removed it
            seg.delete_source(self._directory)
            return False
