"""What only the pages ask for: names of metrics, lists of a run's series, charts, rows of tables."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError
from runstream_schemas.series import SeriesClass

from .. import queries
from ..charts import metric_axis
from ..charts import queries as page_queries
from ..charts.chart_tables import charts_arrow, charts_json
from ..charts.charts import pack_charts
from ..charts.overview import LONG
from ..json_values import json_value, python_values
from ..runs.runs import get_summaries
from . import counts_api
from .caching import not_modified, points_headers
from .context import server_of
from .parameters import number
from .responses import ARROW, answer, json_answer, problem, wants_arrow

CHART = "application/vnd.runstream.chart"
MOST_NAMES = 1000
MANY = 500
"""Series of a run from which their list is made beside the event loop."""
FIRST_CHARTS = 6
"""How many long metrics are read as soon as a page asks for a run's series."""
MOST_ROWS = 1000


def _whole(request: Request, name: str, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a whole number") from None
    if not -(1 << 62) < value < 1 << 62:
        raise QueryError(f"{name}={text!r:.80}: too large")
    return value


async def chart(request: Request) -> Response:
    """`GET /api/v1/charts?run=..&name=..[&x=step|time|relative|metric:NAME&width=&from=&to=&smooth=]`: Arrow, JSON, or what
    `charts.pack_charts` makes for the pages."""
    server = server_of(request)
    parameters = request.query_params
    runs, names = parameters.getlist("run"), parameters.getlist("name")
    if not runs or not names:
        raise QueryError("run= and name= are needed, each once or more")
    axis = parameters.get("x") or "step"
    smoothing = number(parameters.get("smooth"), "smooth", 0.0)
    if math.isnan(smoothing):
        raise QueryError("smooth=nan: expected a number")
    start, stop = (_edge(request, name, axis) for name in ("from", "to"))
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
                names,
                axis=axis,
                width=_whole(request, "width", 800) or 0,
                start=start,
                stop=stop,
                smoothing=smoothing,
            )
        server.counters.points += sum(len(line.x) for one in drawn for line in one.lines)
        return await asyncio.to_thread(pack, drawn)

    body = await server.shared.get(headers["ETag"], make)
    if request.client is not None and request.client.host in ("127.0.0.1", "::1"):
        return Response(body, 200, headers, media)  # packing takes longer than the way through the loopback
    return await asyncio.to_thread(answer, request, body, media, headers)


def _edge(request: Request, name: str, axis: str) -> float | None:
    """An end of the range of x: a number where x is a metric, else a whole one."""
    if not axis.startswith(metric_axis.PREFIX):
        return _whole(request, name, None)
    text = request.query_params.get(name)
    value = number(text, name, math.nan) if text else None
    if value is not None and not math.isfinite(value):
        raise QueryError(f"{name}={text!r:.80}: expected a finite number")
    return value


async def metric_names(request: Request) -> Response:
    """`GET /api/v1/metric-names[?q=&experiment=&workspace=&run=..&limit=]`: `{"names": [{"name", "runs", "text"}]}`, most
    used first; `text`: its values are texts."""
    parameters = request.query_params
    limit = min(max(_whole(request, "limit", 200) or 1, 1), MOST_NAMES)
    rows = await server_of(request).pool.fetch(
        page_queries.METRIC_NAMES,
        parameters.get("q") or None,
        parameters.get("experiment") or None,
        parameters.getlist("run") or None,
        limit,
        parameters.get("workspace"),
    )
    return json_answer(
        request, {"names": [{"name": row["name"], "runs": row["runs"], "text": row["text"]} for row in rows]}
    )


async def series(request: Request) -> Response:
    """`GET /api/v1/runs/{id}/series`: the summary of each series of a run, of every class, in order first stored."""
    server = server_of(request)
    run_id = request.path_params["run_id"]
    async with server.pool.acquire() as connection:
        key = await connection.fetchval(queries.RUN_KEY, run_id)
        if key is None:
            return problem(404, "Not Found", f"no run {run_id!r}")
        found = (await get_summaries(connection, [key], cls=None)).get(key, [])
    metrics = [one.name for one in found if one.cls == SeriesClass.METRIC and one.count >= LONG]
    server.charts.expect(run_id, metrics[:FIRST_CHARTS])

    def make() -> Response:
        records = [{"name": one.name, "column": one.column, **one.record()} for one in found]
        return json_answer(request, {"series": records})

    return make() if len(found) < MANY else await asyncio.to_thread(make)


async def table(request: Request) -> Response:
    """`GET /api/v1/runs/{id}/tables/{name}[?offset=&limit=]`: `{"columns", "rows", "total"}`."""
    server = server_of(request)
    run_id, name = request.path_params["run_id"], request.path_params["name"]
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        found = (await server.query.tables(run_id, name)).get(name)
    if found is None:
        return problem(404, "Not Found", f"run {run_id!r} has no table {name!r}")
    offset = max(_whole(request, "offset", 0) or 0, 0)
    limit = min(max(_whole(request, "limit", 200) or 0, 0), MOST_ROWS)
    part = found.data.slice(offset, limit)
    columns = [python_values(column) for column in part.columns]
    document = {
        "columns": [{"name": item.name, "type": str(item.type)} for item in part.schema],
        "rows": [[json_value(value) for value in row] for row in zip(*columns, strict=True)],
        "total": found.data.num_rows,
    }
    return json_answer(request, document, headers)


async def values(request: Request) -> Response:
    """`GET /api/v1/runs/{id}/values?name=[&cls=0]`: every point of one series as logged, of any kind."""
    server = server_of(request)
    run_id, name = request.path_params["run_id"], request.query_params.get("name")
    cls = _whole(request, "cls", 0) or 0
    if not name:
        raise QueryError("name= is needed")
    if cls not in set(SeriesClass):
        raise QueryError(f"cls={cls}: no such class of series")
    async with asyncio.timeout(server.settings.query_timeout):
        headers = await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        found = await server.query.vectors([run_id], names=(name,), cls=(cls,))
    points: list[dict[str, Any]] = []
    for one in found:
        for step, time, value in zip(
            one.steps.tolist(), one.times.tolist(), one.python_values(), strict=True
        ):
            points.append({"step": step, "time": time, "value": json_value(value)})
    return json_answer(request, {"points": points}, headers)


def routes() -> list[Route]:
    """The pages' endpoints."""
    return [
        Route("/api/v1/charts", chart),
        Route("/api/v1/metric-names", metric_names),
        Route("/api/v1/runs/{run_id}/series", series),
        Route("/api/v1/runs/{run_id}/values", values),
        Route("/api/v1/runs/{run_id}/tables/{name:path}", table),
        *counts_api.routes(),
    ]
