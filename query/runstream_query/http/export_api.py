"""HTTP for exports: lists of runs, points and tables as CSV or Parquet, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from runstream_schemas.errors import QueryError

from ..points import exports
from ..runs.run_filter import Order
from .context import server_of
from .parameters import run_filter
from .responses import problem


def _format(request: Request) -> str:
    format = request.query_params.get("format") or "csv"
    if format not in exports.FORMATS:
        raise QueryError(f"format={format!r:.40}: expected one of {', '.join(exports.FORMATS)}")
    return format


async def _send(tables: AsyncIterator[pa.Table], format: str, name: str) -> Response:
    """The tables as a file to keep. The first is made before the answer begins: what is wrong has a status of its own."""
    pieces = exports.encode(tables, format)
    first = await anext(pieces)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{format.partition("-")[0]}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(body(), 200, headers, exports.FORMATS[format])


async def runs(request: Request) -> Response:
    """`GET /api/v1/export/runs[?format=&column=..]` and the filters and order of `/api/v1/runs`: all that pass."""
    server, format = server_of(request), _format(request)
    wanted = run_filter(request)
    order = Order.parse(request.query_params.get("order") or "-start_time")
    chosen = await exports.columns(server.pool, request.query_params.getlist("column"))
    pages = exports.run_pages(server.pool, wanted, order, chosen, server.settings.query_timeout)
    return await _send(pages, format, "runs")


async def points(request: Request) -> Response:
    """`GET /api/v1/export/points?run=..[&name=..&format=]`: every point of metrics."""
    server, format = server_of(request), _format(request)
    run_ids, names = request.query_params.getlist("run"), request.query_params.getlist("name")
    if not run_ids:
        raise QueryError("run= is missing; name at least one run")
    tables = exports.point_tables(server.query, run_ids, names, server.settings.query_timeout)

    async def shown() -> AsyncIterator[pa.Table]:
        async for table in tables:
            yield exports.one_value(table)

    return await _send(tables if format == "parquet" else shown(), format, "points")


async def table(request: Request) -> Response:
    """`GET /api/v1/export/table?run=&name=[&format=]`: one table of a run."""
    server, format = server_of(request), _format(request)
    run_id, name = request.query_params.get("run"), request.query_params.get("name")
    if not run_id or not name:
        raise QueryError("run= and name= are needed")
    async with asyncio.timeout(server.settings.query_timeout):
        found = (await server.query.tables(run_id, name)).get(name)
    if found is None:
        return problem(404, "Not Found", f"run {run_id!r} has no table {name!r}")
    data = found.data

    async def whole() -> AsyncIterator[pa.Table]:
        yield data

    return await _send(whole(), format, "table")


def routes() -> list[Route]:
    """The exports' endpoints."""
    return [
        Route("/api/v1/export/runs", runs),
        Route("/api/v1/export/points", points),
        Route("/api/v1/export/table", table),
    ]
