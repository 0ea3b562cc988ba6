"""Scalars by shapes: the same as by reading each record's fields, whatever comes between."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.util import tensor_util

from runstream.tensorboard.events import decode_event, decode_tensor
from runstream.tensorboard.records import RecordFile, frame
from runstream.tensorboard.scalars import ScalarReader
from tests.producers.tensorboard.oracle import oracle_scalars, scalar_event, write_events

TAGS = ("a", "b", "bb", "loss/\N{SNOWMAN}", "x" * 130)


def old(tag: str, value: float, step: int, when: float) -> Event:
    return scalar_event(tag, value, step, when)


def new(
    tag: str, value: float, step: int, when: float, kind: Any = np.float32, described: bool = True
) -> Event:
    """As TensorFlow 2 and Keras write it; the metadata may be left out after the first time."""
    tensor = tensor_util.make_tensor_proto(np.array(value, kind))
    metadata = create_summary_metadata("shown", "what it is") if described else None
    summary = Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
    return Event(wall_time=when, step=step, summary=summary)


def columns_of(records: list[bytes]) -> dict[str, list[tuple[int, float, float]]]:
    columns, events, bad = ScalarReader().read(records)
    assert (events, bad) == ([], 0)
    points: dict[str, list[tuple[int, float, float]]] = {}
    for (tag, _), column in columns.items():
        points.setdefault(tag, []).extend(zip(*(each.tolist() for each in column.arrays()), strict=True))
    return points


FLOATS = st.floats(width=32, allow_nan=False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(TAGS),
            FLOATS,
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.floats(allow_nan=False),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_any_scalars_are_read_as_they_are(points: list[tuple[str, float, int, float, bool]]) -> None:
    records, expected = [], {}
    for name, value, step, when, is_new in points:
        tag = f"{name}{is_new}"
        event = (new if is_new else old)(tag, value, step, when)
        records.append(event.SerializeToString())
        expected.setdefault(tag, []).append((step, when, value))
    assert columns_of(records) == expected


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_new_scalars_of_each_type(tmp_path: Path, kind: Any) -> None:
    events = [new("loss", step % 100, step, 1e9 + step, kind, step == 0) for step in range(300)]
    file = RecordFile(write_events(tmp_path, events))
    assert columns_of(file.read()[1:]) == oracle_scalars(tmp_path)


def test_a_value_that_is_no_scalar_is_no_column() -> None:
    tensor = tensor_util.make_tensor_proto(np.zeros(3, np.float32))
    value = Summary.Value(tag="loss", tensor=tensor, metadata=create_summary_metadata("", ""))
    two = Summary(value=[Summary.Value(tag="a", simple_value=1.0), Summary.Value(tag="b", simple_value=2.0)])
    records = [Event(step=1, summary=Summary(value=[value])).SerializeToString()]
    records.append(Event(wall_time=1.0, step=1, summary=two).SerializeToString())
    columns, events, bad = ScalarReader().read([*records, b"\xff\xff"])
    assert ({tag for tag, _ in columns}, len(events), bad) == (set(), 2, 1)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).astype(kind).reshape(2, 3)
        for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    ]
    + [np.zeros((0, 3), np.float32), np.full((50, 50), 7.0), np.array([b"a", b"", b"\xff"], dtype=object)],
    ids=str,
)
def test_tensors_are_what_tensorboard_makes_of_them(array: Any) -> None:
    proto = tensor_util.make_tensor_proto(array)
    tensor = decode_tensor(proto.SerializeToString())
    expected = tensor_util.make_ndarray(proto)
    assert (tensor.shape, tensor.tolist()) == (expected.shape, expected.tolist())


def test_several_values_of_one_record_are_all_there(tmp_path: Path) -> None:
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=1.5) for tag in TAGS])
    event = decode_event(Event(wall_time=2.0, step=3, summary=summary).SerializeToString())
    assert [(value.tag, value.number) for value in event.values] == [(tag, 1.5) for tag in TAGS]


def test_a_file_is_read_in_memory_that_does_not_grow_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream.tensorboard.records.CHUNK_BYTES", 1 << 16)
    record = frame(scalar_event("loss", 1.0, 70_000, 1e9).SerializeToString())
    peaks = []
    for count in (5_000, 20_000):
        path = tmp_path / str(count)
        path.write_bytes(record * count)
        file, reader, points = RecordFile(path), ScalarReader(), 0
        tracemalloc.start()
        try:
            while records := file.read():
                columns, _, _ = reader.read(records)
                points += sum(len(column.steps) for column in columns.values())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert points == count
    assert peaks[1] < 1.2 * peaks[0] < path.stat().st_size
