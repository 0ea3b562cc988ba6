"""HTTP for system metrics: what machines were doing for a run."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...charts.chart_tables import charts_json
from ...charts.charts import pack_charts
from ...charts.system_charts import system_charts
from ..caching import not_modified, points_headers
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..parameters import Edge, Position, position
from ..responses import CHART, answer
from ..tokens import Role


class SystemMetricsQuery(msgspec.Struct, kw_only=True):
    name: list[str] = msgspec.field(default_factory=list)
    width: Position = 800
    start: Edge | None = msgspec.field(default=None, name="from")
    stop: Edge | None = msgspec.field(default=None, name="to")


@endpoint(
    "GET /api/v1/runs/{run_id}/system-metrics",
    Role.READ,
    Reach.RUN,
    "What the machines of a run were doing, downsampled over a range of times",
    answer=CHART,
    also=("application/json",),
)
async def system_metrics(request: Request, run_id: str, asked: SystemMetricsQuery) -> Response:
    """As `GET /api/v1/charts`, over time, with machines in the place of runs."""
    server = server_of(request)
    start, stop = position(asked.start, "from", None), position(asked.stop, "to", None)
    headers = await points_headers(request, server.pool, [run_id])
    if (same := not_modified(request, headers)) is not None:
        return same
    as_json = "application/json" in request.headers.get("accept", "")
    async with asyncio.timeout(server.settings.query_timeout):
        drawn = await system_charts(
            server.query, run_id, asked.name, width=asked.width, start=start, stop=stop
        )
    server.counters.points += sum(len(line.x) for chart in drawn for line in chart.lines)
    body = await asyncio.to_thread(charts_json if as_json else pack_charts, drawn)
    media = "application/json" if as_json else CHART
    return await asyncio.to_thread(answer, request, body, media, headers)


ENDPOINTS = (system_metrics,)
