"""One metric of one run, at the width of a screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.buckets import downsample
from runstream_schemas.errors import QueryError
from runstream_schemas.series import SeriesClass

from ..points.reader import Query
from .metric_axis import values_by_step


@dataclass(slots=True)
class SeriesChart:
    """A series at the width of a screen.

    Attributes:
        steps, times, values: the points to draw, in order of step.
        bucket: steps a bucket spans; see `buckets.Downsampled`.
        points: how many points the range has in all.
        x: another metric's value by each of these points' steps, where one was asked for.
    """

    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    bucket: int
    points: int
    x: NDArray[np.float64] | None = None


async def chart(
    query: Query,
    run_id: str,
    name: str,
    width: int,
    *,
    start: int | None = None,
    stop: int | None = None,
    over: str | None = None,
) -> SeriesChart | None:
    """A metric downsampled to `width` buckets; None: there is no such series.

    Args:
        query: reads the points.
        start, stop: first and last step wanted; None: the series' own.
        over: another metric of the run, whose values become `SeriesChart.x`.

    Raises:
        QueryError: a width or range that makes no sense.
        StoreError: a Parquet file is missing or damaged.
    """
    vectors = await query.vectors([run_id], names={name, over or name}, cls=(SeriesClass.METRIC,))
    series = vectors.get(name)
    if series is None:
        return None
    values = series.floats()
    try:
        chosen = downsample(series.steps, values, width, start=start, stop=stop)
    except ValueError as error:
        raise QueryError(str(error)) from None
    index = chosen.index
    x = None
    if over is not None:
        other = vectors.get(over)
        steps, numbers = (series.steps[:0], values[:0]) if other is None else (other.steps, other.floats())
        x = values_by_step(steps, numbers, series.steps[index])
    return SeriesChart(
        series.steps[index], series.times[index], values[index], chosen.bucket, chosen.points, x
    )
