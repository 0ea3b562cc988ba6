"""Points of one run as columns, packed: the payload of a metrics event and of a chunk of the hot tier.

Layout (little-endian)::

    "RP" version:u1 flags:u1 header_size:u4 | header (msgpack) | block ... | order section

A *block* holds whole series (at least `BLOCK_POINTS` points where there are as many), so that one series of a large chunk is
read by a substring. Steps, times and integers are stored as differences to the point before, less their minimum, in the
fewest whole bytes, byte plane by byte plane; floats byte plane by byte plane; then zstd. The *order section* tells which
point belonged to which series, in order of logging, and its slot in the spool: with it a batch can be cut anywhere.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from .errors import CorruptEvent
from .limits import MAX_EVENT_BYTES, MAX_EVENT_POINTS
from .series import Kind, SeriesKey

BLOCK_POINTS = 4096
"""Points from which a block is closed at the next border between series."""

PREFIX_BYTES = 4096
"""How much of a payload to fetch for `read_index`: holds the header of all but very wide batches."""

_VERSION = 1
_PREFIX = struct.Struct("<2sBBI")
_FLAG_ZSTD = 1  # the sections are zstd frames
_MIN_COMPRESSED = 512  # below, zstd costs more time than it saves bytes
_WIDTHS: dict[int, np.dtype[Any]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
_local = threading.local()  # zstd contexts are costly to make and not thread-safe

I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]


@dataclass(slots=True)
class Points:
    """Points of one run, written by one source.

    Attributes:
        series: (key, kind) of each series; a series with values of two kinds is listed once per kind.
        order: shape (n,), unsigned: index into `series` of each point, in order of logging.
        seqs: shape (n,): slot of each point in its source, in order of logging, never falling.
        steps, times: shape (n,): grouped by series (a stable sort by `order`); times in microseconds since the epoch.
        values: shape (n,): 64 raw bits each, grouped alike; FLOAT: the bits of a float64; INT: of an int64; BOOL: 0 or 1;
            TEXT: index into `texts`; NULL: 0.
        texts: values of the TEXT points, grouped alike.
        counts: points of each series.
    """

    series: list[tuple[SeriesKey, Kind]]
    order: NDArray[Any]
    seqs: I8
    steps: I8
    times: I8
    values: U8
    texts: list[str]
    counts: I8

    @property
    def starts(self) -> I8:
        """Index of the first point of each series in the grouped columns."""
        return np.cumsum(self.counts) - self.counts

    def permutation(self) -> I8:
        """Where each point, in grouped order, stood in order of logging."""
        return np.argsort(self.order, kind="stable")

    def floats(self, index: int) -> NDArray[np.float64]:
        """Values of series `index` as float64; NaN for TEXT and NULL."""
        start = int(self.counts[:index].sum())
        part = self.values[start : start + int(self.counts[index])]
        kind = self.series[index][1]
        if kind == Kind.FLOAT:
            return part.view(np.float64)
        if kind in (Kind.INT, Kind.BOOL):
            return part.view(np.int64).astype(np.float64)
        return np.full(len(part), np.nan)

    def python_values(self, index: int) -> list[float | int | bool | str | None]:
        """Values of series `index` as Python objects of their kind."""
        start = int(self.counts[:index].sum())
        part = self.values[start : start + int(self.counts[index])]
        kind = self.series[index][1]
        if kind == Kind.FLOAT:
            return list(part.view(np.float64).tolist())
        if kind == Kind.INT:
            return list(part.view(np.int64).tolist())
        if kind == Kind.BOOL:
            return [bool(v) for v in part.tolist()]
        if kind == Kind.TEXT:
            return [self.texts[i] for i in part.tolist()]
        return [None] * len(part)


def build_points(
    logged: Iterable[tuple[SeriesKey, Kind, int, int, int, float | int | bool | str | None]],
) -> Points:
    """Points from rows (key, kind, seq, step, time, value) in order of logging. One row at a time: for tests."""
    rows = list(logged)
    index: dict[tuple[SeriesKey, Kind], int] = {}
    for key, kind, *_ in rows:
        index.setdefault((key, kind), 0)
    series = sorted(index, key=lambda item: item[1])  # stable: by kind, then first seen
    index = {item: i for i, item in enumerate(series)}
    order = np.array([index[row[0], row[1]] for row in rows], dtype=order_dtype(len(series)))
    grouped = np.argsort(order, kind="stable")
    texts: list[str] = []
    values = np.zeros(len(rows), dtype=np.uint64)
    for place, row_index in enumerate(grouped.tolist()):
        _, kind, _, _, _, value = rows[row_index]
        if kind == Kind.FLOAT:
            values[place] = np.float64(value).view(np.uint64)
        elif kind == Kind.TEXT:
            values[place] = len(texts)
            texts.append(str(value))
        elif kind != Kind.NULL:
            values[place] = np.int64(value).view(np.uint64)
    return Points(
        series=series,
        order=order,
        seqs=np.array([row[2] for row in rows], dtype=np.int64),
        steps=np.array([row[3] for row in rows], dtype=np.int64)[grouped],
        times=np.array([row[4] for row in rows], dtype=np.int64)[grouped],
        values=values,
        texts=texts,
        counts=np.bincount(order, minlength=len(series)).astype(np.int64),
    )


def first_places(order: NDArray[Any], series: int) -> I8:
    """Where each of `series` series is logged first, by `Points.order`; `len(order)` for one that is not."""
    places = np.full(series, len(order), dtype=np.int64)
    places[order[::-1]] = np.arange(len(order) - 1, -1, -1)  # of several assignments the last holds
    return places


def order_dtype(series: int) -> np.dtype[Any]:
    """The narrowest unsigned type that counts `series` series; numpy sorts 8 and 16 bits by radix."""
    return np.dtype(np.uint8 if series <= 1 << 8 else np.uint16 if series <= 1 << 16 else np.uint32)


# --- writing ---------------------------------------------------------------------------------------------------------


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
    if any(a > b for a, b in pairwise(kinds)):
        points = _by_kind(points)
        kinds = [kind for _, kind in points.series]
    counts = points.counts
    ends = np.cumsum(counts)
    starts = ends - counts
    n_float = int(counts[: _count_below(kinds, Kind.INT)].sum())
    n_text_start = int(counts[: _count_below(kinds, Kind.TEXT)].sum())
    n_valued = int(counts[: _count_below(kinds, Kind.NULL)].sum())

    steps = _narrow(points.steps, starts)
    times = _narrow(points.times, starts)
    texts = [text.encode() for text in points.texts]
    ints = points.values[n_float:n_valued].view(np.int64)
    if n_valued > n_text_start:
        ints = ints.copy()
        ints[n_text_start - n_float :] = [len(text) for text in texts]
    int_starts = starts[(starts >= n_float) & (starts < n_valued) & (counts > 0)] - n_float
    numbers = _narrow(ints, int_starts)
    floats = points.values[:n_float]

    blocks: list[list[int]] = []  # [series, bytes]
    sections: list[bytes] = []
    first = 0
    while first < len(kinds):
        last = first
        held = int(counts[first])
        while last + 1 < len(kinds) and held < BLOCK_POINTS and kinds[last + 1] == kinds[first]:
            last += 1
            held += int(counts[last])
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
    relative = _narrow(points.seqs, np.zeros(1 if n else 0, dtype=np.int64))
    order = points.order.astype(order_dtype(len(kinds)), copy=False)
    sections.append((order.tobytes() if len(kinds) > 1 else b"") + _planes(relative, 0, n))

    flags = 0
    if sum(map(len, sections)) >= _MIN_COMPRESSED:
        flags = _FLAG_ZSTD
        compress = _compressor().compress
        sections = [compress(section) for section in sections]
    for block, section in zip(blocks, sections[:-1], strict=True):
        block[1] = len(section)
    header = msgpack.packb(
        [
            [[key.cls, key.name, key.column, int(kind)] for key, kind in points.series],
            counts.tolist(),
            blocks,
            [len(sections[-1]), int(points.seqs[0]) if n else 0],
            [steps.head, times.head, numbers.head, relative.head],
        ]
    )
    return b"".join([_PREFIX.pack(b"RP", _VERSION, flags, len(header)), header, *sections])


@dataclass(slots=True)
class _Narrow:
    """Differences less their minimum, in the fewest bytes; `array` is None when all are the same."""

    head: tuple[int, int]  # (bytes a value, minimum)
    array: NDArray[Any] | None


def _narrow(column: NDArray[Any], starts: I8) -> _Narrow:
    n = len(column)
    long = np.flatnonzero(np.diff(np.append(starts, n)) > 1)
    if not len(long):
        return _Narrow((0, 0), None)
    delta = np.empty(n, dtype=np.int64)
    np.subtract(column[1:], column[:-1], out=delta[1:])
    # A border between series is a jump that means nothing: it takes the value of some difference inside a series.
    delta[starts[starts < n]] = delta[starts[long[0]] + 1]
    low, high = int(delta.min()), int(delta.max())
    if low == high:
        return _Narrow((0, low), None)
    spread = high - low
    width = 1 if spread < 1 << 8 else 2 if spread < 1 << 16 else 4 if spread < 1 << 32 else 8
    np.subtract(delta, low, out=delta)  # wraps for a spread beyond 63 bits, and wraps back when read
    return _Narrow(
        (width, low), delta.astype(_WIDTHS[width], copy=False) if width < 8 else delta.view(np.uint64)
    )


def _planes(narrow: _Narrow, a: int, b: int) -> bytes:
    width = narrow.head[0]
    if narrow.array is None:
        return b""
    part = narrow.array[a:b]
    return part.tobytes() if width == 1 else part.view(np.uint8).reshape(-1, width).T.tobytes()


def _firsts(column: NDArray[Any], starts: I8, n: int) -> bytes:
    return column[np.minimum(starts, n - 1)].tobytes() if n else b"\0" * (8 * len(starts))


def _count_below(kinds: Sequence[Kind], kind: Kind) -> int:
    return sum(1 for k in kinds if k < kind)


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


def _compressor() -> zstandard.ZstdCompressor:
    try:
        return _local.compressor  # type: ignore[no-any-return]
    except AttributeError:
        _local.compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        return _local.compressor  # type: ignore[no-any-return]


def _decompressor() -> zstandard.ZstdDecompressor:
    try:
        return _local.decompressor  # type: ignore[no-any-return]
    except AttributeError:
        _local.decompressor = zstandard.ZstdDecompressor()
        return _local.decompressor  # type: ignore[no-any-return]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Index:
    """What the header of a payload says.

    Attributes:
        blocks: (first series, series, offset in the payload, bytes) of each block.
        order_at: (offset, bytes) of the order section.
    """

    series: list[tuple[SeriesKey, Kind]]
    counts: I8
    blocks: list[tuple[int, int, int, int]]
    order_at: tuple[int, int]
    size: int
    _first_seq: int
    _heads: list[tuple[int, int]]
    _zstd: bool

    def wanted(self, only: Collection[SeriesKey]) -> list[int]:
        """Numbers of the blocks that hold points of the series `only`."""
        return [
            number
            for number, (first, n, _, _) in enumerate(self.blocks)
            if any(key in only for key, _ in self.series[first : first + n])
        ]


def index_size(prefix: bytes) -> int:
    """Bytes from the start of a payload that `read_index` needs, told by its first 8 bytes.

    Raises:
        CorruptEvent: not a payload.
    """
    if len(prefix) < _PREFIX.size:
        raise CorruptEvent(f"payload of {len(prefix)} bytes is shorter than its prefix of {_PREFIX.size}")
    magic, version, _, header = _PREFIX.unpack_from(prefix)
    if magic != b"RP" or version != _VERSION or header > MAX_EVENT_BYTES:
        raise CorruptEvent(f"not a payload: starts with {prefix[:4]!r}")
    return int(_PREFIX.size + header)


def read_index(prefix: bytes) -> Index:
    """Read the header of a payload from at least its first `index_size(prefix)` bytes.

    Raises:
        CorruptEvent: truncated, or the header contradicts itself.
    """
    end = index_size(prefix)
    if len(prefix) < end:
        raise CorruptEvent(f"payload header of {end} bytes is cut at {len(prefix)}")
    flags = prefix[3]
    try:
        raw_series, raw_counts, raw_blocks, (order_size, first_seq), heads = msgpack.unpackb(
            prefix[_PREFIX.size : end], strict_map_key=False
        )
        series = [
            (SeriesKey(int(cls), str(name), str(column)), Kind(kind))
            for cls, name, column, kind in raw_series
        ]
        counts = np.array(raw_counts, dtype=np.int64)
        heads = [(int(width), int(low)) for width, low in heads]
        if (
            len(counts) != len(series)
            or (len(counts) and counts.min() < 0)
            or int(counts.sum()) > MAX_EVENT_POINTS
        ):
            raise ValueError("counts")
        if len(heads) != 4 or any(width and width not in _WIDTHS for width, _ in heads):
            raise ValueError("column heads")
        if not (
            -(1 << 63) <= int(first_seq) < 1 << 63 and 0 <= order_size <= MAX_EVENT_BYTES
        ) or flags not in (0, 1):
            raise ValueError("order section")
        blocks = []
        first, at = 0, end
        for n, size in raw_blocks:
            if (
                n < 1
                or size < 0
                or first + n > len(series)
                or len({kind for _, kind in series[first : first + n]}) != 1
            ):
                raise ValueError("blocks")
            blocks.append((first, int(n), at, int(size)))
            first, at = first + n, at + size
        if first != len(series):
            raise ValueError("blocks")
    except CorruptEvent:
        raise
    except Exception as error:
        raise CorruptEvent(f"payload header is damaged ({type(error).__name__}: {error})") from None
    return Index(
        series,
        counts,
        blocks,
        (at, int(order_size)),
        at + int(order_size),
        int(first_seq),
        heads,
        bool(flags & _FLAG_ZSTD),
    )


@dataclass(slots=True)
class BlockPoints:
    """Points of the series of one block, grouped by series; attributes as in `Points`."""

    first_series: int
    steps: I8
    times: I8
    values: U8
    texts: list[str]


def decode_block(index: Index, number: int, data: bytes | memoryview) -> BlockPoints:
    """Decode block `number` from its bytes (`index.blocks[number]` says where they lie).

    Raises:
        CorruptEvent: the bytes are not that block.
    """
    first, n, _, size = index.blocks[number]
    if len(data) != size:
        raise CorruptEvent(f"block {number} has {len(data)} bytes, its header says {size}")
    counts = index.counts[first : first + n]
    total = int(counts.sum())
    kind = index.series[first][1]
    (step_width, _), (time_width, _), (int_width, _), _ = index._heads
    expected = (16 * n) + total * (step_width + time_width)
    if kind == Kind.FLOAT:
        expected += 8 * total
    elif kind != Kind.NULL:
        expected += 8 * n + total * int_width
    raw = _inflate(index, data, expected, exact=kind != Kind.TEXT)
    at = 0
    columns = []
    for head in index._heads[: 3 if kind in (Kind.INT, Kind.BOOL, Kind.TEXT) else 2]:
        column, at = _widen(raw, at, head, counts, n, total)
        columns.append(column)
    steps, times = columns[:2]
    texts: list[str] = []
    if kind == Kind.FLOAT:
        planes = np.frombuffer(raw, dtype=np.uint8, count=8 * total, offset=at).reshape(8, total)
        values = np.ascontiguousarray(planes.T).view(np.uint64).reshape(-1)
    elif kind == Kind.NULL:
        values = np.zeros(total, dtype=np.uint64)
    elif kind == Kind.TEXT:
        lengths = columns[2]
        ends = np.cumsum(lengths)
        if (total and lengths.min() < 0) or at + (int(ends[-1]) if total else 0) != len(raw):
            raise CorruptEvent(f"block {number}: text lengths do not add up")
        blob = bytes(raw[at:])
        try:
            texts = [
                blob[end - length : end].decode()
                for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
            ]
        except UnicodeDecodeError as error:
            raise CorruptEvent(f"block {number}: text is not UTF-8 ({error})") from None
        values = np.arange(total, dtype=np.uint64)
    else:
        values = columns[2].view(np.uint64)
    return BlockPoints(first, steps, times, values, texts)


def decode_order(index: Index, data: bytes | memoryview) -> tuple[NDArray[Any], I8]:
    """Decode the order section: (`order`, `seqs`) as in `Points`.

    Raises:
        CorruptEvent: the bytes are not that section.
    """
    total = int(index.counts.sum())
    if len(data) != index.order_at[1]:
        raise CorruptEvent(f"order section has {len(data)} bytes, its header says {index.order_at[1]}")
    dtype = order_dtype(len(index.series))
    order_bytes = total * dtype.itemsize if len(index.series) > 1 else 0
    head = index._heads[3]
    raw = _inflate(index, data, order_bytes + total * head[0], exact=True)
    if order_bytes:
        order: NDArray[Any] = np.frombuffer(raw, dtype=dtype, count=total)
        if not np.array_equal(np.bincount(order, minlength=len(index.series)), index.counts):
            raise CorruptEvent("order section contradicts the counts of the series")
    else:
        order = np.zeros(total, dtype=dtype)
    delta = _unplane(raw, order_bytes, head, total)
    if total:
        delta[0] = index._first_seq
    return order, np.cumsum(delta)


def decode_points(payload: bytes, only: Collection[SeriesKey] | None = None) -> Points:
    """Unpack a payload.

    Args:
        payload: what `encode_points` returned.
        only: decode just these series; `order` and `seqs` then hold only their points.

    Raises:
        CorruptEvent: the bytes are not a payload.
    """
    index = read_index(payload)
    if index.size != len(payload):
        raise CorruptEvent(f"payload has {len(payload)} bytes, its header says {index.size}")
    view = memoryview(payload)
    at, size = index.order_at
    order, seqs = decode_order(index, view[at : at + size])
    numbers = range(len(index.blocks)) if only is None else index.wanted(only)
    blocks = []
    for number in numbers:
        _, _, at, size = index.blocks[number]
        blocks.append((number, decode_block(index, number, view[at : at + size])))
    if only is None:
        texts = [text for _, block in blocks for text in block.texts]
        values = _join([block.values for _, block in blocks], np.uint64)
        if texts:  # each block counts its texts from 0
            n = int(index.counts[: _count_below([kind for _, kind in index.series], Kind.TEXT)].sum())
            values[n : n + len(texts)] = np.arange(len(texts), dtype=np.uint64)
        return Points(
            index.series,
            order,
            seqs,
            _join([block.steps for _, block in blocks], np.int64),
            _join([block.times for _, block in blocks], np.int64),
            values,
            texts,
            index.counts,
        )
    return _select(index, order, seqs, blocks, only)


def _select(
    index: Index,
    order: NDArray[Any],
    seqs: I8,
    blocks: list[tuple[int, BlockPoints]],
    only: Collection[SeriesKey],
) -> Points:
    chosen: list[int] = []
    steps, times, values = [], [], []
    texts: list[str] = []
    for number, block in blocks:
        first, n, _, _ = index.blocks[number]
        at = 0
        for i in range(first, first + n):
            end = at + int(index.counts[i])
            key, kind = index.series[i]
            if key in only:
                chosen.append(i)
                steps.append(block.steps[at:end])
                times.append(block.times[at:end])
                if kind == Kind.TEXT:
                    values.append(np.arange(len(texts), len(texts) + end - at, dtype=np.uint64))
                    texts.extend(block.texts[at:end])
                else:
                    values.append(block.values[at:end])
            at = end
    lookup = np.full(len(index.series), -1, dtype=np.int64)
    lookup[chosen] = np.arange(len(chosen))
    mapped = lookup[order]
    kept = mapped >= 0
    return Points(
        [index.series[i] for i in chosen],
        mapped[kept].astype(order_dtype(len(chosen))),
        seqs[kept],
        _join(steps, np.int64),
        _join(times, np.int64),
        _join(values, np.uint64),
        texts,
        index.counts[chosen],
    )


def _join(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def _inflate(index: Index, data: bytes | memoryview, expected: int, *, exact: bool) -> bytes:
    if not index._zstd:
        raw = bytes(data)
    else:
        try:
            size = zstandard.frame_content_size(bytes(data[:32]))
            if size < 0 or size > MAX_EVENT_BYTES * 16:
                raise CorruptEvent(f"compressed section claims {size} bytes")
            raw = _decompressor().decompress(data, max_output_size=max(size, 1))
        except zstandard.ZstdError as error:
            raise CorruptEvent(f"compressed section is damaged ({error})") from None
    if (len(raw) != expected) if exact else (len(raw) < expected):
        raise CorruptEvent(f"section has {len(raw)} bytes, expected {expected}")
    return raw


def _unplane(raw: bytes, at: int, head: tuple[int, int], total: int) -> I8:
    """The differences of a column, as written by `_planes`."""
    width, low = head
    if width == 0:
        return np.full(total, low, dtype=np.int64)
    dtype = _WIDTHS[width]
    if width == 1:
        return np.frombuffer(raw, dtype=np.uint8, count=total, offset=at).astype(np.int64) + low
    planes = np.frombuffer(raw, dtype=np.uint8, count=width * total, offset=at).reshape(width, total)
    narrow = np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
    return narrow.astype(np.int64) + low if width < 8 else narrow.view(np.int64) + low


def _widen(raw: bytes, at: int, head: tuple[int, int], counts: I8, n: int, total: int) -> tuple[I8, int]:
    firsts = np.frombuffer(raw, dtype=np.int64, count=n, offset=at)
    at += 8 * n
    delta = _unplane(raw, at, head, total)
    at += head[0] * total
    column = np.cumsum(delta)
    held = counts > 0
    starts = (np.cumsum(counts) - counts)[held]
    if len(starts) == 1:
        column += firsts[held][:1] - column[:1]  # arrays, not scalars: these wrap without a warning
    elif total:
        column += np.repeat(firsts[held] - column[starts], counts[held])
    return column, at
