"""Overviews of series that share a row group, in the Parquet file that holds their points.

A workspace shows hundreds of runs, some hundred buckets of each of their metrics. Of each series of some thousand points its
buckets are kept in the file, so that a server that has just started reads these, and not the points of all series of all
runs. They lie in front of the overviews of long series (`overviews`)::

    pages | page index | frames | index | frames:u8 index:u4 crc32:u4 "RSS1" | overviews of long series | seal | footer

A frame is one series, compressed with zstd and a checksum of its own; the index says where each lies. Readers that do not
know them see a file without.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import zstandard

from ..buckets import F8, I8, Buckets, bucket_size
from ..errors import StoreError
from .overviews import overviews_start

LEAST_POINTS: Final = 4096
"""Points from which a series has one: fewer are read as quickly."""
FINENESS: Final = 512
"""Most buckets of a series."""
IN_A_BUCKET: Final = 32
"""Points a bucket has at least, if there is one a step: what is kept is a tenth of the file."""

_MAGIC = b"RSS1"
_TRAILER = struct.Struct("<QII4s")
_HEAD = struct.Struct("<qqqqq")  # size, first, last, total, origin
_WIDE = ("x", "last", "low", "high", "n")  # columns of `Buckets` of eight bytes; then the marks
_ENTRY = 8 * len(_WIDE) + 1
_GAP = 64 << 10  # bytes between two frames that are read along rather than passed over
_MOST_BYTES = 1 << 20  # of one frame, unpacked

SeriesName = tuple[str, str]
"""Run id and name of a metric."""


@dataclass(frozen=True, slots=True)
class SeriesOverview:
    """A series of one run in buckets.

    Attributes:
        size: steps a bucket spans, a power of two.
        first, last: least and greatest step.
        total: points.
        origin: the first time, microseconds since the epoch.
    """

    size: int
    buckets: Buckets
    first: int
    last: int
    total: int
    origin: int

    @classmethod
    def of(cls, steps: I8, times: I8, values: F8, *, least: int = 1) -> SeriesOverview:
        """Of points in any order of their steps; ties stay in theirs.

        Args:
            least: points a bucket has at least, if there is one a step.
        """
        if bool(np.any(steps[1:] < steps[:-1])):
            order = np.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
        first, last, total = int(steps[0]), int(steps[-1]), len(steps)
        size = bucket_size(first, last, min(FINENESS, -(-total // least) + 1))
        return cls(size, Buckets.of(steps, values, size), first, last, total, int(times.min()))

    @property
    def can_be_finer(self) -> bool:
        """Whether its points make finer buckets than it has."""
        return self.size > bucket_size(self.first, self.last, FINENESS)


class PackedOverviews:
    """Overviews of series as they are kept in a file, put together one by one."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress
        self._frames: list[bytes] = []
        self._entries: list[tuple[int, int, int]] = []
        self._runs: dict[str, int] = {}
        self._names: dict[str, int] = {}

    def add(self, of: SeriesName, overview: SeriesOverview) -> None:
        """One more."""
        frame = self._compress(_bytes(overview))
        run_id, name = of
        self._frames.append(frame)
        self._entries.append(
            (
                self._runs.setdefault(run_id, len(self._runs)),
                self._names.setdefault(name, len(self._names)),
                len(frame),
            )
        )

    def packed(self) -> bytes:
        """What to write in front of the overviews of long series."""
        if not self._frames:
            return b""
        columns = [np.array(column, dtype="<u4").tobytes() for column in zip(*self._entries, strict=True)]
        index: bytes = self._compress(msgpack.packb([list(self._runs), list(self._names), *columns]))
        packed = b"".join(self._frames)
        return packed + index + _TRAILER.pack(len(packed), len(index), zlib.crc32(index), _MAGIC)


def _bytes(overview: SeriesOverview) -> bytes:
    buckets = overview.buckets
    head = _HEAD.pack(overview.size, overview.first, overview.last, overview.total, overview.origin)
    wide = (getattr(buckets, name).astype("<i8" if name in "xn" else "<f8", copy=False) for name in _WIDE)
    return b"".join((head, *(column.tobytes() for column in wide), buckets.marks.tobytes()))


def read_series_overviews(
    source: Any, path: str, series: Collection[SeriesName]
) -> dict[SeriesName, SeriesOverview]:
    """Those a file has of some series; of a series that lies in several row groups, of one of them.

    Args:
        source: the file, open for random access.
        path: what to call it.

    Raises:
        StoreError: they are damaged.
    """
    end = overviews_start(source)
    if end < _TRAILER.size:
        return {}
    source.seek(end - _TRAILER.size)
    frames, index_size, crc, magic = _TRAILER.unpack(source.read(_TRAILER.size))
    if magic != _MAGIC:
        return {}
    start = end - _TRAILER.size - index_size - frames
    if start < 0:
        raise _damaged(path)
    source.seek(start + frames)
    packed = source.read(index_size)
    if zlib.crc32(packed) != crc:
        raise _damaged(path)
    runs, names, *columns = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(packed))
    run_of, name_of, sizes = (np.frombuffer(column, "<u4").astype(np.int64) for column in columns)
    begins = start + np.cumsum(sizes) - sizes
    chosen: list[tuple[SeriesName, int, int]] = []
    codes = {name: code for code, name in enumerate(names)}
    names_of_runs: dict[str, set[int]] = {}
    for run_id, name in series:
        if name in codes:
            names_of_runs.setdefault(run_id, set()).add(codes[name])
    of_runs = np.array([run_id in names_of_runs for run_id in runs], dtype=bool)
    for i in np.flatnonzero(of_runs[run_of]).tolist():
        run_id, code = runs[run_of[i]], int(name_of[i])
        if code in names_of_runs[run_id]:
            chosen.append(((run_id, names[code]), int(begins[i]), int(sizes[i])))
    return _read(source, path, chosen)


def _read(
    source: Any, path: str, chosen: list[tuple[SeriesName, int, int]]
) -> dict[SeriesName, SeriesOverview]:
    decompress = zstandard.ZstdDecompressor().decompress
    overviews: dict[SeriesName, SeriesOverview] = {}
    at = 0
    while at < len(chosen):
        start, stop, until = chosen[at][1], chosen[at][1], at
        while until < len(chosen) and chosen[until][1] - stop <= _GAP:
            stop = chosen[until][1] + chosen[until][2]
            until += 1
        source.seek(start)
        data = memoryview(source.read(stop - start))
        for key, begin, size in chosen[at:until]:
            frame = data[begin - start : begin - start + size]
            try:
                if not 0 < zstandard.frame_content_size(frame) <= _MOST_BYTES:
                    raise ValueError("too large")
                overviews[key] = _overview(decompress(frame))
            except (ValueError, struct.error, zstandard.ZstdError):
                raise _damaged(path) from None
        at = until
    return overviews


def _overview(raw: bytes) -> SeriesOverview:
    size, first, last, total, origin = _HEAD.unpack_from(raw)
    n, rest = divmod(len(raw) - _HEAD.size, _ENTRY)
    if rest or not n:
        raise ValueError("columns")
    columns = {
        name: np.frombuffer(raw, "<i8" if name in "xn" else "<f8", n, _HEAD.size + 8 * n * i)
        for i, name in enumerate(_WIDE)
    }
    marks = np.frombuffer(raw, np.uint8, n, _HEAD.size + 8 * n * len(_WIDE))
    return SeriesOverview(size, Buckets(**columns, marks=marks), first, last, total, origin)


def _damaged(path: str) -> StoreError:
    return StoreError(f"{path}: the overviews of series in it are damaged; restore the file from a backup")
