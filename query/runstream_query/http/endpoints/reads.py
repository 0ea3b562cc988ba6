"""Endpoints that read runs, points, SQL and experiments, and say how the server is."""

from __future__ import annotations

import asyncio
from typing import NotRequired, TypedDict

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runstream_schemas.errors import QueryError
from runstream_schemas.metrics import registry_of
from runstream_schemas.run_record import Number, RunRecord
from runstream_schemas.series import FIRST_CLASSES

from ...charts import one_series
from ...json_values import json_value
from ...not_there import no_run
from ...points.vectors import Vectors
from ...runs.run_order import Order
from ...runs.runs import (
    MOST_COMMON,
    RunParams,
    attach_named_summaries,
    attach_params,
    common_metrics,
    count_runs,
    descendants,
    get_run,
    list_runs,
    run_params,
)
from ...sql.sql import run_sql
from ..access import grant_of
from ..caching import not_modified, points_headers
from ..context import Server, server_of
from ..endpoint import Door, Reach, endpoint
from ..filters import Filters, Wait, run_filter
from ..responses import (
    ARROW,
    MSGPACK,
    Table,
    answer,
    json_answer,
    pack_vectors,
    problem,
    table_answer,
    wants_arrow,
)
from ..tokens import Role
from ..waiting import wait_for_writes

MAX_SQL_BYTES = 1 << 20
SHOWN_OF_PARAM = 500
"""Characters of a parameter in a list of runs."""
TEXT = "text/plain"


@endpoint("GET /healthz", Door.PROBE, Reach.ALL, "The process lives", answer=TEXT)
async def healthz(request: Request) -> Response:
    return PlainTextResponse("ok")


@endpoint("GET /readyz", Door.PROBE, Reach.ALL, "The database answers", answer=TEXT)
async def readyz(request: Request) -> Response:
    async with asyncio.timeout(5.0):
        await server_of(request).pool.fetchval("select 1 from runs limit 1")
    return PlainTextResponse("ok")


@endpoint("GET /metrics", Role.READ, Reach.ALL, "Counters for Prometheus", answer=TEXT)
async def prometheus(request: Request) -> Response:
    from prometheus_client import generate_latest

    text = await asyncio.to_thread(generate_latest, registry_of(server_of(request).shown))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


class RunsQuery(Filters, kw_only=True):
    order: str = "-start_time"
    limit: int = 50
    after: str | None = None
    summaries: bool = False
    summary: list[str] = msgspec.field(default_factory=list)
    summary_common: int | None = None
    params: bool = False
    param: list[str] = msgspec.field(default_factory=list)
    count: bool = False


class RunPage(TypedDict):
    """Some runs; `next`: where the next page starts (null: that was the last one), `metrics`: those that are summarized,
    `count`: runs that pass, by status."""

    runs: list[RunRecord]
    next: str | None
    metrics: NotRequired[list[str]]
    count: NotRequired[dict[str, int]]


@endpoint("GET /api/v1/runs", Role.READ, Reach.WORKSPACE, "A page of the runs that pass all filters")
async def runs(request: Request, asked: RunsQuery) -> RunPage:
    server = server_of(request)
    filters = run_filter(asked)
    order = Order.parse(asked.order)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        page = await list_runs(
            connection,
            filters,
            order=order,
            limit=asked.limit,
            after=asked.after or None,
            summaries=asked.summaries,
        )
        names, common = asked.summary, asked.summary_common
        if common is not None:
            if not 1 <= common <= MOST_COMMON:
                raise QueryError(f"summary_common={common}: expected 1 to {MOST_COMMON}")
            names = list(dict.fromkeys([*names, *await common_metrics(connection, page.runs, common)]))
        if names:
            await attach_named_summaries(connection, page.runs, names)
        if asked.params or asked.param:
            await attach_params(connection, page.runs, None if asked.params else asked.param, SHOWN_OF_PARAM)
        document: RunPage = {"runs": [run.record() for run in page.runs], "next": page.next}
        if common is not None:
            document["metrics"] = names
        if asked.count:
            document["count"] = await count_runs(connection, filters)
    return document


class RunQuery(Wait, kw_only=True):
    summaries: bool = False
    params: bool = False


@endpoint("GET /api/v1/runs/{run_id}", Role.READ, Reach.RUN, "One run", answer=RunRecord)
async def run(request: Request, run_id: str, asked: RunQuery) -> Response:
    server = server_of(request)
    headers = await wait_for_writes(server_of(request), asked)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        stored = await get_run(connection, run_id, summaries=asked.summaries)
        if stored is not None and asked.params:
            await attach_params(connection, [stored])
    if stored is None:
        return problem(404, "Not Found", str(no_run(run_id)), headers)
    return json_answer(request, stored.record(), headers)


@endpoint(
    "GET /api/v1/runs/{run_id}/params",
    Role.READ,
    Reach.RUN,
    "The parameters of a run, and what they were before",
    answer=RunParams,
)
async def params(request: Request, run_id: str, asked: Wait) -> Response:
    server = server_of(request)
    headers = await wait_for_writes(server, asked)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        stored = await run_params(connection, run_id)
    if stored is None:
        return problem(404, "Not Found", str(no_run(run_id)), headers)
    return json_answer(request, stored, headers)


class Stored(TypedDict):
    """Whether one's own writes are stored."""

    stored: bool


@endpoint("GET /api/v1/stored", Role.READ, Reach.HANDLER, "Wait until one's own writes are stored")
async def stored(request: Request, asked: Wait) -> Stored:
    return {"stored": not await wait_for_writes(server_of(request), asked)}


class VectorsQuery(Wait, kw_only=True):
    run: list[str]
    name: list[str] = msgspec.field(default_factory=list)
    cls: list[int] = msgspec.field(default_factory=list)
    recursive: bool = False
    type: str | None = None
    from_step: int | None = None
    from_time: int | None = None


@endpoint("GET /api/v1/metrics", Role.READ, Reach.RUNS, "Whole vectors of runs", answer=MSGPACK)
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
    if asked.from_step is not None or asked.from_time is not None:
        tails = [series.since(asked.from_step, asked.from_time) for series in vectors]
        vectors = Vectors([series for series in tails if len(series)])
    server.counters.points += sum(len(series) for series in vectors)
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


class Statement(msgspec.Struct):
    query: str


@endpoint(
    "POST /api/v1/sql",
    Role.READ,
    Reach.HANDLER,
    "Read the views by SQL",
    most=MAX_SQL_BYTES,
    answer=Table,
    also=(ARROW,),
)
async def sql(request: Request, body: Statement) -> Response:
    server, workspace = server_of(request), grant_of(request).workspace
    async with asyncio.timeout(server.settings.query_timeout) as waiting, server.sql_places.one():
        waiting.reschedule(None)  # from here on the statement has its own time
        table = await run_sql(server.pool, server.store, server.settings, body.query, workspace=workspace)
    return await asyncio.to_thread(table_answer, request, table)


ENDPOINTS = (healthz, readyz, prometheus, runs, run, params, metrics, series, stored, sql)
