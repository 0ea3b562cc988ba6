"""The checksum of a Parquet file's footer.

Parquet has checksums for pages, and none for the footer that says where they lie and what they hold. With one bit of it
changed, rows would be left out silently, and pyarrow ends the whole process on some. So between the last page and the
footer, where readers look at nothing, lie eight bytes: `MAGIC` and the CRC-32 of the footer and its length.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from ..errors import StoreError

MAGIC = b"RSF1"
_SEAL = struct.Struct("<4sI")
_TAIL = struct.Struct("<I4s")  # length of the footer, Parquet's own magic bytes
_PARQUET = b"PAR1"


class SealingSink:
    """What a Parquet writer writes to, in place of `sink`: `seal` puts the checksum in front of the footer.

    Args:
        sink: a binary stream; it is not closed.
    """

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._at = 0
        self._held: bytearray | None = None

    def write(self, data: Any) -> int:
        """Write, or hold back what `hold` said is the end."""
        view = memoryview(data)
        if self._held is None:
            # A writer whose file was given up, and closed, still writes its end when it is collected: nobody misses it, for
            # `seal` cannot write to what is closed.
            if not self._sink.closed:
                self._sink.write(view)
        else:
            self._held += view
        self._at += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return self._at

    def writable(self) -> bool:
        """Always."""
        return True

    def flush(self) -> None:
        """Nothing is buffered here but the end."""

    def close(self) -> None:
        """The stream is somebody else's."""

    def hold(self) -> None:
        """What comes from now on is the end of the file: to be called before the Parquet writer is closed."""
        self._held = bytearray()

    def seal(self, before: bytes = b"") -> None:
        """Write the end with its checksum: to be called after the Parquet writer was closed.

        Args:
            before: what is to lie in front of the checksum, where readers of Parquet look at nothing.
        """
        assert self._held is not None
        end = bytes(self._held)
        length, _ = _TAIL.unpack(end[-_TAIL.size :])
        footer = end[-_TAIL.size - length :]
        self._sink.write(end[: -len(footer)] + before + _SEAL.pack(MAGIC, zlib.crc32(footer)) + footer)
        self._held = None


def check_footer(source: Any, path: str) -> None:
    """Compare a file's footer with its checksum, if it has one: files of older versions and of other programs do not.

    Args:
        source: the file, open for random access; left at its beginning.
        path: what to call it.

    Raises:
        StoreError: they differ.
    """
    start = seal_start(source)
    if start >= 0:
        source.seek(start)
        seal, checksum = _SEAL.unpack(source.read(_SEAL.size))
        if seal == MAGIC and zlib.crc32(source.read()) != checksum:
            raise StoreError(f"{path}: its footer is damaged; restore the file from a backup")
    source.seek(0)


def seal_start(source: Any) -> int:
    """Where the checksum of a file's footer begins, if it has one; -1: not a Parquet file."""
    size = source.size()
    source.seek(max(0, size - _TAIL.size))
    tail = source.read(_TAIL.size)
    if len(tail) < _TAIL.size:
        return -1
    length, magic = _TAIL.unpack(tail)
    return max(size - _TAIL.size - length - _SEAL.size, -1) if magic == _PARQUET else -1
