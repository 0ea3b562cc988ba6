"""HTTP for whoever looks after a server: whether it lives, whether it can answer, what it counts."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runstream_schemas.metrics import registry_of

from ..context import server_of
from ..endpoint import Door, Reach, endpoint
from ..tokens import Role

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


ENDPOINTS = (healthz, readyz, prometheus)
