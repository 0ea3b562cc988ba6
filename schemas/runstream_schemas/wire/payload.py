"""Points of one run as columns, packed: the payload of a metrics event and of a chunk of the hot tier.

Layout (little-endian)::

    "RP" version:u1 flags:u1 header_size:u4 | header (msgpack) | block ... | order section

A *block* holds whole series (at least `BLOCK_POINTS` points where there are as many), so that one series of a large chunk is
read by a substring. Steps, times and integers are stored as differences to the point before, less their minimum, in the
fewest whole bytes, byte plane by byte plane; floats byte plane by byte plane; then zstd. The *order section* tells which
point belonged to which series, in order of logging, and its slot in the spool: with it a batch can be cut anywhere.

The header begins with the series and their counts: an array of [class, name, column, kind] and one of counts. Of `WIDE`
series and more (version 2) these two are one element, a zstd frame of the msgpack array [classes, kinds, counts, names,
columns]: bytes of one (counts: four) each, then texts, joined by NUL where none has one, no columns where all are empty.
Names are most of such a batch, and whoever looks for one of them need not take all apart.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from ..limits import MAX_EVENT_POINTS
from ..series import Kind
from .points import I8, Points, count_below, order_dtype

BLOCK_POINTS = 4096
"""Points from which a block is closed at the next border between series."""

VERSION = 1
"""Of the layout."""
WIDE_VERSION = 2
"""Of the layout of wide batches."""
WIDE = 1024
"""Series from which a batch is a wide one."""
PREFIX = struct.Struct("<2sBBI")
"""Magic, version, flags, bytes of the header."""
FLAG_ZSTD = 1
"""The sections are zstd frames."""
MIN_COMPRESSED = 512
"""Bytes of the sections below which zstd costs more time than it saves bytes."""
WIDTHS: dict[int, np.dtype[Any]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
"""Type of a column's differences, by the bytes each takes."""
_local = threading.local()  # zstd contexts are costly to make and not thread-safe


def encode_points(points: Points) -> bytes:
    """Pack `points`.

    Raises:
        ValueError: the columns contradict each other, or there are more than `limits.MAX_EVENT_POINTS` points.
    """
    n = len(points.order)
    if not (
        len(points.seqs)
        == len(points.steps)
        == len(points.times)
        == len(points.values)
        == n
        == int(points.counts.sum())
    ):
        raise ValueError("columns of different lengths")
    if n > MAX_EVENT_POINTS:
        raise ValueError(f"{n} points in one batch, the most is {MAX_EVENT_POINTS}")
    kinds = [kind for _, kind in points.series]
    if kinds != sorted(kinds):
        points = _by_kind(points)
        kinds = [kind for _, kind in points.series]
    counts = points.counts
    ends = np.cumsum(counts)
    starts = ends - counts
    # Of a short run's few points each numpy call costs more than the points: what is small is counted in Python.
    lengths: list[int] = counts.tolist()
    n_float = sum(lengths[: count_below(kinds, Kind.INT)])
    n_text_start = sum(lengths[: count_below(kinds, Kind.TEXT)])
    n_valued = sum(lengths[: count_below(kinds, Kind.NULL)])

    inside = _inside(starts, n)
    steps = _narrow(points.steps, starts, inside)
    times = _narrow(points.times, starts, inside)
    texts = [text.encode() for text in points.texts]
    ints = points.values[n_float:n_valued].view(np.int64)
    if n_valued > n_text_start:
        ints = ints.copy()
        ints[n_text_start - n_float :] = [len(text) for text in texts]
    if len(ints):
        int_starts = starts[(starts >= n_float) & (starts < n_valued) & (counts > 0)] - n_float
        numbers = _narrow(ints, int_starts, _inside(int_starts, len(ints)))
    else:
        numbers = _Narrow((0, 0), None)
    floats = points.values[:n_float]

    blocks: list[list[int]] = []  # [series, bytes]
    sections: list[bytes] = []
    first = 0
    while first < len(kinds):
        last = first
        held = lengths[first]
        while last + 1 < len(kinds) and held < BLOCK_POINTS and kinds[last + 1] == kinds[first]:
            last += 1
            held += lengths[last]
        a, b = int(starts[first]), int(ends[last])
        some = starts[first : last + 1]
        parts = [
            _firsts(points.steps, some, n),
            _planes(steps, a, b),
            _firsts(points.times, some, n),
            _planes(times, a, b),
        ]
        kind = kinds[first]
        if kind == Kind.FLOAT:
            parts.append(floats[a:b].view(np.uint8).reshape(-1, 8).T.tobytes())
        elif kind != Kind.NULL:
            parts.append(_firsts(ints, some - n_float, len(ints)))
            parts.append(_planes(numbers, a - n_float, b - n_float))
            if kind == Kind.TEXT:
                parts.append(b"".join(texts[a - n_text_start : b - n_text_start]))
        sections.append(b"".join(parts))
        blocks.append([last - first + 1, 0])
        first = last + 1
    relative = _narrow(points.seqs, np.zeros(1 if n else 0, dtype=np.int64), 1 if n > 1 else -1)
    order = points.order.astype(order_dtype(len(kinds)), copy=False)
    sections.append((order.tobytes() if len(kinds) > 1 else b"") + _planes(relative, 0, n))

    flags = 0
    if sum(map(len, sections)) >= MIN_COMPRESSED:
        flags = FLAG_ZSTD
        compress = compressor().compress
        sections = [compress(section) for section in sections]
    for block, section in zip(blocks, sections[:-1], strict=True):
        block[1] = len(section)
    wide = len(kinds) >= WIDE
    header = msgpack.packb(
        [
            *(
                [_wide_series(points)]
                if wide
                else [[[key.cls, key.name, key.column, int(kind)] for key, kind in points.series], lengths]
            ),
            blocks,
            [len(sections[-1]), int(points.seqs[0]) if n else 0],
            [steps.head, times.head, numbers.head, relative.head],
        ]
    )
    version = WIDE_VERSION if wide else VERSION
    return b"".join([PREFIX.pack(b"RP", version, flags, len(header)), header, *sections])


def _wide_series(points: Points) -> bytes:
    keys, kinds = zip(*points.series, strict=True)
    classes, names, columns = zip(*keys, strict=True)
    joined = "\0".join(names)
    content = [
        bytes(classes),
        bytes(kinds),
        points.counts.astype("<u4").tobytes(),
        joined if joined.count("\0") == len(names) - 1 else names,
        columns if any(columns) else None,
    ]
    return compressor().compress(msgpack.packb(content))


@dataclass(slots=True)
class _Narrow:
    """Differences less their minimum, in the fewest bytes; `array` is None when all are the same."""

    head: tuple[int, int]  # (bytes a value, minimum)
    array: NDArray[Any] | None


def _inside(starts: I8, n: int) -> int:
    """Place of the first point that has one of its series before it; -1: there is none. `starts`: of each series."""
    after = np.empty(len(starts), dtype=np.int64)
    after[:-1] = starts[1:]
    after[-1:] = n
    long = (after - starts) > 1
    at = int(long.argmax()) if len(long) else 0
    return int(starts[at]) + 1 if len(long) and long[at] else -1


def _narrow(column: NDArray[Any], starts: I8, inside: int) -> _Narrow:
    """Narrow a column of series that begin at `starts`; `inside` as `_inside` tells it."""
    n = len(column)
    if inside < 0:
        return _Narrow((0, 0), None)
    delta = np.empty(n, dtype=np.int64)
    np.subtract(column[1:], column[:-1], out=delta[1:])
    # A border between series is a jump that means nothing: it takes the value of some difference inside a series.
    delta[starts if starts[-1] < n else starts[starts < n]] = delta[inside]
    low, high = int(delta.min()), int(delta.max())
    if low == high:
        return _Narrow((0, low), None)
    spread = high - low
    width = 1 if spread < 1 << 8 else 2 if spread < 1 << 16 else 4 if spread < 1 << 32 else 8
    np.subtract(delta, low, out=delta)  # wraps for a spread beyond 63 bits, and wraps back when read
    return _Narrow(
        (width, low), delta.astype(WIDTHS[width], copy=False) if width < 8 else delta.view(np.uint64)
    )


def _planes(narrow: _Narrow, a: int, b: int) -> bytes:
    width = narrow.head[0]
    if narrow.array is None:
        return b""
    part = narrow.array[a:b]
    return part.tobytes() if width == 1 else part.view(np.uint8).reshape(-1, width).T.tobytes()


def _firsts(column: NDArray[Any], starts: I8, n: int) -> bytes:
    return column[np.minimum(starts, n - 1)].tobytes() if n else b"\0" * (8 * len(starts))


def _by_kind(points: Points) -> Points:
    new = sorted(range(len(points.series)), key=lambda i: points.series[i][1])
    rank = np.empty(len(new), dtype=np.int64)
    rank[new] = np.arange(len(new))
    starts = points.starts
    take = (
        np.concatenate([np.arange(starts[i], starts[i] + points.counts[i]) for i in new]) if new else starts
    )
    return Points(
        series=[points.series[i] for i in new],
        order=rank[points.order].astype(order_dtype(len(new))),
        seqs=points.seqs,
        steps=points.steps[take],
        times=points.times[take],
        values=points.values[take],
        texts=points.texts,  # TEXT is one kind, so its points keep their order
        counts=points.counts[new],
    )


def compressor() -> zstandard.ZstdCompressor:
    """This thread's."""
    try:
        return _local.compressor  # type: ignore[no-any-return]
    except AttributeError:
        _local.compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        return _local.compressor  # type: ignore[no-any-return]
