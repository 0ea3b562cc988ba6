"""Reads payloads: whole, or of some series only. Whatever the bytes are, they are refused or give well-formed points."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from ..errors import CorruptEvent, lacks_memory
from ..limits import MAX_EVENT_BYTES, TIME_MAX_US, TIME_MIN_US
from ..series import Kind, SeriesKey
from .payload import WIDTHS
from .payload_index import Index, decompressor, read_index
from .points import I8, U8, Points, count_below, order_dtype

MAX_INFLATED_BYTES = 16 * MAX_EVENT_BYTES
"""Most bytes the sections of one payload may have together when they are no longer compressed."""

_KINDS = [*Kind]


@dataclass(slots=True)
class BlockPoints:
    """Points of the series of one block, grouped by series; attributes as in `Points`."""

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
    kind = index.kinds[first]
    (step_width, _), (time_width, _), (int_width, _), _ = index.heads
    expected = (16 * n) + total * (step_width + time_width)
    if kind == Kind.FLOAT:
        expected += 8 * total
    elif kind != Kind.NULL:
        expected += 8 * n + total * int_width
    raw = _inflate(index, data, expected, exact=kind != Kind.TEXT)
    at = 0
    columns = []
    for head in index.heads[: 3 if kind in (Kind.INT, Kind.BOOL, Kind.TEXT) else 2]:
        column, at = _widen(raw, at, head, counts, n, total)
        columns.append(column)
    steps, times = columns[:2]
    if total and not TIME_MIN_US <= int(times.min()) <= int(times.max()) <= TIME_MAX_US:
        times = np.clip(times, TIME_MIN_US, TIME_MAX_US)  # no writer of ours; nobody can show such a time
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
    return BlockPoints(steps, times, values, texts)


def decode_order(index: Index, data: bytes | memoryview) -> tuple[NDArray[Any], I8]:
    """Decode the order section: (`order`, `seqs`) as in `Points`.

    Raises:
        CorruptEvent: the bytes are not that section.
    """
    total = int(index.counts.sum())
    if len(data) != index.order_at[1]:
        raise CorruptEvent(f"order section has {len(data)} bytes, its header says {index.order_at[1]}")
    dtype = order_dtype(len(index.counts))
    order_bytes = total * dtype.itemsize if len(index.counts) > 1 else 0
    head = index.heads[3]
    raw = _inflate(index, data, order_bytes + total * head[0], exact=True)
    if order_bytes:
        order: NDArray[Any] = np.frombuffer(raw, dtype=dtype, count=total)
        if not np.array_equal(np.bincount(order, minlength=len(index.counts)), index.counts):
            raise CorruptEvent("order section contradicts the counts of the series")
    else:
        order = np.zeros(total, dtype=dtype)
    delta = _unplane(raw, order_bytes, head, total)
    if total:
        delta[0] = index.first_seq
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
            n = int(index.counts[: count_below(index.kinds, Kind.TEXT)].sum())
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
            key, kind = index.keys[i], index.kinds[i]
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
    lookup = np.full(len(index.counts), -1, dtype=np.int64)
    lookup[chosen] = np.arange(len(chosen))
    mapped = lookup[order]
    kept = mapped >= 0
    return Points(
        [(index.keys[i], _KINDS[index.kinds[i]]) for i in chosen],
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
    if not index.is_zstd:
        raw = bytes(data)
    else:
        try:
            size = zstandard.frame_content_size(bytes(data[:32]))
            index.inflated += size
            if size < 0 or index.inflated > MAX_INFLATED_BYTES:
                raise CorruptEvent(f"compressed section claims {size} bytes, after {index.inflated - size}")
            raw = decompressor().decompress(data, max_output_size=max(size, 1))
        except zstandard.ZstdError as error:
            if lacks_memory(error):
                raise
            raise CorruptEvent(f"compressed section is damaged ({error})") from None
    if (len(raw) != expected) if exact else (len(raw) < expected):
        raise CorruptEvent(f"section has {len(raw)} bytes, expected {expected}")
    return raw


def _unplane(raw: bytes, at: int, head: tuple[int, int], total: int) -> I8:
    """The differences of a column, as written by `_planes`."""
    width, low = head
    if width == 0:
        return np.full(total, low, dtype=np.int64)
    dtype = WIDTHS[width]
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
