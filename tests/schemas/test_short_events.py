"""An event of few points made in plain Python is, to the byte, what numpy makes of them; or it is left to numpy."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from runstream.spool import segment as seg
from runstream.spool.reading.encoder import slice_points
from runstream.spool.reading.slices import Slice
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.events import MetricsEvent, encode_event, metrics_event
from runstream_schemas.wire.short_events import short_event
from tests.seeds import new_random

RUN, SOURCE = "run", b"s" * 16
NAMES = {number: SeriesKey(0, f"m{number}", "") for number in range(12)}


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def both(points: list[tuple[int, int, float, int]], kind: Kind, first: int = 7) -> tuple[Any, MetricsEvent]:
    """Of points (series, step, seconds, 64 bits) behind one another: the short event or None, and numpy's."""
    slots = np.array(
        [
            (step, bits(when), value, number << 32 | seg.KIND_BASE + kind)
            for number, step, when, value in points
        ],
        dtype=np.int64,
    )
    part = Slice(first, first + len(slots), slots, np.ones(len(slots), dtype=bool), [])
    seqs = list(range(first, part.end))
    seconds = [when for _, _, when, _ in points]
    short = short_event(RUN, SOURCE, 3, len(slots) + 4, slots.tolist(), seconds, seqs, NAMES, kind, 2)
    return short, metrics_event(RUN, SOURCE, 3, len(slots) + 4, slice_points(part, [], NAMES), 2)


def test_it_is_what_numpy_makes_of_the_same_points() -> None:
    random = new_random()
    compared = 0
    for _ in range(500):
        kind = random.choice([Kind.FLOAT, Kind.INT])
        series = random.randint(1, 12)
        points = []
        for i in range(random.randint(1, 40)):
            number = random.choice(
                [random.randint(-5, 5), random.randint(-(2**63), 2**63 - 1), random.randint(-70_000, 70_000)]
            )
            value = number if kind == Kind.INT else bits(random.choice([random.random(), number * 1.0, 0.5]))
            step = random.choice([i, 3, random.randint(-(2**63), 2**63 - 1)])
            when = random.choice([1.7e9, 1.7e9 + i, 1.7e9 + random.random(), -5.5])
            points.append((random.randrange(series), step, when, value))
        short, whole = both(points, kind)
        if short is not None:
            compared += 1
            assert encode_event(short) == encode_event(whole)
    assert compared > 50


def test_a_sweeps_run_is_a_short_event() -> None:
    points = [(i, step, 1.7e9 + step, bits(i + step / 3)) for step in range(3) for i in range(10)]
    short, whole = both(points, Kind.FLOAT)
    assert encode_event(short) == encode_event(whole)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.7e308])
def test_what_is_no_plain_number_or_sum_is_left_to_numpy(value: float) -> None:
    assert both([(0, 0, 1.7e9, bits(value)), (0, 1, 1.7e9, bits(1e308))], Kind.FLOAT)[0] is None


@pytest.mark.parametrize("when", [math.nan, 1e300, -1e300])
def test_a_time_beyond_the_calendar_is_left_to_numpy(when: float) -> None:
    assert both([(0, 0, when, bits(1.0))], Kind.FLOAT)[0] is None


def test_a_series_that_nobody_defined_is_left_to_numpy() -> None:
    slots = [[0, 0, bits(1.0), 99 << 32 | seg.KIND_BASE + Kind.FLOAT]]
    assert short_event(RUN, SOURCE, 0, 1, slots, [1.7e9], [0], NAMES, Kind.FLOAT, 0) is None
