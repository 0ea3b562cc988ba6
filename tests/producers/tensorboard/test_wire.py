"""The wire format, held to protobuf's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from runstream.tensorboard import wire
from runstream.tensorboard.events import decode_event
from runstream.tensorboard.wire import WireError

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(INT64)
def test_an_integer_comes_back(value: int) -> None:
    ((number, field),) = wire.fields(wire.put_int(7, value))
    assert (number, wire.as_int(field)) == (7, value)


@given(INT64, st.floats(allow_nan=False), st.text(), st.floats(width=32, allow_nan=False))
def test_what_protobuf_writes_is_read(step: int, when: float, tag: str, value: float) -> None:
    written = Event(
        wall_time=when, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    )
    event = decode_event(written.SerializeToString())
    assert (event.wall_time, event.step) == (when, step)
    assert [(value_read.tag, value_read.number) for value_read in event.values] == [(tag, value)]


@given(INT64, st.floats(allow_nan=False), st.text(), st.floats(width=32, allow_nan=False))
def test_protobuf_reads_what_is_written(step: int, when: float, tag: str, value: float) -> None:
    summary = wire.put_bytes(1, wire.put_bytes(1, tag) + wire.put_float(2, value))
    data = wire.put_double(1, when) + wire.put_int(2, step) + wire.put_bytes(5, summary)
    event = Event.FromString(data)
    assert (event.wall_time, event.step) == (when, step)
    assert [(value_read.tag, value_read.simple_value) for value_read in event.summary.value] == [(tag, value)]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        decode_event(data)
    except WireError:
        pass


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(0, 100))
def test_a_message_that_is_cut_is_refused_or_shorter(parts: list[bytes], cut: int) -> None:
    whole = b"".join(wire.put_bytes(3, part) for part in parts)
    try:
        fields = [value for _, value in wire.fields(whole[:cut])]
    except WireError:
        return
    assert fields == parts[: len(fields)]


@pytest.mark.parametrize("data", [b"\xff" * 11, b"\x0b", b"\x00\x01", b"\x0a\x05ab", b"\x0d\x00", b"\x08"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(wire.fields(data))
