"""A segment as its reader has it in memory: mapped while its writer writes, and read once it has closed it."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import SpoolError

from .. import segment as seg
from .positions import Positions

_WORD = struct.Struct("<Q")


@dataclass(slots=True)
class ReadSegment:
    """A segment in memory.

    Attributes:
        words: the publishing words of its slots.
        mapped: its bytes: the mapping, or a copy of what was closed.
        definitions: bodies of the frames read in it that define series.
        copied: `mapped` is a copy: what is noted has to be written.
    """

    header: seg.Header
    path: Path
    mapped: Any
    words: NDArray[np.uint64]
    definitions: dict[bytes, None] = field(default_factory=dict)
    copied: bool = False

    @classmethod
    def open(cls, path: Path) -> ReadSegment:
        """Map a segment.

        Raises:
            SpoolError: it is damaged.
            FileNotFoundError: it is gone.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            head = os.pread(descriptor, seg.HEADER_BYTES, 0)
            header = seg.read_header(head, str(path))
            size = os.fstat(descriptor).st_size
            if size < seg.HEADER_BYTES + header.slots * seg.SLOT:
                raise SpoolError(
                    f"{path}: cut at {size} bytes, its header promises {header.slots} slots; the file is damaged"
                )
            # Mapping a file, and the first look at each page, cost more than reading a small one. What is read after its
            # header said that it is closed is whole, and stays as it is.
            copied = bool(_WORD.unpack_from(head, seg.STATE_AT)[0] & seg.CLOSED) and size == seg.SMALLEST
            mapped: Any = bytearray(size if copied else 0)
            if not copied or os.preadv(descriptor, [mapped], 0) < size:
                copied = False
                mapped = seg.map_file(descriptor, size)
        finally:
            os.close(descriptor)
        words = np.frombuffer(
            seg.as_bytes(mapped), dtype=np.uint64, count=4 * header.slots, offset=seg.HEADER_BYTES
        ).reshape(-1, 4)[:, 3]
        return cls(header, path, mapped, words, copied=copied)

    @property
    def end(self) -> int:
        """Seq of the slot after its last one."""
        return self.header.first + self.header.slots

    def word(self, at: int) -> int:
        """A word of the header that changes (`segment.STATE_AT`, ...)."""
        return int(_WORD.unpack_from(self.mapped, at)[0])

    def set_word(self, at: int, value: int) -> None:
        """Write a word of the header."""
        _WORD.pack_into(self.mapped, at, value)
        self._write(at, at + _WORD.size)

    def note(self, positions: Positions) -> None:
        """Write positions into the header."""
        positions.write(self.mapped)
        self._write(min(positions.AT), max(positions.AT) + _WORD.size)

    def _write(self, start: int, end: int) -> None:
        """Bytes of the header, where this is a copy. Of a file that is gone there is nothing to note."""
        if not self.copied:
            return
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, self.mapped[start:end], start)
            finally:
                os.close(descriptor)

    def slots(self, start: int, end: int) -> NDArray[np.int64]:
        """The words of the slots [start, end), of the mapping itself: to be encoded before the segment is given back."""
        raw = np.frombuffer(
            seg.as_bytes(self.mapped),
            dtype=np.int64,
            count=4 * (end - start),
            offset=seg.HEADER_BYTES + seg.SLOT * start,
        )
        return raw.reshape(-1, 4)


def closed_segment(directory: Path) -> seg.Header | None:
    """The header of a source's only segment, if its writer has closed it; looked at without mapping anything.

    Raises:
        SpoolError: it is damaged.
        OSError: it cannot be read.
    """
    path = f"{directory}/{seg.segment_name(0)}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it has others, or none yet
        return None
    try:
        data = os.pread(descriptor, seg.HEADER_BYTES, 0)
    finally:
        os.close(descriptor)
    header = seg.read_header(data, path)
    # A closed segment is a source's last: the first one is the only one then.
    return header if _WORD.unpack_from(data, seg.STATE_AT)[0] & seg.CLOSED else None
