"""Charts: no spike is lost, buckets stay where they are, smoothing depends on nothing but the values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_query.charts.charts import Charts, _reduce_long, pack_charts, smoothed
from runstream_query.charts.extremes import Extremes
from runstream_schemas.buckets import reduce_line
from runstream_schemas.errors import QueryError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

SOURCE = b"s" * 16


def loss(points: list[tuple[int, float]]) -> list[Any]:
    key = SeriesKey(SeriesClass.METRIC, "loss")
    return [(key, Kind.FLOAT, i, step, step * 1_000_000, value) for i, (step, value) in enumerate(points)]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(0, 8))
def test_no_spike_is_lost(values: list[float], shift: int) -> None:
    array = np.array(values)
    x, last, low, high, _, marks = reduce_line(np.arange(len(array)), array, None, 1 << shift)
    assert (low.min(), high.max()) == (array.min(), array.max())
    assert (x[-1], last[-1]) == (len(array) - 1, array[-1])
    assert not marks.any()


STRANGE = st.sampled_from([np.nan, np.inf, -np.inf])


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 900), st.integers(0, 9), st.integers(0, 3))
def test_a_long_vector_is_reduced_as_a_short_one(data: st.DataObject, n: int, shift: int, gap: int) -> None:
    chance = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = chance.standard_normal(n)
    # Single spikes, and runs of what is no number that cover blocks and buckets.
    for _ in range(data.draw(st.integers(0, 4))):
        at, length = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, 200))
        values[at : at + length] = data.draw(STRANGE | st.floats(-1e300, 1e300).map(float))
    x = np.cumsum(chance.integers(0, gap + 2, n)) - data.draw(st.integers(0, 1000))
    start = data.draw(st.integers(0, n - 1))
    part = slice(start, data.draw(st.integers(start + 1, n)))
    known = data.draw(st.integers(0, n))
    extremes = Extremes.of(values[:known]).extended(values)
    expected = reduce_line(x[part], values[part], None, 1 << shift)
    reduced = _reduce_long(x, values, None, 1 << shift, part, extremes)
    for name, a, b in zip(("x", "last", "low", "high", "smooth", "marks"), reduced, expected, strict=True):
        assert a is b is None or np.array_equal(a, b, equal_nan=name != "marks"), name


def test_what_is_no_number_is_marked_beside_the_numbers() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf, -np.inf, np.nan, np.nan, np.nan])
    _, last, low, high, _, marks = reduce_line(np.arange(8), values, None, 4)
    assert marks.tolist() == [1 | 2, 1 | 4]
    assert (last[0], low[0], high[0]) == (3.0, 1.0, 3.0)
    assert np.isnan([last[1], low[1], high[1]]).all()


def test_buckets_stay_where_they_are_while_a_run_grows() -> None:
    values = np.random.default_rng(0).standard_normal(1000)
    short = reduce_line(np.arange(900), values[:900], None, 16)
    long = reduce_line(np.arange(1000), values, None, 16)
    for before, after in zip(short[:4], long[:4], strict=True):
        assert before is not None
        assert after is not None
        assert before[:-1].tolist() == after[: len(before) - 1].tolist()


@pytest.mark.parametrize("smoothing", [0.1, 0.6, 0.99, 0.999])
def test_a_constant_stays_constant(smoothing: float) -> None:
    x = np.sort(np.random.default_rng(1).integers(0, 10**9, 5000))
    assert smoothed(x, np.full(5000, 0.123), smoothing) == pytest.approx(0.123)


def test_smoothing_is_the_recursion_it_says() -> None:
    x, values = np.arange(3000), np.random.default_rng(2).standard_normal(3000)
    values[100:120] = np.nan
    unit = max(2999 / 1000, 1.0)
    total = weight = 0.0
    expected = []
    for value in values:
        decay = 0.7 ** (1 / unit)
        total, weight = total * decay, weight * decay
        if np.isfinite(value):
            total, weight = total + value, weight + 1
        expected.append(total / weight)
    assert smoothed(x, values, 0.7) == pytest.approx(np.array(expected))


def test_the_packed_bytes_are_aligned() -> None:
    packed = pack_charts([])
    size = int.from_bytes(packed[:4], "little")
    assert (4 + size) % 8 == 0
    assert json.loads(packed[4:]) == {"charts": []}


async def test_each_metric_has_its_own_range_and_time_is_an_axis(database: Any) -> None:
    key = await database.add_run("r")
    await database.add_chunk(key, SOURCE, loss([(step, float(step)) for step in range(100)]))
    await database.add_summary(key, "loss", count=100)
    charts = Charts(database.query)
    [chart, none] = await charts.read(["r", "unknown"], ["loss", "nothing"], width=10)
    assert (chart.bucket, chart.first, chart.last) == (16, 0, 99)
    assert none.lines == []
    [line] = chart.lines
    assert (line.points, line.total) == (100, 100)
    assert line.high.tolist() == [15, 31, 47, 63, 79, 95, 99]
    [by_time] = await charts.read(["r"], ["loss"], axis="relative", start=0, stop=3_000_000)
    assert by_time.lines[0].x.tolist()[:4] == [0, 1_000_000, 2_000_000, 3_000_000]


async def test_new_points_are_seen(database: Any) -> None:
    key = await database.add_run("r")
    await database.add_chunk(key, SOURCE, loss([(0, 1.0)]))
    await database.add_summary(key, "loss", count=1)
    charts = Charts(database.query)
    assert (await charts.read(["r"], ["loss"]))[0].lines[0].total == 1
    row = (SeriesKey(SeriesClass.METRIC, "loss"), Kind.FLOAT, 1, 1, 1, 2.0)
    await database.add_chunk(key, SOURCE, [row])
    await database.pool.execute("update live_summaries set count = 2")
    assert (await charts.read(["r"], ["loss"]))[0].lines[0].last.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "wrong", [{"axis": "epoch"}, {"width": 0}, {"smoothing": 1.0}, {"start": 2, "stop": 1}]
)
async def test_what_makes_no_sense_is_refused(database: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        await Charts(database.query).read(["r"], ["loss"], **wrong)
