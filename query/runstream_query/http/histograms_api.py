"""HTTP for histograms: those of a series, thinned over steps."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.histograms import thinned
from runstream_schemas.run_record import Number
from runstream_schemas.series import SeriesClass

from ..json_values import json_value, python_values
from ..points.exports import typed_table
from ..points.vectors import Series, Vectors
from .caching import not_modified, points_headers
from .context import server_of
from .endpoint import Reach, endpoint
from .parameters import Position
from .responses import json_answer, problem
from .tokens import Role

MOST = 500
"""Histograms in one answer."""


class HistogramsQuery(msgspec.Struct, kw_only=True):
    name: str
    most: Position = 100


class HistogramRecord(TypedDict):
    """A histogram. `edges` has one more than `counts`, or none; `time` in microseconds; `min`, `max` and `sum` are null when
    it was logged as counts and edges."""

    step: int
    time: int
    counts: list[int]
    edges: list[float]
    count: int
    min: Number
    max: Number
    sum: Number
    nan: int
    positive_infinite: int
    negative_infinite: int


class HistogramList(TypedDict):
    """Histograms over steps; `total`: of all that were logged."""

    total: int
    histograms: list[HistogramRecord]


@endpoint(
    "GET /api/v1/runs/{run_id}/histograms",
    Role.READ,
    Reach.RUN,
    "Histograms of a series, thinned over steps",
    answer=HistogramList,
)
async def histograms(request: Request, run_id: str, asked: HistogramsQuery) -> Response:
    server = server_of(request)
    if not 1 <= asked.most <= MOST:
        raise QueryError(f"most={asked.most}: expected 1 to {MOST}")
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        series = await server.query.series(run_id, asked.name, cls=SeriesClass.HISTOGRAM)
    if series is None:
        return problem(
            404,
            "Not Found",
            f"run {run_id!r} has no histogram {asked.name!r}; GET /api/v1/runs/<id>/series lists what it has",
            headers,
        )
    server.counters.points += len(series)
    document = await asyncio.to_thread(_document, series, asked.most)
    return json_answer(request, document, headers)


def _document(series: Series, most: int) -> HistogramList:
    import numpy as np

    chosen = np.array(thinned(series.steps.tolist(), most), dtype=np.int64)
    part = Series(series.run_id, series.key, series.points.take(chosen))
    table = typed_table(Vectors([part]), "histograms").drop_columns(["run_id", "name", "time"])
    rows = zip(*(python_values(column) for column in table.columns), strict=True)
    records: list[HistogramRecord] = []
    for time, values in zip(part.times.tolist(), rows, strict=True):
        named = dict(zip(table.column_names, values, strict=True))
        if named["counts"] is not None:  # else it was no histogram
            shown = {name: json_value(value) for name, value in named.items()}
            records.append({"time": time, **shown})  # type: ignore[typeddict-item]
    return {"total": len(series), "histograms": records}


ENDPOINTS = (histograms,)
