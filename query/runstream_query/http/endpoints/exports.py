"""HTTP for exports: lists of runs, points and tables as CSV, Parquet or Arrow, streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...points import exports
from ...points.export_formats import FORMATS, Format, encode
from ...runs.run_order import Order
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..filters import Filters, run_filter
from ..responses import problem
from ..tokens import Role

CSV, PARQUET, ARROW = "text/csv", FORMATS["parquet"], FORMATS["arrow"]


async def _send(tables: AsyncIterator[pa.Table], format: str, name: str) -> Response:
    """The tables as a file to keep. The first is made before the answer begins: what is wrong has a status of its own."""
    pieces = encode(tables, format)
    first = await anext(pieces)

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{format.partition("-")[0]}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(body(), 200, headers, FORMATS[format])


class ExportRunsQuery(Filters, kw_only=True):
    order: str = "-start_time"
    column: list[str] = msgspec.field(default_factory=list)
    format: Format = "csv"


@endpoint(
    "GET /api/v1/export/runs",
    Role.READ,
    Reach.WORKSPACE,
    "All runs that pass, as a file",
    answer=CSV,
    also=(PARQUET, ARROW),
)
async def runs(request: Request, asked: ExportRunsQuery) -> Response:
    server = server_of(request)
    filters = run_filter(asked)
    order = Order.parse(asked.order)
    chosen = await exports.columns(server.pool, asked.column)
    pages = exports.run_pages(server.pool, filters, order, chosen, server.settings.query_timeout)
    return await _send(pages, asked.format, "runs")


class ExportPointsQuery(msgspec.Struct, kw_only=True):
    run: list[str]
    name: list[str] = []
    format: Format = "csv"


@endpoint(
    "GET /api/v1/export/points",
    Role.READ,
    Reach.RUNS,
    "Every point of metrics, as a file",
    answer=CSV,
    also=(PARQUET, ARROW),
)
async def points(request: Request, asked: ExportPointsQuery) -> Response:
    """Runs in the order of logging; as `arrow` series in the order of logging, a piece of a run, or of runs, at a time."""
    server = server_of(request)
    if asked.format == "arrow":
        pieces = exports.point_pieces(server.query, asked.run, asked.name, server.settings.query_timeout)
        return await _send(pieces, asked.format, "points")
    tables = exports.point_tables(server.query, asked.run, asked.name, server.settings.query_timeout)

    async def shown() -> AsyncIterator[pa.Table]:
        async for table in tables:
            yield exports.one_value(table)

    return await _send(tables if asked.format == "parquet" else shown(), asked.format, "points")


@endpoint(
    "GET /api/v1/export/histograms",
    Role.READ,
    Reach.RUNS,
    "Every histogram, as a file",
    answer=CSV,
    also=(PARQUET, ARROW),
)
async def histograms(request: Request, asked: ExportPointsQuery) -> Response:
    server = server_of(request)
    tables = exports.histogram_tables(server.query, asked.run, asked.name, server.settings.query_timeout)
    return await _send(tables, asked.format, "histograms")


class ExportTableQuery(msgspec.Struct, kw_only=True):
    run: str
    name: str
    format: Format = "csv"


@endpoint(
    "GET /api/v1/export/table",
    Role.READ,
    Reach.RUNS,
    "A table of a run, as a file",
    answer=CSV,
    also=(PARQUET, ARROW),
)
async def table(request: Request, asked: ExportTableQuery) -> Response:
    server = server_of(request)
    run_id, name = asked.run, asked.name
    async with asyncio.timeout(server.settings.query_timeout):
        logged = (await server.query.tables(run_id, name)).get(name)
    if logged is None:
        return problem(
            404,
            "Not Found",
            f"run {run_id!r} has no table {name!r}; GET /api/v1/runs/<id>/series lists what it has",
        )
    data = logged.data

    async def whole() -> AsyncIterator[pa.Table]:
        yield data

    return await _send(whole(), asked.format, "table")


ENDPOINTS = (runs, points, histograms, table)
