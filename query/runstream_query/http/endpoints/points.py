"""HTTP for the points of runs: whole vectors, one series for a chart, and whether one's own are stored."""

from __future__ import annotations

import asyncio
from typing import NotRequired, TypedDict

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.runs.record import Number
from runstream_schemas.series import FIRST_CLASSES

from ...charts import one_series
from ...json_values import json_value
from ...points.vectors import Vectors
from ...runs.runs import descendants
from ..caching import not_modified, points_headers
from ..context import Server, server_of
from ..endpoint import Reach, endpoint
from ..filters import Wait
from ..responses import ARROW, MSGPACK, answer, json_answer, pack_vectors, problem, table_answer, wants_arrow
from ..tokens import Role
from ..waiting import wait_for_writes


class VectorsQuery(Wait, kw_only=True):
    run: list[str]
    name: list[str] = msgspec.field(default_factory=list)
    cls: list[int] = msgspec.field(default_factory=list)
    recursive: bool = False
    type: str | None = None
    from_step: int | None = None
    to_step: int | None = None
    from_time: int | None = None


@endpoint(
    "GET /api/v1/metrics", Role.READ, Reach.RUNS, "Whole vectors of runs", answer=MSGPACK, also=(ARROW,)
)
async def metrics(request: Request, asked: VectorsQuery) -> Response:
    server = server_of(request)
    run_ids = asked.run
    headers = await wait_for_writes(server_of(request), asked)
    async with asyncio.timeout(server.settings.query_timeout):
        if asked.recursive:
            run_ids = await _with_descendants(server, run_ids, asked.type)
        headers |= await points_headers(request, server.pool, run_ids)
        if (same := not_modified(request, headers)) is not None:
            return same
        vectors = await server.query.vectors(
            run_ids, names=asked.name or None, cls=asked.cls or FIRST_CLASSES
        )
    if (asked.from_step, asked.from_time, asked.to_step) != (None, None, None):
        parts = [series.within(asked.from_step, asked.from_time, asked.to_step) for series in vectors]
        vectors = Vectors([series for series in parts if len(series)])
    server.counters.points += sum(len(series) for series in vectors)
    if wants_arrow(request):
        return await asyncio.to_thread(lambda: table_answer(request, vectors.to_arrow(), headers))
    body = await asyncio.to_thread(pack_vectors, vectors)
    return await asyncio.to_thread(answer, request, body, MSGPACK, headers)


async def _with_descendants(server: Server, run_ids: list[str], type_: str | None) -> list[str]:
    """Each run's descendants, newest start first, then the run itself."""
    result: dict[str, None] = {}
    async with server.pool.acquire() as connection:
        for run_id in run_ids:
            result.update(dict.fromkeys(await descendants(connection, run_id, type=type_)))
            result.pop(run_id, None)
            result[run_id] = None
    return list(result)


class SeriesQuery(Wait, kw_only=True):
    run: str
    name: str
    width: int = 1000
    start: int | None = msgspec.field(default=None, name="from")
    stop: int | None = msgspec.field(default=None, name="to")
    x: str | None = None


class SeriesPoints(TypedDict):
    """A downsampled series; `x`: values of the metric that was asked for as axis."""

    run_id: str
    name: str
    bucket: int
    points: int
    steps: list[int]
    times: list[int]
    values: list[Number]
    x: NotRequired[list[Number]]


@endpoint(
    "GET /api/v1/series",
    Role.READ,
    Reach.RUNS,
    "One series, downsampled for a chart",
    answer=SeriesPoints,
    also=(ARROW,),
)
async def series(request: Request, asked: SeriesQuery) -> Response:
    server = server_of(request)
    run_id, name = asked.run, asked.name
    headers = await wait_for_writes(server_of(request), asked)
    async with asyncio.timeout(server.settings.query_timeout):
        headers |= await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        chart = await one_series.chart(
            server.query,
            run_id,
            name,
            asked.width,
            start=asked.start,
            stop=asked.stop,
            over=asked.x or None,
        )
    if chart is None:
        return problem(
            404,
            "Not Found",
            f"run {run_id!r} has no metric {name!r}; GET /api/v1/runs/<id>/series lists what it has",
            headers,
        )
    server.counters.points += len(chart.steps)
    if wants_arrow(request):
        table = pa.table(
            {
                "step": pa.array(chart.steps),
                "time": pa.array(chart.times).view(pa.timestamp("us", tz="UTC")),
                "value": pa.array(chart.values),
                **({} if chart.x is None else {"x": pa.array(chart.x)}),
            }
        ).replace_schema_metadata({"bucket": str(chart.bucket), "points": str(chart.points)})
        return table_answer(request, table, headers)
    document: SeriesPoints = {
        "run_id": run_id,
        "name": name,
        "bucket": chart.bucket,
        "points": chart.points,
        "steps": chart.steps.tolist(),
        "times": chart.times.tolist(),
        "values": [json_value(value) for value in chart.values.tolist()],
    }
    if chart.x is not None:
        document["x"] = [json_value(value) for value in chart.x.tolist()]
    return json_answer(request, document, headers)


class Stored(TypedDict):
    """Whether one's own writes are stored."""

    stored: bool


@endpoint("GET /api/v1/stored", Role.READ, Reach.HANDLER, "Wait until one's own writes are stored")
async def stored(request: Request, asked: Wait) -> Stored:
    return {"stored": not await wait_for_writes(server_of(request), asked)}


ENDPOINTS = (metrics, series, stored)
