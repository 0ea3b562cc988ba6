"""What the endpoints of histograms and of media share: one series of a run, its records in Python, thinned over steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.series import SeriesClass

from ...json_values import python_values
from ...points.exports import typed_table
from ...points.vectors import Series, Vectors
from ..caching import not_modified, points_headers
from ..context import server_of
from ..responses import json_answer, problem


def check_most(asked: int, most: int) -> None:
    """Refuse a `most=` outside 1 to `most`.

    Raises:
        QueryError: it is outside.
    """
    if not 1 <= asked <= most:
        raise QueryError(f"most={asked}: expected 1 to {most}")


async def answer_of_series(
    request: Request, run_id: str, name: str, cls: SeriesClass, document: Callable[[Series], object]
) -> Response:
    """Answer with the document made (in a thread) of a run's series; 304 when the caller has it, 404 when there is none."""
    server = server_of(request)
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        series = await server.query.series(run_id, name, cls=cls)
    if series is None:
        detail = f"run {run_id!r} has no {cls.name.lower()} {name!r}; GET /api/v1/runs/<id>/series lists what it has"
        return problem(404, "Not Found", detail, headers)
    server.counters.points += len(series)
    return json_answer(request, await asyncio.to_thread(document, series), headers)


def records_of(series: Series, chosen: np.ndarray, view: str) -> Iterator[dict[str, Any]]:
    """The chosen points as rows of a typed view (`typed_table`), `time` in microseconds; those of another kind left out.

    Args:
        series: histograms or media.
        chosen: int64 positions in `series`.
        view: the view of this class, `histograms` or `media`.
    """
    part = Series(series.run_id, series.key, series.points.take(chosen))
    table = typed_table(Vectors([part]), view).drop_columns(["run_id", "name", "time"])
    rows = zip(*(python_values(column) for column in table.columns), strict=True)
    for time, values in zip(part.times.tolist(), rows, strict=True):
        named = dict(zip(table.column_names, values, strict=True))
        if named[_ALWAYS_THERE[view]] is not None:
            yield {"time": time, **named}


_ALWAYS_THERE = {"histograms": "counts", "media": "type"}
