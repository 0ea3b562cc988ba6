"""The events on the topics: they round-trip, one flipped bit is refused, and their bytes are pinned by golden files."""

from __future__ import annotations

import math
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.errors import CorruptEvent, EventError, LimitExceeded, RefusedEvent, UnsupportedVersion
from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import (
    SUMMARY_FLOATS,
    SUMMARY_INTS,
    MetricsEvent,
    Rewind,
    StatusEvent,
    StatusOp,
    TagOp,
    TagsEvent,
    cut_event,
    encode_event,
    metrics_event,
    summarize,
    topic_of,
)
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points

from .test_payload import logged_rows, same, unpack

GOLDEN = Path(__file__).parent / "golden"
SOURCE = bytes(range(16))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RUN_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SLOTS = st.integers(0, 2**50)
PARAM_NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)

tag_ops = st.builds(
    TagOp, SLOTS, SLOTS, st.sampled_from(["set", "remove", "property", "field"]), TEXTS, st.none() | TEXTS
) | st.builds(
    TagOp,
    SLOTS,
    SLOTS,
    st.sampled_from(["param", "overwrite"]),
    PARAM_NAMES,
    st.sampled_from(["1", "NaN", '"x"', "[1]"]),
    st.none() | TEXTS,
)
status_data = st.dictionaries(
    TEXTS, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS, max_size=3
)
status_ops = st.builds(StatusOp, SLOTS, SLOTS, TEXTS, status_data)
sources = st.binary(min_size=16, max_size=16)


def _around(kind: Any, run_id: str, source: bytes, ops: list[Any]) -> Any:
    """An event that covers its operations."""
    first = min((op.seq for op in ops), default=0)
    return kind(run_id, source, first, max((op.seq for op in ops), default=0) + 1 - first, ops)


events = st.one_of(
    st.builds(_around, st.just(TagsEvent), RUN_IDS, sources, st.lists(tag_ops, max_size=4)),
    st.builds(_around, st.just(StatusEvent), RUN_IDS, sources, st.lists(status_ops, max_size=4)),
    st.builds(
        lambda run, source, first, count, rows: metrics_event(run, source, first, count, build_points(rows)),
        RUN_IDS,
        sources,
        SLOTS,
        st.integers(1, 2**50),
        logged_rows(15),
    ),
)


def equal(a: Any, b: Any) -> bool:
    if not isinstance(a, MetricsEvent):
        return bool(a == b)
    fields = ("run_id", "source", "first", "count", "points", "series", "payload", "dropped", "rewind")
    columns = ("count", "finite", "first", "last", "min", "max", "sum", "last_step", "last_time")
    return (
        all(getattr(a, name) == getattr(b, name) for name in fields)
        and all(np.array_equal(getattr(a.summary, c), getattr(b.summary, c), equal_nan=True) for c in columns)
        and a.summary.texts == b.summary.texts
    )


@given(events)
def test_any_event_round_trips(event: Any) -> None:
    decoded = decode_event(encode_event(event))
    assert equal(event, decoded)
    assert topic_of(decoded) == topic_of(event)


@given(events, st.data())
def test_any_flipped_byte_is_refused(event: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode_event(event))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EventError):
        decode_event(bytes(encoded))


@given(events, st.data())
def test_any_truncation_and_any_addition_is_refused(event: Any, data: st.DataObject) -> None:
    encoded = encode_event(event)
    with pytest.raises(EventError):
        decode_event(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(EventError):
        decode_event(encoded + b"\0")


@pytest.mark.parametrize(
    "op",
    [["param", "", "1"], ["param", "a\0", "1"], ["param", "a" * 1025, "1"], ["param", "a", None], ["param", "a", "x"],
     ["param", "a", 1], ["param", "a", '"' + "x" * (64 << 10) + '"'], ["overwrite", "a", "1", 7], ["param", "a", "[NaN]"],
     ["overwrite", "a", "1", "x" * 2000], ["params", "a", "1"]],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused(op: list[Any]) -> None:
    body = msgpack.packb({"run": "r", "src": SOURCE, "first": 0, "count": 1, "ops": [[0, 1, *op]]})
    envelope = msgpack.packb([1, "tags", zlib.crc32(body, zlib.crc32(b"tags")), body])
    with pytest.raises(RefusedEvent, match="run r"):
        decode_event(envelope)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_event_are_refused(noise: bytes) -> None:
    with pytest.raises(EventError):
        decode_event(noise)


def test_another_major_version_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersion, match="version 2"):
        decode_event(msgpack.packb([2, "metrics", 0, b""]))


def test_unknown_fields_are_ignored() -> None:
    body = msgpack.packb(
        {"run": "r", "src": SOURCE, "first": 0, "count": 1, "ops": [[0, 1, "start", {}, "new"]], "new": 1}
    )
    envelope = msgpack.packb([1, "status", zlib.crc32(body, zlib.crc32(b"status")), body])
    assert decode_event(envelope) == StatusEvent("r", SOURCE, 0, 1, [StatusOp(0, 1, "start", {})])


def test_an_event_beyond_the_limit_is_refused_with_its_run_and_size() -> None:
    event = TagsEvent("run-7", SOURCE, 0, 1, [TagOp(0, 0, "set", "k", "x" * (7 << 20))])
    with pytest.raises(LimitExceeded, match="run-7"):
        encode_event(event)


def golden_events() -> dict[str, Any]:
    loss, note = SeriesKey(0, "loss"), SeriesKey(0, "π note")
    rows = [
        (loss, Kind.FLOAT, 3, 0, 1_700_000_000_000_000, 0.5),
        (note, Kind.TEXT, 4, 0, 1_700_000_000_000_001, "héllo"),
        (loss, Kind.FLOAT, 5, 1, 1_700_000_000_000_002, math.inf),
        (SeriesKey(1, "table", "x"), Kind.INT, 6, 0, 1_700_000_000_000_003, -(2**63)),
        (loss, Kind.NULL, 7, 2, 1_700_000_000_000_004, None),
        (SeriesKey(0, "ok"), Kind.BOOL, 8, 0, 1_700_000_000_000_005, True),
    ]
    rewound = metrics_event("run-1", SOURCE, 3, 6, build_points(rows[1:]))
    rewound.rewind = Rewind(3, -1, 1_700_000_000_000_000)
    return {
        "metrics": metrics_event("run-1", SOURCE, 3, 6, build_points(rows), 2),
        "rewind": rewound,
        "tags": TagsEvent(
            "run-1", SOURCE, 0, 2, [TagOp(0, 1, "set", "k", None), TagOp(1, 2, "property", "p", "v")]
        ),
        "params": TagsEvent(
            "run-1",
            SOURCE,
            2,
            4,
            [
                TagOp(2, 3, "param", "opt.lr", "0.1"),
                TagOp(3, 4, "param", "net", '"π"'),
                TagOp(4, 5, "param", "on", "true"),
                TagOp(5, 6, "overwrite", "opt.lr", "NaN", "me@here, process 7"),
            ],
        ),
        "status": StatusEvent(
            "run-1", SOURCE, 0, 1, [StatusOp(0, 5, "complete", {"ends": {SOURCE.hex(): 9}})]
        ),
    }


@pytest.mark.parametrize("name", ["metrics", "rewind", "tags", "params", "status"])
def test_the_bytes_of_version_1_never_change(name: str) -> None:
    event = golden_events()[name]
    golden = (GOLDEN / f"{name}.v1.bin").read_bytes()
    assert equal(decode_event(golden), event)
    assert encode_event(event) == golden


@given(logged_rows())
def test_the_summary_is_what_a_plain_loop_finds(rows: list[Any]) -> None:
    points = build_points(rows)
    summary = summarize(points)
    for i, (_, kind) in enumerate(points.series):
        values = points.python_values(i)
        assert summary.count[i] == len(values)
        assert summary.last_step[i] == points.steps[points.starts[i] + points.counts[i] - 1]
        if kind == Kind.TEXT:
            assert summary.texts[i] == values[-1]
        if kind not in (Kind.FLOAT, Kind.INT, Kind.BOOL):
            assert math.isnan(summary.min[i])
            continue
        numbers = [float(v) for v in values]  # type: ignore[arg-type]
        real = [v for v in numbers if not math.isnan(v)]
        finite = [v for v in numbers if math.isfinite(v)]
        assert (math.isnan(summary.min[i]) and not real) or summary.min[i] == min(real)
        assert (math.isnan(summary.max[i]) and not real) or summary.max[i] == max(real)
        assert summary.finite[i] == len(finite) or not math.isfinite(sum(finite))
        assert np.array_equal([summary.first[i], summary.last[i]], [numbers[0], numbers[-1]], equal_nan=True)
        if sum(map(abs, finite)) < 1e300:
            assert math.isclose(
                summary.sum[i], math.fsum(finite), rel_tol=1e-9, abs_tol=1e-9 * sum(map(abs, finite))
            )


@given(logged_rows(), st.lists(st.integers(0, 60), max_size=8))
def test_cutting_keeps_exactly_the_points_of_each_range(rows: list[Any], offsets: list[int]) -> None:
    base = rows[0][2] if rows else 0
    borders = sorted(base + offset for offset in offsets)
    ranges = list(zip(borders[::2], borders[1::2], strict=False))
    event = metrics_event("r", SOURCE, base, 200, build_points(rows))
    parts = {part.first: part for part in cut_event(event, ranges)}
    for first, end in ranges:
        kept = [row for row in rows if first <= row[2] < end]
        part = parts.get(first) if kept else None
        if part is not None:
            assert (part.first, part.count, part.points) == (first, end - first, len(kept))
        assert same(unpack(decode_points(part.payload)) if part else [], kept)


@pytest.mark.parametrize(
    "rewind", [5, [3, 1], [3, "1", 5], [2, 1, 5], [9, 1, 5], [3, 1 << 63, 5], [3, 1, 1 << 62], [3, True, 5]]
)
def test_a_rewind_that_cannot_be_is_refused(rewind: Any) -> None:
    with pytest.raises(RefusedEvent):
        decode_event(_body(golden_events()["rewind"], rewind=rewind))


def test_a_rewind_stays_with_the_slot_it_was_written_in() -> None:
    event = golden_events()["rewind"]
    parts = cut_event(event, [(3, 4), (5, 7)])
    assert [(part.first, part.points, part.rewind) for part in parts] == [(3, 0, event.rewind), (5, 2, None)]


def test_a_payload_inside_an_event_that_lies_is_corrupt_not_a_crash() -> None:
    event = golden_events()["metrics"]
    event.payload = encode_points(build_points([]))[:-1]
    with pytest.raises(CorruptEvent):
        cut_event(decode_event(encode_event(event)), [(0, 4)])  # type: ignore[arg-type]


def _body(event: Any, **changes: Any) -> bytes:
    """The event with other fields in its body, and the checksum of that."""
    version, kind, _, packed = msgpack.unpackb(encode_event(event))
    packed = msgpack.packb({**msgpack.unpackb(packed, strict_map_key=False), **changes})
    return bytes(msgpack.packb([version, kind, zlib.crc32(packed, zlib.crc32(kind.encode())), packed]))


def _some_metrics() -> MetricsEvent:
    rows = [(SeriesKey(0, "loss"), Kind.FLOAT, i, i, 10**15 + i, i / 3) for i in range(5)]
    return metrics_event("run", SOURCE, 0, 5, build_points(rows))


@pytest.mark.attack
@pytest.mark.parametrize("time_us", [TIME_MIN_US - 1, TIME_MAX_US + 1, -(2**62), 2**62, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("topic", ["metrics", "tags", "status"])
def test_a_time_outside_the_years_1_to_9999_is_refused_with_the_slots_it_covers(
    topic: str, time_us: int
) -> None:
    if topic == "metrics":
        if time_us > 2**63 - 1:
            return  # it cannot be written there
        summary = {n: getattr(_some_metrics().summary, n).tobytes() for n in (*SUMMARY_INTS, *SUMMARY_FLOATS)}
        summary["last_time"] = np.array([time_us], dtype="<i8").tobytes()
        data = _body(_some_metrics(), summary=summary)
    elif topic == "tags":
        data = encode_event(TagsEvent("run", SOURCE, 7, 2, [TagOp(7, time_us, "set", "k", "v")]))
    else:
        data = encode_event(StatusEvent("run", SOURCE, 7, 2, [StatusOp(7, time_us, "heartbeat")]))
    with pytest.raises(RefusedEvent, match="years 1 to 9999") as refused:
        decode_event(data)
    assert refused.value.topic == topic
    assert refused.value.span == (("run", SOURCE, 0, 5) if topic == "metrics" else ("run", SOURCE, 7, 2))


@pytest.mark.attack
@pytest.mark.parametrize("time_us", [TIME_MIN_US, TIME_MAX_US])
def test_the_limits_of_time_are_exact_as_floats_and_as_dates(time_us: int) -> None:
    assert int(float(time_us)) == time_us
    assert EPOCH + timedelta(microseconds=time_us)
    event = StatusEvent("run", SOURCE, 0, 1, [StatusOp(0, time_us, "start")])
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    "changes",
    [
        {"series": 1}, {"series": [[0, b"bytes", "", 0]]}, {"series": [[1 << 20, "x", "", 0]]},
        {"series": [[0, "x", "", 99]]}, {"summary": {}}, {"summary": 5}, {"points": -1}, {"points": 2**40},
        {"points": True}, {"points": 1, "count": 0}, {"dropped": -1}, {"dropped": float("inf")}, {"dropped": 2**64 - 1},
        {"texts": {5: "x"}}, {"texts": {0: 1}}, {"texts": ["x"]}, {"payload": b""}, {"payload": b"garbage" * 9},
        {"payload": "text"}, {"payload": b"RP\x01\x00\xff\xff\x00\x00"},
    ],
)  # fmt: skip
def test_what_a_metrics_event_cannot_hold_is_refused_with_the_slots_it_covers(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(RefusedEvent) as refused:
        decode_event(_body(_some_metrics(), **changes))
    assert refused.value.span == ("run", SOURCE, 0, changes.get("count", 5))


@pytest.mark.parametrize(
    "changes",
    [
        {"run": 1}, {"run": ""}, {"run": "r" * 257}, {"src": b"short"}, {"first": -1}, {"first": True},
        {"count": 2**64 - 1}, {"first": 2**63 - 1, "count": 1}, {"count": None},
    ],
)  # fmt: skip
def test_an_event_that_does_not_say_what_it_covers_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptEvent) as refused:
        decode_event(_body(_some_metrics(), **changes))
    assert not isinstance(refused.value, RefusedEvent)


def _enveloped(packed: bytes) -> bytes:
    return bytes(msgpack.packb([1, "status", zlib.crc32(packed, zlib.crc32(b"status")), packed]))


def _array(n: int) -> bytes:
    return b"\xdd" + n.to_bytes(4, "big")


_ROOM = 6 << 20
BOMBS = {
    "empty maps": lambda: _array(_ROOM) + b"\x80" * _ROOM,
    "empty lists": lambda: _array(_ROOM) + b"\x90" * _ROOM,
    "small texts": lambda: (_array(100_000) + b"\xa2ab" * 100_000) * (_ROOM // 300_005),
    "lists of texts": lambda: _array(_ROOM // 9) + b"\x92\xa3abc\xa3abc" * (_ROOM // 9),
    "maps": lambda: _array(_ROOM // 3) + b"\x81\x01\x01" * (_ROOM // 3),
    "lists that never come": lambda: _array(1 << 20) * 900 + b"\xc0" * (1 << 20),
    "one that never comes": lambda: _array((1 << 32) - 1),
    "deep": lambda: b"\x91" * _ROOM,
    "eight million maps": lambda: _array(8 << 20) + b"\x80" * (8 << 20),
}


@pytest.mark.attack
@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_bytes_that_would_take_much_memory_are_refused_before_they_do(name: str, wrapped: bool) -> None:
    data = _enveloped(BOMBS[name]()) if wrapped else BOMBS[name]()
    tracemalloc.start()
    try:
        with pytest.raises(EventError):
            decode_event(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * (6 << 20) + 4 * len(data)


def test_a_very_wide_event_is_no_bomb() -> None:
    rows = [(SeriesKey(0, f"layer{i}.weight"), Kind.FLOAT, i, i, 10**15, 0.5) for i in range(40_000)]
    event = metrics_event("run", SOURCE, 0, len(rows), build_points(rows))
    read = decode_event(encode_event(event))
    assert isinstance(read, MetricsEvent)
    assert len(decode_points(read.payload).series) == 40_000
