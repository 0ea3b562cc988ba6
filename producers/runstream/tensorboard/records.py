"""TFRecord framing, the outer format of event files: length, its checksum, the record, its checksum.

A reader takes what is whole and correct, and tells a torn end (a file that grows) from damage (bytes that are wrong, with
correct records behind them). It holds a few megabytes of a file, however large that is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HEADER_BYTES, FOOTER_BYTES = 12, 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES
"""What a record takes beside its own bytes."""
MAX_RECORD_BYTES = 256 << 20
"""Largest record that is read; a larger one is passed over, and noted."""
CHUNK_BYTES = 4 << 20
"""Bytes read from a file at a time."""

_HEADER, _CRC = struct.Struct("<QI"), struct.Struct("<I")
_KNOWN_LENGTHS = 4096


def _checksum() -> Callable[[bytes], int]:
    # aiokafka, which the client depends on, has CRC-32C as C; its package is imported here and not by `import runstream`.
    from aiokafka.record.util import calc_crc32c

    checksum: Callable[[bytes], int] = calc_crc32c
    return checksum


crc32c = _checksum()
"""CRC-32C of bytes."""


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated and moved as TFRecord wants it, so that a checksum of checksums is none."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """A record with its frame."""
    length = len(record).to_bytes(8, "little")
    return b"".join((length, _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))))


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that hold no correct record.

    Attributes:
        start: where the first one begins.
        size: how many.
        reason: what is wrong with them.
    """

    start: int
    size: int
    reason: str


@dataclass(slots=True)
class RecordFile:
    """Reads the records of one file, from a position on; may be asked again when the file has grown.

    Attributes:
        path: the file.
        position: the place behind the last record that was read.
        damage: what was passed over.
    """

    path: Path
    position: int = 0
    damage: list[Damage] = field(default_factory=list)
    _lengths: dict[bytes, int] = field(default_factory=dict)
    _sought: tuple[int, int] = (
        -1,
        0,
    )  # of a search for the next record: where it began, and where it continues

    def read(self, end: int | None = None, *, past_damage: bool = True) -> list[bytes]:
        """The next whole records, about `CHUNK_BYTES` of them; none: there is nothing more at present.

        Args:
            end: read no record that ends behind this position.
            past_damage: continue behind damage; else stop before it: it may be a write that is not all visible yet.

        Raises:
            OSError: the file cannot be read.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                records, needed = self._chunk(descriptor, CHUNK_BYTES, end)
                if not records and needed > CHUNK_BYTES:
                    if needed > MAX_RECORD_BYTES + FRAME_BYTES:
                        if not self._pass_over(descriptor, needed, end):
                            return []
                        continue
                    records, needed = self._chunk(descriptor, needed, end)
                if records or needed >= 0:
                    return records
                if not past_damage or not self._resume(descriptor, end):
                    return []
        except OSError as error:
            error.filename = error.filename or os.fspath(self.path)
            raise
        finally:
            os.close(descriptor)

    def _chunk(self, descriptor: int, size: int, end: int | None) -> tuple[list[bytes], int]:
        """Records from the position on, and how many bytes the one behind them takes: -1 when it is damaged, 0 when the file
        ends where that would begin."""
        if end is not None:
            size = min(size, end - self.position)
        data = os.pread(descriptor, max(size, 0), self.position)
        records: list[bytes] = []
        at, stop, needed = 0, len(data), 0
        lengths, crc, unpack = self._lengths, crc32c, _CRC.unpack_from
        while at + HEADER_BYTES <= stop:
            header = data[at : at + HEADER_BYTES]
            length = lengths.get(header, -1)
            if length < 0:
                length = self._length(header)
                if length < 0:
                    needed = -1
                    break
            behind = at + HEADER_BYTES + length
            if behind + FOOTER_BYTES > stop:
                needed = length + FRAME_BYTES
                break
            record = data[at + HEADER_BYTES : behind]
            c = crc(record)
            if unpack(data, behind)[0] != ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF:
                needed = -1
                break
            records.append(record)
            at = behind + FOOTER_BYTES
        self.position += at
        return records, needed

    def _length(self, header: bytes) -> int:
        """Length of the record behind a header; -1 when its checksum is wrong."""
        length, stored = _HEADER.unpack(header)
        if stored != masked_crc(header[:8]):
            return -1
        if len(self._lengths) < _KNOWN_LENGTHS:
            self._lengths[header] = length
        return int(length)

    def _pass_over(self, descriptor: int, size: int, end: int | None) -> bool:
        """Go behind a record that is too large to be read, if it is all there."""
        if self.position + size > (os.fstat(descriptor).st_size if end is None else end):
            return False
        self.damage.append(Damage(self.position, size, f"a record of more than {MAX_RECORD_BYTES >> 20} MiB"))
        self.position += size
        return True

    def _resume(self, descriptor: int, end: int | None) -> bool:
        """Go to the next correct record behind a damaged one; False: there is none, so that this may be a torn end."""
        stop = os.fstat(descriptor).st_size if end is None else end
        started, at = self._sought
        if started != self.position:
            at = self.position + 1
        unfinished = -1
        while at + FRAME_BYTES <= stop:
            data = os.pread(descriptor, min(CHUNK_BYTES, stop - at), at)
            for candidate in _candidates(data):
                header = data[candidate : candidate + HEADER_BYTES]
                length, stored = _HEADER.unpack(header)
                if stored != masked_crc(header[:8]) or length > MAX_RECORD_BYTES:
                    continue
                if at + candidate + FRAME_BYTES + length > stop:
                    unfinished = at + candidate if unfinished < 0 else unfinished
                elif self._is_correct(descriptor, at + candidate, length):
                    self.damage.append(
                        Damage(self.position, at + candidate - self.position, "a checksum that is wrong")
                    )
                    self.position = at + candidate
                    return True
            if len(data) < FRAME_BYTES:
                break
            at += len(data) - HEADER_BYTES + 1
        # When the file has grown: from here on, or from a record whose end was not there yet.
        self._sought = (self.position, at if unfinished < 0 else unfinished)
        return False

    def _is_correct(self, descriptor: int, at: int, length: int) -> bool:
        record = os.pread(descriptor, length + FOOTER_BYTES, at + HEADER_BYTES)
        return len(record) > length and _CRC.unpack_from(record, length)[0] == masked_crc(record[:length])


def _candidates(data: bytes) -> list[int]:
    """Where in `data` a header may begin: by a length below 4 GiB that is not 0."""
    count = len(data) - HEADER_BYTES + 1
    if count <= 0:
        return []
    octets = np.frombuffer(data, dtype=np.uint8)
    high = octets[4 : 4 + count] | octets[5 : 5 + count] | octets[6 : 6 + count] | octets[7 : 7 + count]
    low = octets[:count] | octets[1 : 1 + count] | octets[2 : 2 + count] | octets[3 : 3 + count]
    places: list[int] = np.flatnonzero((high == 0) & (low != 0)).tolist()
    return places
