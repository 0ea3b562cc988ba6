"""The file `names` of a source: the series that segments defined which are gone."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

import msgpack

from runstream_schemas.series import SeriesKey

_ENTRY = struct.Struct("<II")  # bytes, checksum; the definition follows


def load_names(directory: Path) -> dict[int, SeriesKey]:
    """Series by the number the writer gave them."""
    names: dict[int, SeriesKey] = {}
    if not os.path.exists(f"{directory}/names"):  # most often
        return names
    data = (directory / "names").read_bytes()
    at = 0
    while at + _ENTRY.size <= len(data):
        size, crc = _ENTRY.unpack_from(data, at)
        body = data[at + _ENTRY.size : at + _ENTRY.size + size]
        if len(body) != size or zlib.crc32(body) != crc:
            break  # killed while appending: the segment is still there and defines them again
        number, cls, name, column = msgpack.unpackb(body)
        names[number] = SeriesKey(cls, name, column)
        at += _ENTRY.size + size
    if at < len(data):
        with open(directory / "names", "r+b") as file:
            file.truncate(at)
    return names


def save_names(directory: Path, definitions: list[bytes]) -> None:
    """Before a segment goes, what it defines has to be on disk elsewhere.

    Raises:
        OSError: no space; nothing was added.
    """
    if not definitions:
        return
    entries = b"".join(_ENTRY.pack(len(body), zlib.crc32(body)) + body for body in definitions)
    with open(directory / "names", "ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(entries) < len(entries):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)  # half an entry would hide the ones after it
            raise
