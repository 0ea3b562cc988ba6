"""A metric drawn over another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_query.charts.charts import Charts
from runstream_query.charts.metric_axis import along, bucket_width, values_by_step
from runstream_schemas.errors import QueryError
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

SOURCE = b"m" * 16
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    st.lists(st.tuples(st.integers(-5, 20), NUMBERS), max_size=30),
    st.lists(st.tuples(st.integers(-5, 20), NUMBERS), max_size=30),
)
def test_x_is_the_value_logged_last_by_the_points_step(
    logged: list[tuple[int, float]], other: list[tuple[int, float]]
) -> None:
    steps = np.array([step for step, _ in logged], dtype=np.int64)
    values = np.array([value for _, value in logged])
    other_steps = np.array([step for step, _ in other], dtype=np.int64)
    other_values = np.array([value for _, value in other])
    expected = []
    for step, value in logged:
        before = [n for n, (at, _) in enumerate(other) if at <= step]
        if before:
            x = other[max(before, key=lambda n: (other[n][0], n))][1]
            if np.isfinite(x):
                expected.append((x, value))
    x, y = along(steps, values, other_steps, other_values)
    expected.sort(key=lambda pair: pair[0])
    np.testing.assert_array_equal(x, np.array([pair[0] for pair in expected], dtype=float))
    np.testing.assert_array_equal(y, np.array([pair[1] for pair in expected], dtype=float))
    assert len(values_by_step(other_steps, other_values, steps)) == len(steps)


@pytest.mark.parametrize(("first", "last"), [(0.0, 1.0), (-1e308, 1e308), (5e-324, 1e-300), (3.0, 3.0)])
def test_buckets_are_powers_of_two(first: float, last: float) -> None:
    width = bucket_width(first, last, 100)
    assert np.frexp(width)[0] == 0.5
    assert (last / 2 - first / 2) / width <= 51


async def test_a_chart_over_another_metric(database: Any) -> None:
    key = await database.add_run("r")
    loss, epoch = (SeriesKey(SeriesClass.METRIC, name) for name in ("loss", "epoch"))
    rows = [(loss, Kind.FLOAT, 2 * n, n, n, float(n)) for n in range(100)]
    rows += [(epoch, Kind.FLOAT, 200 + n, 10 * n, n, n / 4) for n in range(10)]
    await database.add_chunk(key, SOURCE, rows)
    await database.add_summary(key, "loss", count=100)
    await database.add_summary(key, "epoch", count=10)
    charts = Charts(database.query)
    [chart] = await charts.read(["r"], ["loss"], axis="metric:epoch", width=5)
    assert (chart.first, chart.last, chart.bucket) == (0.0, 2.25, 0.5)
    [line] = chart.lines
    assert line.x.tolist() == [0.25, 0.75, 1.25, 1.75, 2.25]
    assert line.low.tolist() == [0, 20, 40, 60, 80]
    assert line.high.tolist() == [19, 39, 59, 79, 99]
    [zoomed] = await charts.read(["r"], ["loss"], axis="metric:epoch", width=100, start=1.0, stop=1.4)
    assert zoomed.lines[0].points == 20
    assert set(zoomed.lines[0].x.tolist()) >= {1.0, 1.25}
    [none] = await charts.read(["r"], ["loss"], axis="metric:nothing")
    assert none.lines == []
    with pytest.raises(QueryError, match="metric:NAME"):
        await charts.read(["r"], ["loss"], axis="metric:")
