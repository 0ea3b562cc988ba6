"""Endpoints that read runs, points, SQL and experiments, and say how the server is."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runstream_schemas import strict_json
from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name
from runstream_schemas.metrics import registry_of

from .. import queries
from ..charts import one_series
from ..json_values import json_value, plain
from ..points.vectors import Vectors
from ..points.watermark import wait_stored
from ..runs.run_filter import Order
from ..runs.runs import (
    MOST_COMMON,
    attach_named_summaries,
    common_metrics,
    count_runs,
    descendants,
    get_run,
    list_runs,
)
from ..sql.sql import run_sql
from .access import grant_of
from .caching import not_modified, points_headers
from .context import Server, server_of
from .parameters import integer, number, run_filter
from .registry_api import experiment_record
from .responses import (
    MSGPACK,
    answer,
    json_answer,
    pack_vectors,
    problem,
    table_answer,
    wants_arrow,
)

MAX_WAIT = 30.0
"""Most seconds a read waits for the caller's own writes."""
STALE = {"X-Runstream-Stale": "1"}
MAX_SQL_BYTES = 1 << 20


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok")


async def _readyz(request: Request) -> Response:
    async with asyncio.timeout(5.0):
        await server_of(request).pool.fetchval("select 1 from runs limit 1")
    return PlainTextResponse("ok")


async def _prometheus(request: Request) -> Response:
    from prometheus_client import generate_latest

    text = await asyncio.to_thread(generate_latest, registry_of(server_of(request).shown))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def _runs(request: Request) -> Response:
    server = server_of(request)
    parameters = request.query_params
    wanted = run_filter(request)
    order = Order.parse(parameters.get("order") or "-start_time")
    limit = integer(parameters.get("limit"), "limit", 50)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        page = await list_runs(
            connection,
            wanted,
            order=order,
            limit=50 if limit is None else limit,
            after=parameters.get("after") or None,
            summaries=parameters.get("summaries") == "1",
        )
        names = parameters.getlist("summary")
        common = integer(parameters.get("summary_common"), "summary_common", None)
        if common is not None:
            if not 1 <= common <= MOST_COMMON:
                raise QueryError(f"summary_common={common}: expected 1 to {MOST_COMMON}")
            names = list(dict.fromkeys([*names, *await common_metrics(connection, page.runs, common)]))
        if names:
            await attach_named_summaries(connection, page.runs, names)
        document: dict[str, Any] = {"runs": [run.record() for run in page.runs], "next": page.next}
        if common is not None:
            document["metrics"] = names
        if parameters.get("count") == "1":
            document["count"] = await count_runs(connection, wanted)
    return json_answer(request, plain(document))


async def _run(request: Request) -> Response:
    server = server_of(request)
    run_id = request.path_params["run_id"]
    headers = await _wait(request)
    async with asyncio.timeout(server.settings.query_timeout), server.pool.acquire() as connection:
        run = await get_run(connection, run_id, summaries=request.query_params.get("summaries") == "1")
    if run is None:
        return problem(
            404, "Not Found", f"no run {run_id!r}; its first record may not have arrived yet", headers
        )
    return json_answer(request, plain(run.record()), headers)


async def _stored(request: Request) -> Response:
    return json_answer(request, {"stored": not await _wait(request)})


async def _wait(request: Request) -> dict[str, str]:
    """Wait for the writes the caller names; headers that tell whether it was in vain."""
    server = server_of(request)
    positions: dict[str, int] = {}
    for text in request.query_params.getlist("wait"):
        for part in filter(None, text.split(",")):
            source, _, seq = part.rpartition(":")
            positions[source] = integer(seq, "wait", 0) or 0
    if not positions:
        return {}
    timeout = min(number(request.query_params.get("timeout"), "timeout", MAX_WAIT), MAX_WAIT)
    if await wait_stored(server.pool, positions, timeout, notifications=server.notifications):
        return {}
    server.counters.stale_waits += 1
    return dict(STALE)


async def _metrics(request: Request) -> Response:
    server = server_of(request)
    parameters = request.query_params
    run_ids = parameters.getlist("run")
    if not run_ids:
        raise QueryError("run= is missing; name at least one run")
    headers = await _wait(request)
    classes = [integer(text, "cls", 0) or 0 for text in parameters.getlist("cls")]
    async with asyncio.timeout(server.settings.query_timeout):
        if parameters.get("recursive") == "1":
            run_ids = await _with_descendants(server, run_ids, parameters.get("type"))
        headers |= await points_headers(request, server.pool, run_ids)
        if (same := not_modified(request, headers)) is not None:
            return same
        vectors = await server.query.vectors(
            run_ids, names=parameters.getlist("name") or None, cls=classes or None
        )
    from_step, from_time = (integer(parameters.get(name), name, None) for name in ("from_step", "from_time"))
    if from_step is not None or from_time is not None:
        tails = [series.since(from_step, from_time) for series in vectors]
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


async def _series(request: Request) -> Response:
    server = server_of(request)
    parameters = request.query_params
    run_id, name = parameters.get("run"), parameters.get("name")
    if not run_id or not name:
        raise QueryError("run= and name= are needed")
    headers = await _wait(request)
    async with asyncio.timeout(server.settings.query_timeout):
        headers |= await points_headers(request, server.pool, [run_id])
        if (same := not_modified(request, headers)) is not None:
            return same
        chart = await one_series.chart(
            server.query,
            run_id,
            name,
            integer(parameters.get("width"), "width", 1000) or 0,
            start=integer(parameters.get("from"), "from", None),
            stop=integer(parameters.get("to"), "to", None),
            over=parameters.get("x") or None,
        )
    if chart is None:
        return problem(404, "Not Found", f"run {run_id!r} has no metric {name!r}", headers)
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
    document = {
        "run_id": run_id,
        "name": name,
        "bucket": chart.bucket,
        "points": chart.points,
        "steps": chart.steps.tolist(),
        "times": chart.times.tolist(),
        "values": [json_value(value) for value in chart.values.tolist()],
        **({} if chart.x is None else {"x": [json_value(value) for value in chart.x.tolist()]}),
    }
    return json_answer(request, document, headers)


async def _sql(request: Request) -> Response:
    server = server_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        # A page of another site can send text/plain without being asked for leave; it cannot send JSON.
        return problem(415, "Unsupported Media Type", "send the query as application/json")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_SQL_BYTES:
            return problem(413, "Content Too Large", f"a query has at most {MAX_SQL_BYTES} bytes")
    try:
        statement = strict_json.loads(body)["query"]
    except (ValueError, TypeError, KeyError):
        raise QueryError('expected a JSON object {"query": "SELECT ..."}') from None
    if not isinstance(statement, str):
        raise QueryError('"query" is not a string')
    workspace = grant_of(request).workspace
    async with asyncio.timeout(server.settings.query_timeout) as waiting, server.sql_places.one():
        waiting.reschedule(None)  # from here on the statement has its own time
        table = await run_sql(server.pool, server.store, server.settings, statement, workspace=workspace)
    return await asyncio.to_thread(table_answer, request, table)


async def _experiments(request: Request) -> Response:
    rows = await server_of(request).pool.fetch(
        queries.EXPERIMENTS, request.query_params.get("workspace"), None
    )
    return json_answer(request, plain({"experiments": [experiment_record(row) for row in rows]}))


async def _experiment(request: Request) -> Response:
    pool = server_of(request).pool
    name = check_name("experiment name", request.path_params["name"])
    workspace = check_name("workspace", request.query_params.get("workspace") or "default")
    await pool.execute(queries.ADD_EXPERIMENT, workspace, name)
    row = await pool.fetchrow(queries.EXPERIMENTS, workspace, name)
    return json_answer(request, plain(experiment_record(row)))


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        Route("/metrics", _prometheus),
        Route("/api/v1/runs", _runs),
        Route("/api/v1/runs/{run_id}", _run),
        Route("/api/v1/metrics", _metrics),
        Route("/api/v1/series", _series),
        Route("/api/v1/stored", _stored),
        Route("/api/v1/sql", _sql, methods=["POST"]),
        Route("/api/v1/experiments", _experiments),
        Route("/api/v1/experiments/{name:path}", _experiment, methods=["PUT"]),
    ]
