"""A segment as its reader has it in memory."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import SpoolError

from . import segment as seg

_WORD = struct.Struct("<Q")


@dataclass(slots=True)
class ReadSegment:
    """A segment in memory.

    Attributes:
        words: the publishing words of its slots.
        definitions: bodies of the frames read in it that define series.
    """

    header: seg.Header
    path: Path
    mapped: Any
    words: NDArray[np.uint64]
    definitions: list[bytes] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> ReadSegment:
        """Map a segment.

        Raises:
            SpoolError: it is damaged.
            FileNotFoundError: it is gone.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            header = seg.read_header(os.pread(descriptor, seg.HEADER_BYTES, 0), str(path))
            if size < seg.HEADER_BYTES + header.slots * seg.SLOT:
                raise SpoolError(
                    f"{path}: cut at {size} bytes, its header promises {header.slots} slots; the file is damaged"
                )
            mapped = seg.map_file(descriptor, size)
        finally:
            os.close(descriptor)
        words = np.frombuffer(
            seg.as_bytes(mapped), dtype=np.uint64, count=4 * header.slots, offset=seg.HEADER_BYTES
        ).reshape(-1, 4)[:, 3]
        return cls(header, path, mapped, words)

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

    def slots(self, start: int, end: int) -> NDArray[np.int64]:
        """The words of the slots [start, end), of the mapping itself: to be encoded before the segment is given back."""
        raw = np.frombuffer(
            seg.as_bytes(self.mapped),
            dtype=np.int64,
            count=4 * (end - start),
            offset=seg.HEADER_BYTES + seg.SLOT * start,
        )
        return raw.reshape(-1, 4)

    def frame_head(self, slot: int) -> tuple[int, int, float, int]:
        """Bytes, checksum, time and kind of the frame that begins in `slot`."""
        head: tuple[int, int, float, int] = seg.FRAME_HEAD.unpack_from(
            self.mapped, seg.HEADER_BYTES + seg.SLOT * slot
        )
        return head

    def body(self, slot: int, size: int) -> bytes:
        """What a frame holds that begins in `slot`; less than `size` bytes if the segment ends before."""
        offset = seg.HEADER_BYTES + seg.SLOT * (slot + 1)
        body: bytes = self.mapped[offset : offset + size]
        return body


def closed_segment(directory: Path) -> seg.Header | None:
    """The header of a source's only segment, if its writer has closed it; looked at without mapping anything.

    Raises:
        SpoolError: it is damaged.
        OSError: it cannot be read.
    """
    names = [name for name in os.listdir(directory) if name.endswith(".seg")]
    if len(names) != 1:
        return None
    with open(directory / names[0], "rb", buffering=0) as file:
        data = file.read(seg.HEADER_BYTES)
    header = seg.read_header(data, str(directory / names[0]))
    return header if _WORD.unpack_from(data, seg.STATE_AT)[0] & seg.CLOSED else None
