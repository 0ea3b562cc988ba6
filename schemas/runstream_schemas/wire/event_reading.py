"""Reads events. Whatever the bytes are, they are refused or give an event that can be stored.

The payload of a metrics event is checked by the event's checksum and not decoded: readers of payloads leave out, and say,
what cannot be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from ..errors import CorruptEvent, EventError, RefusedEvent, UnsupportedVersion, lacks_memory
from ..limits import (
    INT_MAX,
    INT_MIN,
    MAX_EVENT_BYTES,
    MAX_EVENT_POINTS,
    MAX_NAME_BYTES,
    MAX_RUN_ID_BYTES,
    TIME_MAX_US,
    TIME_MIN_US,
)
from ..runs import params
from ..series import Kind, SeriesKey
from .events import (
    METRICS,
    STATUS,
    SUMMARY_FLOATS,
    SUMMARY_INTS,
    TAGS,
    VERSION,
    Event,
    MetricsEvent,
    Rewind,
    StatusEvent,
    StatusOp,
    Summaries,
    TagOp,
    TagOpName,
    TagsEvent,
)
from .payload_index import index_size
from .unpacking import unpack

_ENVELOPE_BYTES = 64
_Span = tuple[str, bytes, int, int]  # run id, source, first slot, slots
_TAG_OPS = get_args(TagOpName)


def decode_event(data: bytes) -> Event:
    """The event in `data`, checked for everything the database relies on.

    Raises:
        UnsupportedVersion: an event of another major version.
        RefusedEvent: an event that holds something that cannot be, and says which slots it covers.
        CorruptEvent: anything else that is not an event, down to one flipped bit.
    """
    if len(data) > MAX_EVENT_BYTES + _ENVELOPE_BYTES:
        raise CorruptEvent(f"{len(data)} bytes are more than an event may have ({MAX_EVENT_BYTES})")
    envelope = unpack(data)
    if not isinstance(envelope, list) or len(envelope) < 4:
        raise CorruptEvent(f"{len(data)} bytes hold {type(envelope).__name__}, not an event")
    version, kind, checksum, packed = envelope[:4]
    if (
        not isinstance(version, int)
        or isinstance(version, bool)
        or not isinstance(kind, str)
        or not isinstance(packed, bytes)
    ):
        raise CorruptEvent("the envelope's fields have wrong types")
    if version != VERSION:
        raise UnsupportedVersion(
            f"event version {version}; this runstream reads version {VERSION}: upgrade the reader"
        )
    if len(envelope) != 4 or checksum != zlib.crc32(packed, zlib.crc32(kind.encode())):
        raise CorruptEvent(f"checksum of a {kind[:20]!r} event does not match")
    body = unpack(packed)
    if kind not in _READERS:
        raise CorruptEvent(f"no event is of type {kind[:20]!r}")
    if not isinstance(body, dict):
        raise CorruptEvent(f"{kind!r} event has a malformed body ({type(body).__name__})")
    span = _read_span(body)
    try:
        return _READERS[kind](span, body)
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = str(error) if isinstance(error, EventError) else f"{type(error).__name__}: {error}"
        raise RefusedEvent(f"{kind!r} event of run {span[0]}: {reason}", kind, span) from None


def _read_span(body: dict[Any, Any]) -> _Span:
    run_id, source, first, count = (body.get(name) for name in ("run", "src", "first", "count"))
    if not isinstance(run_id, str) or not isinstance(source, bytes) or len(source) != 16:
        raise CorruptEvent("run id or source has a wrong type")
    if not 0 < len(run_id.encode()) <= MAX_RUN_ID_BYTES:
        raise CorruptEvent(f"run id {run_id[:40]!r} does not have 1 to {MAX_RUN_ID_BYTES} bytes")
    if type(first) is not int or type(count) is not int or not 0 <= first <= first + count <= INT_MAX:
        raise CorruptEvent(f"slots [{first!r:.40}, +{count!r:.40}) make no sense")
    return run_id, source, first, count


def _read_metrics(span: _Span, body: dict[str, Any]) -> MetricsEvent:
    series = [(SeriesKey(cls, name, column), Kind(k)) for cls, name, column, k in body["series"]]
    for key, _ in series:
        if type(key.name) is not str or type(key.column) is not str or not 0 <= key.cls < 1 << 15:
            raise CorruptEvent(f"series {key!r:.100} cannot be")
    columns: dict[str, Any] = {}
    for names, dtype in ((SUMMARY_INTS, "<i8"), (SUMMARY_FLOATS, "<f8")):
        for name in names:
            columns[name] = np.frombuffer(body["summary"][name], dtype=dtype)
    if any(len(column) != len(series) for column in columns.values()):
        raise CorruptEvent("the summary does not have one entry a series")
    for name in ("first_time", "last_time"):
        if len(series):
            _check_time(int(columns[name].min()))
            _check_time(int(columns[name].max()))
    texts = body.get("texts", {})
    if type(texts) is not dict or not all(
        type(i) is int and 0 <= i < len(series) and type(text) is str for i, text in texts.items()
    ):
        raise CorruptEvent("last texts belong to no series, or are none")
    points, payload, dropped = body["points"], body["payload"], body.get("dropped", 0)
    if type(points) is not int or not 0 <= points <= (MAX_EVENT_POINTS if span[3] else 0):
        raise CorruptEvent(f"number of points {points!r:.40} makes no sense")
    if type(dropped) is not int or not 0 <= dropped <= INT_MAX:
        raise CorruptEvent(f"number of dropped points {dropped!r:.40} makes no sense")
    if not isinstance(payload, bytes) or index_size(payload) > len(payload):
        raise CorruptEvent("the payload is none")
    summaries = Summaries(**columns, texts=texts)
    return MetricsEvent(*span, points, series, summaries, payload, dropped, _read_rewind(span, body))


def _read_rewind(span: _Span, body: dict[str, Any]) -> Rewind | None:
    if (written := body.get("rewind")) is None:
        return None
    if type(written) is not list or len(written) < 3 or any(type(number) is not int for number in written):
        raise CorruptEvent(f"rewind {written!r:.40} is none")
    rewind = Rewind(*written[:3])
    if not span[2] <= rewind.seq < span[2] + span[3] or not INT_MIN <= rewind.step <= INT_MAX:
        raise CorruptEvent(f"rewind {rewind!r:.80} cannot be")
    _check_time(rewind.time_us)
    return rewind


def _read_tags(span: _Span, body: dict[str, Any]) -> TagsEvent:
    ops = [TagOp(*op[:6]) for op in body["ops"]]
    for op in ops:
        _check_op(op, span)
        if op.op not in _TAG_OPS or not isinstance(op.key, str):
            raise CorruptEvent(f"operation {op.op!r:.40} on {op.key!r:.40} cannot be")
        if op.value is not None and not isinstance(op.value, str):
            raise CorruptEvent(f"value of {op.key!r:.40} is no text")
        if op.op in ("param", "overwrite"):
            _check_param(op)
    return TagsEvent(*span, ops)


def _check_param(op: TagOp) -> None:
    if not 0 < len(op.key.encode()) <= MAX_NAME_BYTES or "\0" in op.key:
        raise CorruptEvent(f"{op.key!r:.40} is no name of a parameter")
    author: object = op.author
    if author is not None and not (isinstance(author, str) and len(author) <= MAX_NAME_BYTES):
        raise CorruptEvent(f"who overwrote {op.key!r:.40} is no text, or a long one")
    try:
        params.decode(op.value or "")
    except ValueError as error:
        raise CorruptEvent(f"value of parameter {op.key!r:.40} cannot be: {error}") from None


def _read_status(span: _Span, body: dict[str, Any]) -> StatusEvent:
    ops = [StatusOp(*op[:4]) for op in body["ops"]]
    for op in ops:
        _check_op(op, span)
        if type(op.kind) is not str or type(op.data) is not dict:
            raise CorruptEvent(f"status operation {op.kind!r:.40} cannot be")
    return StatusEvent(*span, ops)


def _check_op(op: TagOp | StatusOp, span: _Span) -> None:
    if type(op.seq) is not int or type(op.time_us) is not int:
        raise CorruptEvent("an operation's slot or time is no integer")
    _check_time(op.time_us)
    if not span[2] <= op.seq < span[2] + span[3]:
        raise CorruptEvent(f"slot {op.seq} is none of the event's [{span[2]}, +{span[3]})")


def _check_time(time_us: int) -> None:
    if not TIME_MIN_US <= time_us <= TIME_MAX_US:
        raise CorruptEvent(f"time {time_us} µs lies outside the years 1 to 9999")


_READERS: dict[str, Callable[[_Span, dict[str, Any]], Event]] = {
    METRICS: _read_metrics,
    TAGS: _read_tags,
    STATUS: _read_status,
}
