"""Events of sources that are alike, made together, are to the byte those of each by itself."""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import pytest

from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.alike_events import FEWEST, ShortPoints, alike_events
from runstream_schemas.wire.events import MetricsEvent, encode_event
from runstream_schemas.wire.short_events import short_event
from tests.seeds import new_random

NAMES = {number: SeriesKey(0, f"m{number}", "") for number in range(12)}
KINDS = {Kind.FLOAT: 1, Kind.INT: 2}
Point = tuple[int, int, float, int]


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def source(points: list[Point], kind: Kind, number: int, names: dict[int, SeriesKey] = NAMES) -> ShortPoints:
    """Points as (series, step, seconds, 64 bits), with a gap in the middle of their slots."""
    rows = [(step, bits(when), value, series << 32 | KINDS[kind]) for series, step, when, value in points]
    seqs = np.arange(number, number + len(rows), dtype=np.int64)
    seqs[len(seqs) // 2 :] += 3
    key = bytes([number]) * 16
    return ShortPoints(
        f"run{number}", key, 3, len(rows) + 9, np.array(rows, dtype=np.int64), seqs, names, kind, 2
    )


def by_itself(short: ShortPoints) -> MetricsEvent | None:
    seconds = short.rows[:, 1].view(np.float64).tolist()
    return short_event(
        short.run_id,
        short.source,
        short.first,
        short.count,
        short.rows.tolist(),
        seconds,
        short.seqs.tolist(),
        short.names,
        short.kind,
        short.dropped,
    )


def points_of(random: Random, order: list[int], kind: Kind, *, odd: bool) -> list[Point]:
    points = []
    for i, series in enumerate(order):
        wild = [random.randint(-(2**63), 2**63 - 1)] if odd else []
        number = random.choice([random.randint(-5, 5), random.randint(-70_000, 70_000), *wild])
        floats = [random.random(), number * 1.0, 0.5, -0.0] + ([float("nan"), 1.7e308] if odd else [])
        value = number if kind == Kind.INT else bits(random.choice(floats))
        when = random.choice([1.7e9, 1.7e9 + i, 1.7e9 + random.random(), -5.5] + ([1e300] if odd else []))
        points.append((series, random.choice([i, 3, *wild]), when, value))
    return points


def test_they_are_what_each_is_by_itself() -> None:
    random = new_random()
    compared = 0
    for _ in range(150):
        kind = random.choice([Kind.FLOAT, Kind.INT])
        order = [random.randrange(12) for _ in range(random.randint(1, 40))]
        sources = [
            source(points_of(random, order, kind, odd=random.random() < 0.1), kind, number)
            for number in range(FEWEST + 2)
        ]
        for short, event in zip(sources, alike_events(sources), strict=True):
            if event is not None:
                alone = by_itself(short)
                assert alone is not None
                assert encode_event(event) == encode_event(alone)
                compared += 1
    assert compared > 300


def test_those_of_several_layouts_names_and_kinds_are_told_apart() -> None:
    plain = [(series, step, 1.7e9 + step, step + series) for step in range(3) for series in range(10)]
    others = {number: SeriesKey(0, f"other{number}", "") for number in range(12)}
    sources = []
    for number in range(FEWEST):
        sources += [
            source(plain, Kind.INT, 8 * number),
            source(plain, Kind.INT, 8 * number + 1, others),
            source(plain, Kind.FLOAT, 8 * number + 2),
            source(plain[::-1], Kind.INT, 8 * number + 3),
        ]
    events = alike_events(sources)
    for short, event in zip(sources, events, strict=True):
        alone = by_itself(short)
        assert event is not None
        assert alone is not None
        assert encode_event(event) == encode_event(alone)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([(0, step, 1.7e9, bits(1.0)) for step in range(8)], id="many of one series"),
        pytest.param([(0, 0, 1.7e9, bits(1.7e308)), (0, 1, 1.7e9, bits(1e308))], id="a sum beyond all"),
        pytest.param([(0, 0, 1e300, bits(1.0))], id="a time beyond the calendar"),
        pytest.param([(0, -(2**63), 1.7e9, 0), (0, 2**63 - 1, 1.7e9, 0)], id="steps that wrap"),
        pytest.param([(15, 0, 1.7e9, bits(1.0))], id="an unknown series"),
    ],
)
def test_what_is_odd_is_left_to_others(points: list[Point]) -> None:
    sources = [source(points, Kind.FLOAT, number) for number in range(FEWEST)]
    assert alike_events(sources) == [None] * FEWEST


def test_few_are_left_to_each_by_itself() -> None:
    few = [source([(0, 0, 1.7e9, bits(1.0))], Kind.FLOAT, number) for number in range(FEWEST - 1)]
    assert alike_events(few) == [None] * len(few)
