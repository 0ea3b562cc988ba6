"""The packed payload of points: what goes in comes out, and damage is never taken for data without a word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.payload import BLOCK_POINTS, encode_points
from runstream_schemas.wire.payload_index import index_size, read_index
from runstream_schemas.wire.payload_reading import decode_block, decode_points
from runstream_schemas.wire.points import Points, build_points

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(TIME_MIN_US, TIME_MAX_US)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.FLOAT: st.floats(),
    Kind.INT: INT64,
    Kind.BOOL: st.booleans(),
    Kind.TEXT: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    Kind.NULL: st.none(),
}


@st.composite
def logged_rows(draw: st.DrawFn, most: int = 60) -> list[tuple[SeriesKey, Kind, int, int, int, Any]]:
    keys = draw(
        st.lists(st.builds(SeriesKey, st.integers(0, 6), NAMES, st.just("") | NAMES), min_size=1, max_size=5)
    )
    rows, seq = [], draw(st.integers(0, 2**40))
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(Kind))
        rows.append((draw(st.sampled_from(keys)), kind, seq, draw(INT64), draw(TIMES), draw(VALUES[kind])))
        seq += draw(st.integers(0, 3))
    return rows


def unpack(points: Points) -> list[tuple[SeriesKey, Kind, int, int, int, Any]]:
    """Back to rows in order of logging."""
    values = [value for i in range(len(points.series)) for value in points.python_values(i)]
    rows: list[Any] = [None] * len(values)
    for grouped, logged in enumerate(points.permutation().tolist()):
        key, kind = points.series[int(points.order[logged])]
        step, time = int(points.steps[grouped]), int(points.times[grouped])
        rows[logged] = (key, kind, int(points.seqs[logged]), step, time, values[grouped])
    return rows


def same(a: list[Any], b: list[Any]) -> bool:
    def bits(row: Any) -> Any:
        value = row[5]
        if row[1] == Kind.FLOAT:
            value = "nan" if math.isnan(value) else (value, math.copysign(1, value))
        return (*row[:5], type(row[5]), value)

    return [bits(row) for row in a] == [bits(row) for row in b]


@given(logged_rows())
def test_any_points_round_trip(rows: list[Any]) -> None:
    assert same(unpack(decode_points(encode_points(build_points(rows)))), rows)


@given(logged_rows(), st.data())
def test_decoding_some_series_gives_exactly_their_points(rows: list[Any], data: st.DataObject) -> None:
    keys = sorted({row[0] for row in rows}, key=lambda key: (key.cls, key.name, key.column))
    only = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    payload = encode_points(build_points(rows))
    assert same(unpack(decode_points(payload, only)), [row for row in rows if row[0] in only])


def wide_batch(n: int = 3 * BLOCK_POINTS, series: int = 7) -> Points:
    order = np.arange(n) % series
    kinds = [Kind.FLOAT if i < 4 else Kind.INT for i in range(series)]
    counts = np.bincount(order, minlength=series).astype(np.int64)
    rng = np.random.default_rng(1)
    grouped = np.argsort(order, kind="stable")
    return Points(
        [(SeriesKey(0, f"s{i}"), kinds[i]) for i in range(series)],
        order.astype(np.uint8),
        np.arange(100, 100 + n),
        (np.arange(n) // series)[grouped],
        (1_700_000_000_000_000 + np.cumsum(rng.integers(0, 50, n)))[grouped],
        rng.integers(0, 2**63, n).astype(np.uint64),
        [],
        counts,
    )


def test_a_series_of_a_large_chunk_is_read_from_its_blocks_alone() -> None:
    points = wide_batch()
    payload = encode_points(points)
    index = read_index(payload[: index_size(payload[:8])])
    key = SeriesKey(0, "s5")
    numbers = index.wanted({key})
    assert len(numbers) == 1 < len(index.blocks)
    first, _, offset, size = index.blocks[numbers[0]]
    block = decode_block(index, numbers[0], payload[offset : offset + size])
    skip = int(index.counts[first:5].sum())
    n = int(index.counts[5])
    start = int(points.starts[5])
    assert np.array_equal(block.values[skip : skip + n], points.values[start : start + n])
    assert np.array_equal(block.steps[skip : skip + n], points.steps[start : start + n])


def test_regular_logging_costs_little_more_than_its_values() -> None:
    points = wide_batch()
    points.values[:] = np.random.default_rng(2).normal(size=len(points.values)).view(np.uint64)
    assert len(encode_points(points)) / len(points.values) < 9.5


@settings(max_examples=300)
@given(logged_rows(20), st.data())
def test_damaged_payloads_raise_corrupt_event_or_decode_to_something_well_formed(
    rows: list[Any], data: st.DataObject
) -> None:
    payload = bytearray(encode_points(build_points(rows)))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    for damaged in (bytes(payload), bytes(payload[:cut])):
        try:
            points = decode_points(damaged)
        except CorruptEvent:
            continue
        assert len(points.order) == len(points.steps) == len(points.values) == int(points.counts.sum())


def test_series_that_are_not_sorted_by_kind_are_sorted() -> None:
    points = Points(
        [(SeriesKey(0, "i"), Kind.INT), (SeriesKey(0, "f"), Kind.FLOAT)],
        np.array([0, 1, 0], np.uint8),
        np.arange(3),
        np.array([0, 1, 0]),
        np.array([5, 6, 7]),
        np.array([1, 2, np.float64(0.5).view(np.uint64)], np.uint64),
        [],
        np.array([2, 1]),
    )
    rows = unpack(decode_points(encode_points(points)))
    assert [(row[0].name, row[5]) for row in rows] == [("i", 1), ("f", 0.5), ("i", 2)]


def test_columns_of_different_lengths_are_refused() -> None:
    points = wide_batch()
    points.steps = points.steps[:-1]
    with pytest.raises(ValueError, match="different lengths"):
        encode_points(points)


def test_times_that_cannot_be_are_read_as_the_nearest_that_can() -> None:
    """2^62 µs is the year 148,107: no date type of Python, Postgres or a browser takes all of them."""
    key = SeriesKey(0, "x")
    rows = [(key, Kind.FLOAT, i, i, time, 0.0) for i, time in enumerate([-(2**62), 0, 2**62, 2**63 - 1])]
    assert decode_points(encode_points(build_points(rows))).times.tolist() == [
        TIME_MIN_US,
        0,
        TIME_MAX_US,
        TIME_MAX_US,
    ]
