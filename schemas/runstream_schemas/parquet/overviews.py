"""Overviews of long series, in the Parquet file that holds their points.

A chart of ten million points is made of a thousand buckets of them. Of each row group that holds one series, `FINENESS`
buckets are kept in the file, so that nobody has to read the points to draw it: a hundredth of the file's bytes. They lie
between the last page and the footer's seal, where readers look at nothing::

    pages | page index | overviews | bytes:u4 crc32:u4 "RSO2" | seal | footer

They are a msgpack map of row groups to zstd frames, each of a msgpack list: what a chart needs of a file of hundreds of row
groups is unpacked, and no more. In files that end in "RSO1" they are one zstd frame, of a list of all.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import zstandard

from ..buckets import F8, I8, Buckets, bucket_size
from ..errors import StoreError
from .footer_seal import seal_start

LEAST_POINTS: Final = 1 << 16
"""Points of a row group from which it has an overview: fewer are read as quickly."""
FINENESS: Final = 1024
"""Most buckets of a row group, which has a million points at most."""

_MAGIC, _FORMER = b"RSO2", b"RSO1"
_TRAILER = struct.Struct("<II4s")
_COLUMNS = {"x": "<i8", "last": "<f8", "low": "<f8", "high": "<f8", "marks": "u1", "n": "<i8"}  # of `Buckets`
_MOST_BYTES, _FORMER_MOST_BYTES = 1 << 20, 256 << 20  # unpacked: of one; of all of a file


@dataclass(frozen=True, slots=True)
class GroupOverview:
    """Of a row group's only series.

    Attributes:
        size: steps a bucket spans, a power of two.
        distinct: whether no step occurs twice.
    """

    size: int
    distinct: bool
    buckets: Buckets

    @property
    def points(self) -> int:
        """How many points it stands for."""
        return int(self.buckets.n.sum())

    @property
    def last(self) -> int:
        """The last step."""
        return int(self.buckets.x[-1])

    @classmethod
    def of(cls, steps: I8, values: F8, size: int | None = None) -> GroupOverview | None:
        """Of the points in their order; None: their steps fall somewhere, or there are none.

        Args:
            size: steps a bucket spans; None: what gives `FINENESS` buckets.
        """
        if not len(steps):
            return None
        rising = steps[1:] > steps[:-1]
        distinct = bool(rising.all())
        if not distinct and bool(np.any(steps[1:] < steps[:-1])):
            return None
        size = size or bucket_size(int(steps[0]), int(steps[-1]), FINENESS)
        return cls(size, distinct, Buckets.of(steps, values, size))


def pack_overviews(overviews: Mapping[int, GroupOverview]) -> bytes:
    """What to write in front of the seal, by number of the row group."""
    if not overviews:
        return b""
    compress = zstandard.ZstdCompressor(level=3).compress
    packed: bytes = msgpack.packb(
        {number: compress(msgpack.packb(_columns(overview))) for number, overview in overviews.items()}
    )
    return packed + _TRAILER.pack(len(packed), zlib.crc32(packed), _MAGIC)


def _columns(overview: GroupOverview) -> list[Any]:
    columns = (
        getattr(overview.buckets, name).astype(dtype, copy=False).tobytes()
        for name, dtype in _COLUMNS.items()
    )
    return [overview.size, overview.distinct, *columns]


def read_overviews(source: Any, path: str, groups: Container[int]) -> dict[int, GroupOverview]:
    """The overviews a file has of some row groups, by their number.

    Args:
        source: the file, open for random access.
        path: what to call it.
        groups: the row groups wanted; the overviews of others are not unpacked.

    Raises:
        StoreError: they are damaged.
    """
    end = seal_start(source)
    if end < _TRAILER.size:
        return {}
    source.seek(end - _TRAILER.size)
    size, crc, magic = _TRAILER.unpack(source.read(_TRAILER.size))
    if magic not in (_MAGIC, _FORMER):
        return {}
    start = end - _TRAILER.size - size
    if start >= 0:
        source.seek(start)
        packed = source.read(size)
    if start < 0 or zlib.crc32(packed) != crc:
        raise StoreError(f"{path}: the overviews in it are damaged; restore the file from a backup")
    if magic == _FORMER:
        listed = msgpack.unpackb(_inflated(packed, _FORMER_MOST_BYTES))
        return {number: _overview(columns) for number, *columns in listed if number in groups}
    by_number = msgpack.unpackb(packed, strict_map_key=False)
    return {
        number: _overview(msgpack.unpackb(_inflated(packed_overview, _MOST_BYTES)))
        for number, packed_overview in by_number.items()
        if number in groups
    }


def overviews_start(source: Any) -> int:
    """Where a file's overviews begin, or would, if it had any."""
    end = seal_start(source)
    if end >= _TRAILER.size:
        source.seek(end - _TRAILER.size)
        size, _, magic = _TRAILER.unpack(source.read(_TRAILER.size))
        if magic in (_MAGIC, _FORMER):
            return max(end - _TRAILER.size - int(size), 0)
    return end


def _inflated(packed: bytes, most: int) -> bytes:
    if zstandard.frame_content_size(packed) > most:
        raise ValueError("overviews are too large")
    return zstandard.ZstdDecompressor().decompress(packed)


def _overview(columns: Sequence[Any]) -> GroupOverview:
    size, distinct, *arrays = columns
    buckets = (np.frombuffer(raw, dtype) for raw, dtype in zip(arrays, _COLUMNS.values(), strict=True))
    return GroupOverview(size, distinct, Buckets(*buckets))
