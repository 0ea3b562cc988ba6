"""Damaged events and payloads: each is refused with our error, or read; nothing else, and within bounded memory."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
import zlib

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.errors import CorruptEvent, EventError
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import (
    StatusEvent,
    StatusOp,
    TagOp,
    TagsEvent,
    encode_event,
    metrics_event,
)
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_index import read_index
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points

from . import TIMES

pytestmark = pytest.mark.attack

SOURCE = bytes(range(16))
MEMORY = 256 << 20
"""Most bytes the refusal of a few hundred damaged bytes may take."""


def _payload(n: int) -> bytes:
    rows = []
    for i in range(n):
        rows.append((SeriesKey(0, "loss"), Kind.FLOAT, i, i, 10**15 + i * 997, i / 3))
        rows.append((SeriesKey(0, "epoch"), Kind.INT, i, i, 10**15 + i * 997, i * i))
        rows.append((SeriesKey(2, "image"), Kind.TEXT, i, i, 10**15 + i * 997, f"images/{i}.png"))
    return encode_points(build_points(rows))


def _metrics() -> bytes:
    rows = [(SeriesKey(0, "loss"), Kind.FLOAT, i, i, 10**15 + i, i / 3) for i in range(50)]
    return encode_event(metrics_event("run", SOURCE, 0, 50, build_points(rows)))


PAYLOADS = [_payload(3), _payload(200)]
EVENTS = [
    _metrics(),
    encode_event(TagsEvent("run", SOURCE, 0, 3, [TagOp(1, 10**15, "set", "key", "value")])),
    encode_event(StatusEvent("run", SOURCE, 0, 3, [StatusOp(1, 10**15, "create", {"tags": {"a": "b"}})])),
]


def _damage(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or replace some bytes."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(damaged) + 1)
        how = chance.randrange(5)
        if how == 0 and damaged:
            damaged[at % len(damaged)] ^= 1 << chance.randrange(8)
        elif how == 1:
            del damaged[at : at + chance.randint(1, 40)]
        elif how == 2:
            damaged[at:at] = damaged[at : at + chance.randint(1, 40)]
        elif how == 3:
            damaged[at : at + 9] = chance.choice(
                [
                    b"\xff" * 9,
                    b"\0" * 9,
                    b"\xcf" + b"\xff" * 8,
                    b"\xdd\xff\xff\xff\xff",
                    b"\xc6\xff\xff\xff\xff",
                ]
            )
        else:
            damaged[at : at + 4] = chance.randbytes(chance.randint(0, 8))
    return bytes(damaged)


@settings(max_examples=300 * TIMES, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(data: bytes) -> None:
    with contextlib.suppress(EventError):
        decode_event(data)


@settings(max_examples=400 * TIMES, deadline=None)
@given(st.sampled_from(EVENTS), st.integers(0, 2**32))
def test_a_damaged_event_is_refused_or_the_same(event: bytes, seed: int) -> None:
    damaged = _damage(event, random.Random(seed))
    with contextlib.suppress(EventError):
        assert encode_event(decode_event(damaged)) == event  # never another one


@settings(max_examples=800 * TIMES, deadline=None)
@given(st.sampled_from(EVENTS), st.integers(0, 2**32))
def test_a_body_that_is_wrong_under_a_right_checksum_is_read_or_refused(event: bytes, seed: int) -> None:
    version, kind, _, packed = msgpack.unpackb(event)
    packed = _damage(packed, random.Random(seed))
    envelope = msgpack.packb([version, kind, zlib.crc32(packed, zlib.crc32(kind.encode())), packed])
    with contextlib.suppress(EventError):
        decode_event(envelope)


@settings(max_examples=1000 * TIMES, deadline=None)
@given(st.sampled_from(PAYLOADS), st.integers(0, 2**32))
def test_a_damaged_payload_is_read_or_refused(payload: bytes, seed: int) -> None:
    with contextlib.suppress(CorruptEvent):
        points = decode_points(_damage(payload, random.Random(seed)))
        n = int(points.counts.sum())
        assert len(points.order) == len(points.seqs) == len(points.steps) == len(points.values) == n
        assert not points.texts or len(points.texts) == sum(
            int(count)
            for count, (_, kind) in zip(points.counts, points.series, strict=True)
            if kind == Kind.TEXT
        )


def _bombs() -> dict[str, bytes]:
    zeros = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    header = msgpack.packb([[[0, "x", "", 0]], [1 << 20], [[1, len(zeros)]], [len(zeros), 0], [[8, 0]] * 4])
    huge = msgpack.packb([[[0, "x", "", 0]], [1 << 62], [[1, 10]], [10, 0], [[8, 0]] * 4])
    prefix = b"RP\x01\x01"
    return {
        "zstd": prefix + len(header).to_bytes(4, "little") + header + zeros * 2,
        "count": prefix + len(huge).to_bytes(4, "little") + huge + bytes(20),
        "array": prefix + (5).to_bytes(4, "little") + b"\xdd\xff\xff\xff\xff",
        "nested": prefix + (4000).to_bytes(4, "little") + b"\x91" * 4000,
    }


@pytest.mark.parametrize("name", ["zstd", "count", "array", "nested"])
def test_bombs_are_refused_within_bounds(name: str) -> None:
    bomb = _bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEvent):
            decode_points(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize(
    "event", [b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\xc6\xff\xff\xff\xff" + b"x" * 100]
)
def test_msgpack_bombs_are_refused(event: bytes) -> None:
    with pytest.raises(EventError):
        decode_event(event)


def test_a_header_alone_never_misleads() -> None:
    """What the hot tier's reader fetches first: any cut of it is refused, or says the same as the whole."""
    payload = PAYLOADS[1]
    whole = read_index(payload)
    for cut in range(len(payload)):
        try:
            index = read_index(payload[:cut])
        except CorruptEvent:
            continue
        assert index.blocks == whole.blocks
        assert np.array_equal(index.counts, whole.counts)
