"""Reads `.wandb` files, which W&B's offline mode writes: the log format of LevelDB, with CRC-32 of zlib.

A file is made of blocks of 32 KiB, these of chunks: checksum, length and type before the bytes; a record is one chunk or
several. What is damaged is passed over up to the next correct chunk, in the same block or the next; a torn end waits for its
rest. A reader holds some megabytes of a file, however large that is.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from ..tensorboard.records import Damage

BLOCK_BYTES = 32 << 10
CHUNK_BYTES = 4 << 20
"""Bytes of a file whose records are read at a time."""
MAX_RECORD_BYTES = 256 << 20
"""Largest record that is read; a larger one is passed over, and noted."""
HEADER = b":W&B\xe1\xbe\x00"
"""What a file begins with: name, number and version of the format."""

_HEAD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_TYPE_CRC = [zlib.crc32(bytes([kind])) for kind in range(256)]


@dataclass(slots=True)
class WandbFile:
    """Reads the records of one file, from a position on; may be asked again when the file has grown.

    Attributes:
        path: the file.
        position: the place behind the last record that was read.
        damage: what was passed over.
    """

    path: Path
    position: int = len(HEADER)
    damage: list[Damage] = field(default_factory=list)

    def begins_right(self) -> bool:
        """Whether it is a file of this format, as far as it is there.

        Raises:
            OSError: the file cannot be read.
        """
        with open(self.path, "rb") as stream:
            return stream.read(len(HEADER)) == HEADER

    def read(
        self, end: int | None = None, *, past_damage: bool = True, size: int = CHUNK_BYTES
    ) -> list[bytes]:
        """The next whole records, about `size` bytes of them; none: there is nothing more at present.

        Args:
            end: read no record that ends behind this position.
            past_damage: pass over damage in the last block too; else stop before it: it may be a write that is not all
                visible yet.
            size: stop behind so many bytes.

        Raises:
            OSError: the file cannot be read.
        """
        with open(self.path, "rb", buffering=0) as stream:
            whole = os.fstat(stream.fileno()).st_size
            return self._read(stream.fileno(), whole if end is None else min(end, whole), past_damage, size)

    def _read(self, descriptor: int, stop: int, past_damage: bool, size: int) -> list[bytes]:
        records: list[bytes] = []
        parts: list[bytes] = []
        first = at = base = self.position
        length_of_parts, data = 0, b""
        limit = self.position + size
        while at < limit or parts:
            left = BLOCK_BYTES - at % BLOCK_BYTES
            if left < _HEAD.size:
                at += left
                continue
            if at + left > base + len(data) and base + len(data) < stop:
                base, data = at, os.pread(descriptor, max(0, min(max(size, BLOCK_BYTES), stop - at)), at)
            place = at - base
            if place + _HEAD.size > len(data):
                break
            crc, length, kind = _HEAD.unpack_from(data, place)
            behind = place + _HEAD.size + length
            fits = _HEAD.size + length <= left
            if fits and at + _HEAD.size + length > stop:
                break
            chunk = data[place + _HEAD.size : behind] if fits else b""
            if not fits or not _FULL <= kind <= _LAST or zlib.crc32(chunk, _TYPE_CRC[kind]) != crc:
                next_at = at + _HEAD.size + length
                if not (fits and length and _is_chunk(data, next_at - base, left - _HEAD.size - length)):
                    next_at = at + left
                if next_at > stop or (next_at + BLOCK_BYTES > stop and not past_damage):
                    break
                self._pass_over(first, next_at, "a checksum that is wrong")
                parts, length_of_parts, first = [], 0, next_at
                at = self.position = next_at
                continue
            at += _HEAD.size + length
            if kind in (_FULL, _FIRST):
                if parts:
                    self._pass_over(first, at - _HEAD.size - length, "a record without its end")
                    parts, length_of_parts = [], 0
                first = at - _HEAD.size - length
            elif not parts:  # the rest of a record whose beginning was passed over
                self._pass_over(first, at, "a record without its beginning")
                first = self.position = at
                continue
            parts.append(chunk)
            length_of_parts += length
            if length_of_parts > MAX_RECORD_BYTES:
                self._pass_over(first, at, f"a record of more than {MAX_RECORD_BYTES >> 20} MiB")
                parts, length_of_parts, first, self.position = [], 0, at, at
            elif kind in (_FULL, _LAST):
                records.append(parts[0] if len(parts) == 1 else b"".join(parts))
                parts, length_of_parts, first, self.position = [], 0, at, at
        return records

    def _pass_over(self, start: int, end: int, reason: str) -> None:
        if self.damage and self.damage[-1].start + self.damage[-1].size == start:
            before = self.damage.pop()
            start, reason = before.start, before.reason
        self.damage.append(Damage(start, end - start, reason))


def _is_chunk(data: bytes, place: int, left: int) -> bool:
    """Whether a correct chunk lies at a place of which `left` bytes of the block are left."""
    if left < _HEAD.size or place + _HEAD.size > len(data):
        return False
    crc, length, kind = _HEAD.unpack_from(data, place)
    behind = place + _HEAD.size + length
    if _HEAD.size + length > left or behind > len(data) or not _FULL <= kind <= _LAST:
        return False
    return zlib.crc32(data[place + _HEAD.size : behind], _TYPE_CRC[kind]) == int(crc)


def find(directory: Path) -> list[Path]:
    """The `.wandb` files below a directory, each once, links of directories (`latest-run`) not followed; in order of paths.

    Raises:
        OSError: the directory itself cannot be listed.
    """
    os.scandir(directory).close()
    paths: list[Path] = []
    for folder, folders, files in os.walk(directory):
        folders.sort()
        folders[:] = [name for name in folders if name not in ("files", "logs", "tmp")]
        paths += [Path(folder, name) for name in sorted(files) if name.endswith(".wandb")]
    return paths
