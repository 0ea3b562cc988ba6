"""What only the pages ask for: names of metrics, lists of a run's series, charts, rows of tables."""

from __future__ import annotations

import asyncio
import math
from typing import Any, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.record import SummaryRecord
from runstream_schemas.series import SeriesClass

from ... import queries
from ...charts import metric_axis
from ...charts import queries as page_queries
from ...charts.chart_tables import charts_arrow, charts_json
from ...charts.charts import pack_charts
from ...charts.overview import LONG
from ...json_values import json_value, python_values
from ...not_there import no_run
from ...runs.runs import get_summaries
from ..caching import not_modified, points_headers
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..parameters import Edge, Position, number, position
from ..responses import ARROW, CHART, Table, answer, json_answer, problem, wants_arrow
from ..tokens import Role

MOST_NAMES = 1000
MANY = 500
"""Series of a run from which their list is made beside the event loop."""
FIRST_CHARTS = 6
"""How many long metrics are read as soon as a page asks for a run's series."""
MOST_ROWS = 1000


class ChartsQuery(msgspec.Struct, kw_only=True):
    run: list[str]
    name: list[str]
    x: str = "step"
    width: Position = 800
    start: Edge | None = msgspec.field(default=None, name="from")
    stop: Edge | None = msgspec.field(default=None, name="to")
    smooth: float = 0.0


@endpoint(
    "GET /api/v1/charts",
    Role.READ,
    Reach.RUNS,
    "Metrics of one or many runs, downsampled over a range of steps or times",
    answer=CHART,
    also=(ARROW, "application/json"),
)
async def charts(request: Request, asked: ChartsQuery) -> Response:
    """Arrow, JSON, or what `charts.pack_charts` makes for the pages."""
    server = server_of(request)
    runs, axis = asked.run, asked.x
    if math.isnan(asked.smooth):
        raise QueryError("smooth=nan: expected a number")
    start, stop = _edge(asked.start, "from", axis), _edge(asked.stop, "to", axis)
    headers = await points_headers(request, server.pool, runs)
    if (same := not_modified(request, headers)) is not None:
        return same
    pack, media = pack_charts, CHART
    if wants_arrow(request):
        pack, media = charts_arrow, ARROW
    elif "application/json" in request.headers.get("accept", ""):
        pack, media = charts_json, "application/json"

    async def make() -> bytes:
        async with asyncio.timeout(server.settings.query_timeout):
            drawn = await server.charts.read(
                runs,
                asked.name,
                axis=axis,
                width=asked.width,
                start=start,
                stop=stop,
                smoothing=asked.smooth,
            )
        server.counters.points += sum(len(line.x) for chart in drawn for line in chart.lines)
        return await asyncio.to_thread(pack, drawn)

    body = await server.shared.get(headers["ETag"], make)
    if request.client is not None and request.client.host in ("127.0.0.1", "::1"):
        return Response(body, 200, headers, media)  # packing takes longer than the way through the loopback
    return await asyncio.to_thread(answer, request, body, media, headers)


def _edge(text: str | None, name: str, axis: str) -> float | None:
    """An end of the range of x: a number where x is a metric, else a whole one."""
    if not axis.startswith(metric_axis.PREFIX):
        return position(text, name, None)
    value = number(text, name, math.nan) if text else None
    if value is not None and not math.isfinite(value):
        raise QueryError(f"{name}={text!r:.80}: expected a finite number")
    return value


class MetricNamesQuery(msgspec.Struct, kw_only=True):
    q: str | None = None
    experiment: str | None = None
    workspace: str | None = None
    run: list[str] = []
    limit: Position = 200


class MetricName(TypedDict):
    """A metric, and how many runs have it; `text`: its values are texts; `points`: most points a run has of it."""

    name: str
    runs: int
    text: bool
    points: int


class MetricNames(TypedDict):
    """Names of metrics."""

    names: list[MetricName]


@endpoint("GET /api/v1/metric-names", Role.READ, Reach.WORKSPACE, "Names of metrics, the most used first")
async def metric_names(request: Request, asked: MetricNamesQuery) -> MetricNames:
    rows = await server_of(request).pool.fetch(
        page_queries.METRIC_NAMES,
        asked.q or None,
        asked.experiment or None,
        asked.run or None,
        min(max(asked.limit or 1, 1), MOST_NAMES),
        asked.workspace,
    )
    return {
        "names": [
            MetricName(name=r["name"], runs=r["runs"], text=r["text"], points=r["points"]) for r in rows
        ]
    }


class SeriesRecord(SummaryRecord):
    """The summary of one series of a run."""

    name: str
    column: str


class RunSeries(TypedDict):
    """Summaries of the series of a run."""

    series: list[SeriesRecord]


@endpoint(
    "GET /api/v1/runs/{run_id}/series",
    Role.READ,
    Reach.RUN,
    "Summaries of all series of a run",
    answer=RunSeries,
)
async def series(request: Request, run_id: str) -> Response:
    """Of every class, in order first stored."""
    server = server_of(request)
    async with server.pool.acquire() as connection:
        key = await connection.fetchval(queries.RUN_KEY, run_id)
        if key is None:
            raise no_run(run_id)
        summaries = (await get_summaries(connection, [key], cls=None)).get(key, [])
    metrics = [
        summary.name for summary in summaries if summary.cls == SeriesClass.METRIC and summary.count >= LONG
    ]
    server.charts.expect(run_id, metrics[:FIRST_CHARTS])

    def make() -> Response:
        document: RunSeries = {
            "series": [
                {"name": summary.name, "column": summary.column, **summary.record()} for summary in summaries
            ]
        }
        return json_answer(request, document)

    return make() if len(summaries) < MANY else await asyncio.to_thread(make)


class TableQuery(msgspec.Struct, kw_only=True):
    offset: Position = 0
    limit: Position = 200


class TableRows(Table):
    """Some rows of a table; `total`: of all."""

    total: int


@endpoint(
    "GET /api/v1/runs/{run_id}/tables/{name:path}", Role.READ, Reach.RUN, "Rows of a table", answer=TableRows
)
async def table(request: Request, run_id: str, name: str, asked: TableQuery) -> Response:
    server = server_of(request)
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        logged = (await server.query.tables(run_id, name)).get(name)
    if logged is None:
        return problem(
            404,
            "Not Found",
            f"run {run_id!r} has no table {name!r}; GET /api/v1/runs/<id>/series lists what it has",
        )
    part = logged.data.slice(max(asked.offset, 0), min(max(asked.limit, 0), MOST_ROWS))
    columns = [python_values(column) for column in part.columns]
    document: TableRows = {
        "columns": [{"name": item.name, "type": str(item.type)} for item in part.schema],
        "rows": [[json_value(value) for value in row] for row in zip(*columns, strict=True)],
        "total": logged.data.num_rows,
    }
    return json_answer(request, document, headers)


class ValuesQuery(msgspec.Struct, kw_only=True):
    name: str
    cls: Position = 0


class LoggedPoint(TypedDict):
    """A point as it was logged; `time` in microseconds."""

    step: int
    time: int
    value: Any


class LoggedPoints(TypedDict):
    """Every point of a series."""

    points: list[LoggedPoint]


@endpoint(
    "GET /api/v1/runs/{run_id}/values",
    Role.READ,
    Reach.RUN,
    "Every value of one series, of any kind",
    answer=LoggedPoints,
)
async def values(request: Request, run_id: str, asked: ValuesQuery) -> Response:
    server = server_of(request)
    name, cls = asked.name, asked.cls
    if cls not in set(SeriesClass):
        raise QueryError(f"cls={cls}: no such class of series; give 0 for metrics, or leave it out")
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        vectors = await server.query.vectors([run_id], names=(name,), cls=(cls,))
    points: list[LoggedPoint] = []
    for vector in vectors:
        for step, time, value in zip(
            vector.steps.tolist(), vector.times.tolist(), vector.python_values(), strict=True
        ):
            points.append({"step": step, "time": time, "value": json_value(value)})
    return json_answer(request, {"points": points}, headers)


ENDPOINTS = (charts, metric_names, series, values, table)
