"""HTTP for histograms: those of a series, thinned over steps."""

from __future__ import annotations

from typing import TypedDict

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.runs.record import Number
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.histograms import thinned

from ...json_values import json_value
from ...points.vectors import Series
from ..endpoint import Reach, endpoint
from ..parameters import Position
from ..tokens import Role
from .typed_series import answer_of_series, check_most, records_of

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
    check_most(asked.most, MOST)
    return await answer_of_series(
        request, run_id, asked.name, SeriesClass.HISTOGRAM, lambda series: _document(series, asked.most)
    )


def _document(series: Series, most: int) -> HistogramList:
    chosen = np.array(thinned(series.steps.tolist(), most), dtype=np.int64)
    records: list[HistogramRecord] = [
        {name: json_value(value) for name, value in record.items()}  # type: ignore[misc]
        for record in records_of(series, chosen, "histograms")
    ]
    return {"total": len(series), "histograms": records}


ENDPOINTS = (histograms,)
