"""The way of a point, step 4 of 10: from slots to columns. One slice of a source becomes one event a topic.

It becomes several when one would be larger than an event may be. A record that cannot be an event at all is left out, and
stops no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import LimitExceeded, lacks_memory
from runstream_schemas.limits import (
    MAX_EVENT_BYTES,
    MAX_EVENT_POINTS,
    MAX_RECORD_BYTES,
    TIME_MAX_US,
    TIME_MIN_US,
)
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.alike_events import alike_events
from runstream_schemas.wire.events import (
    MetricsEvent,
    Rewind,
    StatusEvent,
    StatusOp,
    TagOp,
    TagsEvent,
    encode_event,
    metrics_event,
)
from runstream_schemas.wire.points import Points, build_points, order_dtype

from .. import segment as seg
from ..fitting import fitted
from .positions import Positions
from .reader import SourceReader
from .short_slices import event_of, short_points
from .slices import Frame, Slice

_KINDS = tuple(Kind)
KINDS = len(_KINDS)
MOST_UNCOVERED = 1024
"""Slots of tags and statuses in a row that no event of the metrics covers: what is not covered is read again by the next
reader, and its segments are kept."""
_ENDS_ROOM = 1 << 20  # what the collector adds to an ending
_SERIES_BYTES = 128  # of a series in an event, besides its names


@dataclass(slots=True)
class Encoded:
    """The events of one slice, and the positions to note once they are stored.

    Attributes:
        left_out: slot and bytes of a record that cannot be an event, and why; the events then hold nothing of it.
    """

    metrics: MetricsEvent | None
    tags: TagsEvent | None
    status: StatusEvent | None
    positions: Positions
    left_out: tuple[int, bytes, str] | None = None


def encode_slices(slices: Sequence[tuple[SourceReader, Slice, Positions]]) -> Iterator[list[Encoded]]:
    """The events of slices of different sources, as of `encode_slice`; short ones that are alike are encoded together."""
    points = [short_points(*source) for source in slices]
    alike = iter(alike_events([some for some in points if some is not None]))
    for (reader, part, positions), some in zip(slices, points, strict=True):
        yield encode_slice(reader, part, positions, None if some is None else next(alike))


def encode_slice(
    reader: SourceReader, part: Slice, positions: Positions, metrics: MetricsEvent | None = None
) -> list[Encoded]:
    """The events of `part`, each within the limits of events; `positions` is moved on.

    Tags and statuses that it is past already are left out.

    Args:
        metrics: the event of its points, if it is made already.
    """
    # What was logged before a rewind and what was logged after it lie in events of their own.
    if rewinds := [frame.at for frame in part.frames if frame.kind == seg.REWIND and frame.at]:
        pieces = part.pieces(rewinds)
        return [encoded for piece in pieces for encoded in encode_slice(reader, piece, positions)]
    try:
        return [_encode(reader, part, positions, metrics)]
    except Exception as error:
        halves = part.halves()
        if halves is None:
            if lacks_memory(error):
                raise
            return [_leave_out(reader, part, positions, f"{type(error).__name__}: {error}")]
    return [encoded for half in halves for encoded in encode_slice(reader, half, positions)]


def _leave_out(reader: SourceReader, part: Slice, positions: Positions, reason: str) -> Encoded:
    """Nothing but the slots of a record that cannot be an event; it counts as dropped."""
    frame = part.frames[0] if part.frames else None
    reader.skipped += 1
    if frame is not None and frame.kind in seg.CONTROL_FRAMES:
        metrics = None
    else:
        metrics = metrics_event(
            reader.header.run_id,
            reader.header.source,
            positions.metrics,
            part.end - positions.metrics,
            build_points([]),
            reader.dropped,
        )
        positions.metrics = part.end
    record = part.slots.tobytes() if frame is None else frame.body
    left_out = (part.first, record, reason[:1000])
    return Encoded(metrics, None, None, replace(positions), left_out)


def _encode(reader: SourceReader, part: Slice, positions: Positions, metrics: MetricsEvent | None) -> Encoded:
    """The events of `part`; `positions` is moved on when they are made.

    Raises:
        LimitExceeded: an event would be too large.
        Exception: a record is damaged, under a checksum that is right.
    """
    header = reader.header
    if part.behind_gap:
        positions.metrics = part.first
    tag_ops: list[TagOp] = []
    status_ops: list[StatusOp] = []
    carrying: list[Frame] = []
    rewind: Rewind | None = None
    for frame in part.frames:
        seq = part.first + frame.at
        if frame.kind == seg.TAG and seq >= positions.tags:
            op, key, value, *author = msgpack.unpackb(frame.body)
            tag_ops.append(TagOp(seq, _micros(frame.time), op, key, value, *author))
        elif frame.kind == seg.STATUS and seq >= positions.status:
            kind, data = msgpack.unpackb(frame.body)
            if len(frame.body) > MAX_RECORD_BYTES:
                data = fitted(data)
            status_ops.append(StatusOp(seq, _micros(frame.time), kind, data))
        elif frame.kind == seg.REWIND:
            rewind = Rewind(seq, msgpack.unpackb(frame.body)[0], _micros(frame.time))
        elif frame.kind not in seg.CONTROL_FRAMES:
            carrying.append(frame)
    control = sum(1 + -(-len(f.body) // seg.SLOT) for f in part.frames if f.kind in seg.CONTROL_FRAMES)
    if control < part.end - part.first or part.end - positions.metrics > MOST_UNCOVERED:
        if metrics is None and (short := short_points(reader, part, positions)) is not None:
            metrics = event_of(short)
        if metrics is None:
            points = slice_points(part, carrying, reader.names)
            if len(points.order) > MAX_EVENT_POINTS:
                raise LimitExceeded(
                    f"{len(points.order)} points; an event takes the most of {MAX_EVENT_POINTS}"
                )
            metrics = metrics_event(
                header.run_id,
                header.source,
                positions.metrics,
                part.end - positions.metrics,
                points,
                reader.dropped + part.unknown,
            )
            metrics.rewind = rewind
        # Names lie in the event and, compressed, in its payload, last texts too; only where that could be too much is it
        # looked at.
        named = "".join(chain.from_iterable((key.name, key.column) for key, _ in metrics.series))
        most = 2 * len(metrics.payload) + part.slots.nbytes + _SERIES_BYTES * len(metrics.series)
        most += len(named.encode())
        if most > MAX_EVENT_BYTES:
            encode_event(metrics)
    tags_event = None
    if tag_ops:
        end = tag_ops[-1].seq + 1
        tags_event = TagsEvent(header.run_id, header.source, positions.tags, end - positions.tags, tag_ops)
    status_event = None
    if status_ops:
        end = status_ops[-1].seq + 1
        status_event = StatusEvent(
            header.run_id, header.source, positions.status, end - positions.status, status_ops
        )
    if control and sum(len(frame.body) for frame in part.frames) > MAX_EVENT_BYTES // 4:
        for event in (tags_event, status_event):
            if event is not None and len(encode_event(event)) > MAX_EVENT_BYTES - _ENDS_ROOM:
                raise LimitExceeded("an ending needs room for the ends of all sources")
    if metrics is not None:
        reader.skipped += part.unknown
        positions.metrics = part.end
    if tags_event is not None:
        positions.tags = tags_event.first + tags_event.count
    if status_event is not None:
        positions.status = status_event.first + status_event.count
        positions.latest_step = max(positions.latest_step, status_ops[-1].time_us)
    return Encoded(metrics, tags_event, status_event, replace(positions))


def slice_points(part: Slice, frames: list[Frame], names: dict[int, SeriesKey]) -> Points:
    """The points of a slice as columns, grouped by series."""
    slots = part.slots if part.is_point is None else part.slots[part.is_point]
    words = np.ascontiguousarray(slots[:, 3])
    numbers = words >> 32
    kinds = (words & 0xFF) - seg.KIND_BASE
    known = _known(numbers, kinds, names)
    if known is not None:
        part.unknown += len(known) - int(np.count_nonzero(known))
        slots, numbers, kinds = slots[known], numbers[known], kinds[known]
    if not frames:
        seqs = np.arange(part.first, part.end, dtype=np.int64)
        if part.is_point is not None:
            seqs = seqs[part.is_point]
        if known is not None:
            seqs = seqs[known]
        width = int(numbers.max()) + 1 if len(numbers) else 0
        identity = kinds * width + numbers  # by kind, then number, as Points wants it
        counts = np.bincount(identity, minlength=1)
        present = np.flatnonzero(counts)
        keys = map(names.__getitem__, (present % max(width, 1)).tolist())
        series = list(zip(keys, map(_KINDS.__getitem__, (present // max(width, 1)).tolist()), strict=True))
        rank = np.zeros(len(counts), dtype=order_dtype(len(series)))
        rank[present] = np.arange(len(present))
        order = rank[identity]
        grouped = slots.take(np.argsort(order, kind="stable"), axis=0) if len(series) > 1 else slots
        return Points(
            series,
            order,
            seqs,
            np.ascontiguousarray(grouped[:, 0]),
            _micros_column(grouped[:, 1]),
            np.ascontiguousarray(grouped[:, 2]).view(np.uint64),
            [],
            counts[present].astype(np.int64),
        )
    return _with_frames(part, frames, names, slots, numbers, kinds, known)


def _known(
    numbers: NDArray[np.int64], kinds: NDArray[np.int64], names: dict[int, SeriesKey]
) -> NDArray[np.bool_] | None:
    """Which slots name a series that was defined; None when all do. Others can only be damage."""
    whole = (
        not names or next(reversed(names)) == len(names) - 1
    )  # no definition was lost with a damaged segment
    if not len(numbers) or (
        whole
        and int(numbers.max()) < len(names)
        and int(numbers.min()) >= 0
        and int(kinds.max()) < KINDS
        and not (kinds == Kind.TEXT).any()
    ):
        return None
    known: NDArray[np.bool_] = (
        np.isin(numbers, np.fromiter(names, dtype=np.int64)) & (kinds < KINDS) & (kinds != Kind.TEXT)
    )
    return known


def _with_frames(
    part: Slice,
    frames: list[Frame],
    names: dict[int, SeriesKey],
    slots: NDArray[np.int64],
    numbers: NDArray[np.int64],
    kinds: NDArray[np.int64],
    known: NDArray[np.bool_] | None,
) -> Points:
    """The general case: points in slots, and in frames of texts, rows and arrays."""
    places: dict[tuple[SeriesKey, Kind], int] = {}

    def place(key: SeriesKey, kind: Kind) -> int:
        return places.setdefault((key, kind), len(places))

    assert part.is_point is not None
    slot_seqs = part.first + np.flatnonzero(part.is_point)
    if known is not None:
        slot_seqs = slot_seqs[known]
    columns: list[tuple[Any, ...]] = []
    if len(slots):
        identity = numbers * KINDS + kinds
        distinct, inverse = np.unique(identity, return_inverse=True)
        local = np.array(
            [place(names[i // KINDS], Kind(i % KINDS)) for i in distinct.tolist()], dtype=np.int64
        )
        columns.append((local[inverse], slot_seqs, slots[:, 0], _micros_column(slots[:, 1]), slots[:, 2]))
    texts: list[str] = []
    single: list[tuple[int, int, int, int, int]] = []
    for frame in frames:
        seq = part.first + frame.at
        when = _micros(frame.time)
        if frame.kind == seg.TEXT:
            number = int.from_bytes(frame.body[:4], "little")
            step = int.from_bytes(frame.body[4:12], "little", signed=True)
            if number not in names:
                part.unknown += 1
                continue
            single.append((place(names[number], Kind.TEXT), seq, step, when, len(texts)))
            texts.append(frame.body[12:].decode())
        elif frame.kind == seg.ROWS:
            name, first, table = msgpack.unpackb(frame.body, strict_map_key=False)
            for column, values in table.items():
                key = SeriesKey(SeriesClass.TABLE, name, column)
                for row, value in enumerate(values):
                    kind, bits = _bits(value, texts)
                    single.append((place(key, kind), seq, first + row, when, bits))
        elif frame.kind == seg.ARRAY:
            elements = _array_columns(frame, seq, names, place)
            part.unknown += not elements
            columns.extend(elements)
    if single:
        columns.append(tuple(np.array(column, dtype=np.int64) for column in zip(*single, strict=True)))
    order, seqs, steps, times, values = (
        np.concatenate([column[i] for column in columns]) if columns else np.zeros(0, dtype=np.int64)
        for i in range(5)
    )
    # Columns of a frame are in order; a row's cells keep theirs, because the sort is stable.
    by_seq = np.argsort(seqs, kind="stable")
    order, seqs, steps, times, values = (column[by_seq] for column in (order, seqs, steps, times, values))
    listed = sorted(places, key=lambda item: item[1])
    rank = np.zeros(max(len(places), 1), dtype=order_dtype(len(places)))
    for position, item in enumerate(listed):
        rank[places[item]] = position
    order = rank[order]
    grouped = np.argsort(order, kind="stable")
    counts = np.bincount(order, minlength=len(listed)).astype(np.int64)[: len(listed)]
    values = values[grouped].view(np.uint64)
    if texts:
        before = int(counts[: sum(1 for _, kind in listed if kind < Kind.TEXT)].sum())
        chosen = values[before : before + len(texts)]
        texts = [texts[i] for i in chosen.tolist()]
        values[before : before + len(texts)] = np.arange(len(texts), dtype=np.uint64)
    return Points(listed, order, seqs, steps[grouped], times[grouped], values, texts, counts)


def _array_columns(frame: Frame, seq: int, names: dict[int, SeriesKey], place: Any) -> list[tuple[Any, ...]]:
    number, n, kind, how_steps, how_times, step, stride, when, _ = seg.ARRAY_HEAD.unpack_from(frame.body)
    if number not in names:
        return []
    at = seg.ARRAY_HEAD.size
    values = np.frombuffer(frame.body, dtype=np.int64, count=n, offset=at)
    at += 8 * n
    if how_steps == seg.GIVEN:
        steps = np.frombuffer(frame.body, dtype=np.int64, count=n, offset=at)
        at += 8 * n
    else:
        steps = np.arange(step, step + stride * n, stride, dtype=np.int64)
    if how_times == seg.GIVEN:
        times = _micros_column(np.frombuffer(frame.body, dtype=np.int64, count=n, offset=at))
    else:
        times = np.full(n, _micros(when), dtype=np.int64)
    return [
        (np.full(n, place(names[number], Kind(kind)), dtype=np.int64), np.full(n, seq), steps, times, values)
    ]


def _bits(value: Any, texts: list[str]) -> tuple[Kind, int]:
    if isinstance(value, bool):
        return Kind.BOOL, int(value)
    if isinstance(value, int):
        return Kind.INT, value
    if isinstance(value, float):
        return Kind.FLOAT, int(np.float64(value).view(np.int64))
    if value is None:
        return Kind.NULL, 0
    texts.append(str(value))
    return Kind.TEXT, len(texts) - 1


def _micros(seconds: float) -> int:
    micros = seconds * 1e6
    return (
        round(micros) if TIME_MIN_US <= micros <= TIME_MAX_US else TIME_MAX_US if micros > 0 else TIME_MIN_US
    )


def _micros_column(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Seconds as float bits to whole microseconds; exact to the microsecond until the year 2255."""
    with np.errstate(over="ignore"):
        micros = np.ascontiguousarray(seconds).view(np.float64) * 1e6
    micros += np.copysign(0.5, micros)
    if len(micros) and not TIME_MIN_US <= micros.min() <= micros.max() <= TIME_MAX_US:  # or one is NaN
        micros = np.fmin(np.fmax(micros, TIME_MIN_US), TIME_MAX_US)
    return micros.astype(np.int64)


def agent_source(source: bytes) -> bytes:
    """Id of the source under which the reader of `source` reports for its dead process: the same for every reader."""
    return hashlib.md5(source + b"reader", usedforsecurity=False).digest()
