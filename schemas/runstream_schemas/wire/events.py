"""The events on the topics: versioned msgpack, one event a message, keyed by run id.

An event is ``[version, type, crc32, body]``; `body` is msgpack again, a map, and the checksum covers type and body. Fields a
reader does not know are ignored; a version it does not know is refused, and goes to the dead-letter topic. Golden files
(tests/schemas/golden) pin the bytes.

Every event says which slots ``[first, first + count)`` of which source it covers, so that a consumer can tell a resend, a
gap and a reordering from one another, whatever the borders of the batches.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..errors import LimitExceeded
from ..limits import MAX_EVENT_BYTES
from ..series import Kind, SeriesKey
from .payload import encode_points
from .payload_reading import decode_points
from .points import Points, order_dtype

VERSION = 1
METRICS, TAGS, STATUS = "metrics", "tags", "status"

MAX_SUMMARY_TEXT = 256
"""Characters of a text value kept in a summary."""

TagOpName = Literal["set", "remove", "property", "field", "param", "overwrite"]

SUMMARY_INTS = ("count", "finite", "first_time", "last_step", "last_time")
SUMMARY_FLOATS = ("first", "last", "min", "max", "sum")


@dataclass(slots=True)
class Summaries:
    """What a batch adds to the summary of each of its series: one entry a series, same order as the event's `series`.

    `min` and `max` leave out NaN (NaN when there is nothing else), `sum` adds the finite values, `finite` counts them;
    TEXT and NULL have NaN. The times are those of the first and of the last point in order of logging, which need be neither
    the lowest nor the highest. `texts` holds the last text of TEXT series, cut to `MAX_SUMMARY_TEXT` characters.
    """

    count: NDArray[np.int64]
    finite: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    sum: NDArray[np.float64]
    first_time: NDArray[np.int64]
    last_step: NDArray[np.int64]
    last_time: NDArray[np.int64]
    texts: dict[int, str] = field(default_factory=dict)


class Rewind(NamedTuple):
    """A rewind of a run, and where it stands among the slots of its source: behind no points of its event."""

    seq: int
    step: int
    time_us: int


@dataclass(slots=True)
class MetricsEvent:
    """Points of one run, written by one source in the slots [first, first + count).

    Attributes:
        source: 16 bytes, the id of the spool writer.
        points: how many points `payload` holds (not the same as `count`: a tag takes a slot but is no point).
        payload: `runstream_schemas.wire.payload.encode_points`; consumers store it as it is.
        dropped: points the source could not keep so far (disk full, quota).
        rewind: what was written before the points of this event, and has a step beyond, belongs to a former branch.
    """

    run_id: str
    source: bytes
    first: int
    count: int
    points: int
    series: list[tuple[SeriesKey, Kind]]
    summary: Summaries
    payload: bytes
    dropped: int = 0
    rewind: Rewind | None = None


@dataclass(slots=True)
class TagOp:
    """One change of a tag, property, field or parameter of the run. `value` None: the key without a value.

    A parameter's value is a JSON text (`runstream_schemas.runs.params`); `author` is who overwrote it.
    """

    seq: int
    time_us: int
    op: TagOpName
    key: str
    value: str | None = None
    author: str | None = None


@dataclass(slots=True)
class TagsEvent:
    """Changes of tags, properties, fields and parameters of one run."""

    run_id: str
    source: bytes
    first: int
    count: int
    ops: list[TagOp]


@dataclass(slots=True)
class StatusOp:
    """One step in a run's life: `kind` is create, start, complete, fail, cancel, error, heartbeat ..., `data` its facts."""

    seq: int
    time_us: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StatusEvent:
    """Steps in one run's life."""

    run_id: str
    source: bytes
    first: int
    count: int
    ops: list[StatusOp]


Event = MetricsEvent | TagsEvent | StatusEvent


def topic_of(event: Event) -> str:
    """Which topic an event belongs to: metrics, tags or status."""
    return METRICS if isinstance(event, MetricsEvent) else TAGS if isinstance(event, TagsEvent) else STATUS


def encode_event(event: Event) -> bytes:
    """The bytes of an event.

    Raises:
        LimitExceeded: larger than `limits.MAX_EVENT_BYTES`.
    """
    body: dict[str, Any] = {
        "run": event.run_id,
        "src": event.source,
        "first": event.first,
        "count": event.count,
    }
    kind = topic_of(event)
    if isinstance(event, MetricsEvent):
        summary = event.summary
        body["points"] = event.points
        body["series"] = [[key.cls, key.name, key.column, int(k)] for key, k in event.series]
        body["summary"] = {
            name: getattr(summary, name).tobytes() for name in (*SUMMARY_INTS, *SUMMARY_FLOATS)
        }
        if summary.texts:
            body["texts"] = summary.texts
        body["payload"] = event.payload
        if event.dropped:
            body["dropped"] = event.dropped
        if event.rewind is not None:
            body["rewind"] = list(event.rewind)
    elif isinstance(event, TagsEvent):
        body["ops"] = [
            [op.seq, op.time_us, op.op, op.key, op.value, *([] if op.author is None else [op.author])]
            for op in event.ops
        ]
    else:
        body["ops"] = [[op.seq, op.time_us, op.kind, op.data] for op in event.ops]
    packed = msgpack.packb(body)
    if len(packed) > MAX_EVENT_BYTES:
        raise LimitExceeded(
            f"{kind} event of run {event.run_id}: {len(packed)} bytes, the most is {MAX_EVENT_BYTES}; send it in parts"
        )
    return msgpack.packb([VERSION, kind, zlib.crc32(packed, zlib.crc32(kind.encode())), packed])  # type: ignore[no-any-return]


def summarize(points: Points) -> Summaries:
    """Summary of every series of `points`; floats and integers without a Python step a point."""
    n_series = len(points.series)
    counts = points.counts
    starts = points.starts
    nan = np.full(n_series, np.nan)
    first, last, low, high, total = nan.copy(), nan.copy(), nan.copy(), nan.copy(), np.zeros(n_series)
    finite = np.zeros(n_series, dtype=np.int64)
    last_at = starts + counts - 1
    texts: dict[int, str] = {}
    empty = counts == 0
    some_empty = bool(empty.any())
    listed = [kind for _, kind in points.series]
    kinds = np.array(listed, dtype=np.int64)
    kinds_there = sorted(set(listed))
    for value_kind in kinds_there:
        alike = len(kinds_there) == 1 and not some_empty
        chosen = np.arange(n_series) if alike else np.flatnonzero((kinds == value_kind) & ~empty)
        if not len(chosen):
            continue
        if value_kind == Kind.TEXT:
            for i in chosen.tolist():
                texts[i] = points.texts[int(points.values[last_at[i]])][:MAX_SUMMARY_TEXT]
            continue
        if value_kind == Kind.NULL:
            continue
        a, b = (
            int(starts[chosen[0]]),
            int(last_at[chosen[-1]]) + 1,
        )  # series are sorted by kind, so this is one stretch
        raw = points.values[a:b]
        values = raw.view(np.float64) if value_kind == Kind.FLOAT else raw.view(np.int64).astype(np.float64)
        at = starts[chosen] - a
        first[chosen] = values[at]
        last[chosen] = values[last_at[chosen] - a]
        low[chosen] = np.fmin.reduceat(values, at)
        high[chosen] = np.fmax.reduceat(values, at)
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # inf - inf, or a sum beyond the largest float: below
            sums = np.add.reduceat(values, at)
        if np.isfinite(sums).all():
            total[chosen] = sums
            finite[chosen] = counts[chosen]
        else:
            ok = np.isfinite(values)
            with np.errstate(over="ignore"):
                total[chosen] = np.add.reduceat(np.where(ok, values, 0.0), at)
            finite[chosen] = np.add.reduceat(ok.astype(np.int64), at)
    safe = np.maximum(last_at, 0)
    first_time = (
        points.times[np.minimum(starts, max(len(points.times) - 1, 0))] if len(points.times) else counts * 0
    )
    last_step = points.steps[safe] if len(points.steps) else np.zeros(n_series, dtype=np.int64)
    last_time = points.times[safe] if len(points.times) else np.zeros(n_series, dtype=np.int64)
    if some_empty:
        first_time, last_step, last_time = (
            np.where(empty, 0, column) for column in (first_time, last_step, last_time)
        )
    return Summaries(
        counts.astype(np.int64),
        finite,
        first,
        last,
        low,
        high,
        total,
        first_time,
        last_step,
        last_time,
        texts,
    )


def metrics_event(
    run_id: str, source: bytes, first: int, count: int, points: Points, dropped: int = 0
) -> MetricsEvent:
    """The event that carries `points` and covers the slots [first, first + count)."""
    return MetricsEvent(
        run_id,
        source,
        first,
        count,
        len(points.order),
        points.series,
        summarize(points),
        encode_points(points),
        dropped,
    )


def cut_event(event: MetricsEvent, ranges: Sequence[tuple[int, int]]) -> list[MetricsEvent]:
    """Events of parts of `event`: the points of each range of slots, where there are any, or the rewind.

    The slow path of a resend whose batches had other borders.

    Args:
        ranges: half-open ranges of slots within those of the event.

    Raises:
        CorruptEvent: the payload cannot be decoded.
    """
    points = decode_points(event.payload)
    parts = []
    for first, end in ranges:
        chosen = (points.seqs >= first) & (points.seqs < end)
        rewind = event.rewind if event.rewind is not None and first <= event.rewind.seq < end else None
        if chosen.any() or rewind is not None:
            part = points if chosen.all() else select_points(points, chosen)
            new = metrics_event(event.run_id, event.source, first, end - first, part, event.dropped)
            new.rewind = rewind
            parts.append(new)
    return parts


def select_points(points: Points, keep: NDArray[np.bool_]) -> Points:
    """The points for which `keep` (shape (n,), in order of logging) is true."""
    grouped = keep[points.permutation()]
    counts = np.bincount(points.order[keep], minlength=len(points.series))
    present = np.flatnonzero(counts)
    rank = np.zeros(len(points.series), dtype=np.int64)
    rank[present] = np.arange(len(present))
    values = points.values[grouped]
    texts = points.texts
    if texts:
        kinds = np.array([kind for _, kind in points.series])
        is_text = np.repeat(kinds == Kind.TEXT, points.counts)[grouped]
        texts = [texts[i] for i in values[is_text].tolist()]
        values[is_text] = np.arange(len(texts), dtype=np.uint64)
    return Points(
        [points.series[i] for i in present.tolist()],
        rank[points.order[keep]].astype(order_dtype(len(present))),
        points.seqs[keep],
        points.steps[grouped],
        points.times[grouped],
        values,
        texts,
        counts[present],
    )
