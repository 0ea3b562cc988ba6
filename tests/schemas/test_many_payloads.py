"""Many payloads read together give what each gives by itself, whatever they hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.many_payloads import Pieces, decode_many
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points

Pattern = list[tuple[SeriesKey, Kind]]


def payload_like(pattern: Pattern, times: int, numbers: random.Random) -> bytes:
    """Points of these series, `times` of each; how wide its columns are differs from payload to payload."""
    wide = numbers.choice([0, 5, 300, 70_000, 1 << 40])
    start = numbers.choice([0, -3, 200, 40_000, 1 << 33, -(1 << 62)])
    rows: list[Any] = []
    for _ in range(times):
        for key, kind in pattern:
            integer = numbers.randint(0, wide) + start
            value: Any = {
                Kind.FLOAT: numbers.choice([numbers.random(), 0.0, -0.0, float("nan"), float("-inf")]),
                Kind.INT: integer,
                Kind.BOOL: integer % 2 == 0,
                Kind.TEXT: str(integer),
                Kind.NULL: None,
            }[kind]
            time = min(max(1_790_000_000_000_000 + integer, TIME_MIN_US), TIME_MAX_US)
            rows.append((key, kind, len(rows) + numbers.choice([0, 1000]), integer, time, value))
    return encode_points(build_points(rows))


def of_payloads(pieces: Pieces, n: int) -> list[list[Any] | None]:
    """By payload, its pieces (key, kind, steps, times, bits of the values); None: left to others."""
    points: list[list[Any] | None] = [None if number in pieces.others else [] for number in range(n)]
    ends = np.cumsum(pieces.counts).tolist()
    rows = zip(pieces.payload.tolist(), pieces.key.tolist(), pieces.kind.tolist(), ends, strict=True)
    at = 0
    for payload, key, kind, end in rows:
        columns = [column[at:end].tolist() for column in (pieces.steps, pieces.times, pieces.values)]
        into = points[payload]
        assert into is not None
        into.append((pieces.keys[key], kind, *columns))
        at = end
    return points


def alone(payload: bytes) -> list[Any] | None:
    """The same of one payload; None where it holds what is rare, or cannot be read."""
    try:
        points = decode_points(payload)
    except CorruptEvent:
        return None
    named = [key for key, _ in points.series]
    tables = any(key.cls == SeriesClass.TABLE for key in named)
    if tables or any(kind == Kind.TEXT for _, kind in points.series) or len(set(named)) < len(named):
        return None
    pieces, at = [], 0
    for (key, kind), count in zip(points.series, points.counts.tolist(), strict=True):
        columns = (points.steps, points.times, points.values)
        values = [column[at : at + count].tolist() for column in columns]
        if kind == Kind.NULL:
            values[2] = [0] * count
        pieces.append((key, int(kind), *values))
        at += count
    return pieces


PATTERNS = st.lists(
    st.tuples(
        st.builds(
            SeriesKey,
            st.sampled_from([SeriesClass.METRIC, SeriesClass.TABLE]),
            st.sampled_from(["a", "b", "loss" * 9]),
        ),
        st.sampled_from(Kind),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(PATTERNS, st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=4),
    st.integers(0, 1 << 30),
)
def test_together_they_give_what_each_gives_by_itself(
    groups: list[tuple[Pattern, int, int]], seed: int
) -> None:
    numbers = random.Random(seed)
    payloads = [payload_like(pattern, times, numbers) for pattern, times, n in groups for _ in range(n)]
    numbers.shuffle(payloads)
    assert of_payloads(decode_many(payloads), len(payloads)) == [alone(payload) for payload in payloads]


def test_what_has_no_value_is_read_as_none_beside_numbers() -> None:
    none, whole = SeriesKey(SeriesClass.METRIC, "a"), SeriesKey(SeriesClass.METRIC, "b")
    payload = payload_like([(none, Kind.NULL), (whole, Kind.INT)], 2, random.Random(0))
    assert of_payloads(decode_many([payload]), 1) == [alone(payload)]


@settings(deadline=None)
@given(st.integers(0, 1 << 30))
def test_damage_to_some_changes_nothing_of_the_others(seed: int) -> None:
    """A payload is refused, or read as its bytes say; a sound one beside it is read as ever."""
    numbers = random.Random(seed)
    pattern = [(SeriesKey(0, f"m{i}"), Kind.FLOAT) for i in range(numbers.choice([3, 10]))]
    sound = [payload_like(pattern, 3, numbers) for _ in range(20)]
    payloads = list(sound)
    hurt = numbers.sample(range(20), 6)
    for number in hurt:
        changed = bytearray(payloads[number])
        for _ in range(numbers.randint(1, 3)):
            changed[numbers.randrange(min(len(changed), 120))] = numbers.randrange(256)
        payloads[number] = bytes(changed[: numbers.choice([len(changed), numbers.randrange(len(changed))])])
    decoded = of_payloads(decode_many(payloads), 20)
    for number in set(range(20)) - set(hurt):
        assert decoded[number] == alone(sound[number])


@pytest.mark.parametrize("columns", [[], ["value"], ["step"], ["time", "value"]])
def test_columns_that_are_not_wanted_are_empty(columns: list[str]) -> None:
    numbers = random.Random(1)
    pattern = [(SeriesKey(0, "a"), Kind.FLOAT), (SeriesKey(0, "b"), Kind.INT)]
    payloads = [payload_like(pattern, 4, numbers) for _ in range(30)]
    some, every = decode_many(payloads, columns), decode_many(payloads)
    for name, column in (("step", "steps"), ("time", "times"), ("value", "values")):
        expected = getattr(every, column).tolist() if name in columns else []
        assert getattr(some, column).tolist() == expected
    assert some.counts.tolist() == every.counts.tolist()
